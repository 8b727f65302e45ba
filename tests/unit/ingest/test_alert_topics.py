"""Alerts go out by the broker that samples come in by: ingest takes none of them for a box's message."""

import re
from uuid import UUID

import aiomqtt
import pytest

from app.ingest.codec.batch_decoder import decode_batch
from app.ingest.sources.reconnecting_mqtt_source import TOPICS
from app.registry.broker_password_file import make_account_username
from app.standalone.mosquitto_config import ACCESS_RULES

READER = make_account_username(UUID("0199d1c5-7a3e-7c54-9d1e-5b6f0a2c8e12"))


@pytest.mark.parametrize(
    "rest", ["-/alert.firing", "0199d1c5-7a3e-7c54-9d1e-5b6f0a2c8e11/alert.resolved", "status", "telemetry"]
)
def test_ingest_subscribes_to_no_alerts(rest: str) -> None:
    topic = aiomqtt.Topic(f"vigie/v1/{READER}/alerts/{rest}")
    assert not any(topic.matches(each) for each in TOPICS)


@pytest.mark.parametrize("topic", re.findall(r"^pattern write (\S+)$", ACCESS_RULES, re.MULTILINE))
def test_what_a_reader_of_alerts_may_publish_is_quarantined(topic: str) -> None:
    payload = b'{"time": "2026-11-24T10:00:00Z", "values": {"pm2_5": 12.4}}'
    intake = decode_batch([topic.replace("%u", READER)], [payload], now_us=0, max_future_us=0)
    (refusal,) = intake.rejections
    assert (refusal.rejection.code, refusal.box) == ("topic", None)
    assert (intake.rows, intake.events, intake.statuses, intake.configs) == ([], [], [], [])


def test_a_reader_may_read_alerts_and_publish_none() -> None:
    rules = [line.split()[1:] for line in ACCESS_RULES.splitlines() if line.startswith("pattern ")]
    assert ["read", "vigie/v1/%u/alerts/#"] in rules
    assert not [topic for verb, topic in rules if verb != "read" and "alerts" in topic]
