"""docs/asyncapi.yaml says what the code does: valid, the same topics, and examples that are really taken."""

import gzip
import json
import re
from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import cbor2
import pytest
from jsonschema import Draft7Validator

from app.ingest.adapters.adapter_registry import ADAPTERS
from app.ingest.codec.batch_decoder import decode_batch
from app.ingest.codec.decoded_batch import DecodedBatch
from app.ingest.codec.telemetry_codec import MAX_FUTURE_US
from app.ingest.pipeline.batch_receipt import BoxAck, identify_message
from app.ingest.sources.reconnecting_mqtt_source import TOPICS
from app.measurement_stream.formats import cloudevents, json_items
from app.measurement_stream.formats.format_registry import FORMATS
from app.measurement_stream.items import Item, ItemKind
from app.measurement_stream.measurement_batch import MeasurementBatch
from app.measurement_stream.sinks.mqtt_sink import build_measurement_topic, list_messages
from app.notifications.events.event_examples import EXAMPLES as EVENT_EXAMPLES
from app.notifications.events.event_examples import ORGANISATION, SITE
from app.notifications.formats import RenderContext, render_event
from app.notifications.mqtt.mqtt_transport import build_delivery_topic
from app.platform.kernel.instants import parse_rfc3339
from tests.integration.notifications.helpers import claim_of
from tools import asyncapi

NOW = parse_rfc3339("2026-11-24T23:00:00Z")
DOCUMENT = asyncapi.load_document()
CHANNELS: dict[str, Any] = DOCUMENT["channels"]
# What Vigie itself publishes.
SENT = {"ack", "config", "alerts", "measurements", "observations"}


def as_json(payload: Any) -> bytes:  # noqa: ANN401 (whatever an example has)
    return json.dumps(payload).encode()


ENCODE: dict[str, Callable[[Any], bytes]] = {
    "application/json": as_json,
    "application/senml+json": as_json,
    "application/cloudevents+json": as_json,
    "application/cbor": cbor2.dumps,
    "application/gzip": lambda payload: gzip.compress(as_json(payload)),
}


def examples() -> list[tuple[str, str, bytes]]:
    found = []
    for name, channel in CHANNELS.items():
        topic = re.sub(r"\{[a-z]+\}", "box-0001", channel["address"])
        for message in asyncapi.resolve_references(DOCUMENT, channel["messages"]).values():
            encode = ENCODE[message.get("contentType", DOCUMENT["defaultContentType"])]
            found += [(name, topic, encode(example["payload"])) for example in message["examples"]]
    return found


def sort(topic: str, payload: bytes) -> DecodedBatch:
    return decode_batch([topic], [payload], now_us=NOW, max_future_us=MAX_FUTURE_US)


def test_it_is_valid_and_up_to_date() -> None:
    assert asyncapi.find_faults() == []


def test_the_schema_would_find_a_fault() -> None:
    schema = json.loads(asyncapi.SCHEMA.read_text(encoding="utf-8"))
    for change in (
        {"asyncapi": "2.6.0"},
        {"channels": {"x": {"adress": "x"}}},
        {"operations": {"x": {"action": "publish", "channel": {"$ref": "#/channels/telemetry"}}}},
    ):
        assert list(Draft7Validator(schema).iter_errors(DOCUMENT | change))


def test_its_topics_are_those_of_the_program() -> None:
    filters = {re.sub(r"\{[a-z]+\}", "+", channel["address"]): name for name, channel in CHANNELS.items()}
    formats = {each for each in filters if each.startswith("vigie/v1/+/telemetry/")}
    received = {each for each, name in filters.items() if name not in SENT} - formats
    assert received | {"vigie/v1/+/telemetry/+"} == set(TOPICS)
    adapters = {each.topic.replace("{box}", "+") for each in ADAPTERS if each.topic is not None}
    assert formats <= adapters <= set(filters)
    operations = {
        each["channel"]["$ref"].removeprefix("#/channels/"): each["action"]
        for each in DOCUMENT["operations"].values()
    }
    assert operations == {name: "send" if name in SENT else "receive" for name in CHANNELS}


@pytest.mark.parametrize(
    ("topic", "payload"), [example[1:] for example in examples() if example[0] not in SENT]
)
def test_every_example_is_taken(topic: str, payload: bytes) -> None:
    intake = sort(topic, payload)
    assert intake.rejections == []
    assert len(intake) > 0
    assert {*intake.boxes, *(box for box, *_ in (*intake.events, *intake.statuses, *intake.configs))} == {
        "box-0001"
    }


def test_every_topic_that_the_program_takes_has_an_example() -> None:
    assert {name for name, *_ in examples()} == set(CHANNELS)


def test_an_acknowledgement_is_what_the_program_writes() -> None:
    schema = asyncapi.resolve_references(DOCUMENT, DOCUMENT["components"]["schemas"]["ack"])
    left_out = {"seq": 2, "code": "purpose_ended", "purpose": "noise"}
    rejected = [{"seq": 4, "code": "conflict"}, {"seq": 5, "code": "wrong_type", "kind": "event"}]
    refused = [{"code": "empty_body", **identify_message(b"", b"17"), "indexes": [0]}]
    written = BoxAck([1, 2], [3], rejected, [left_out], refused).payload()
    assert list(Draft7Validator(schema).iter_errors(written)) == []
    assert set(written) == set(schema["properties"])


@pytest.mark.parametrize(("format_", "schema"), [("native", "alert"), ("cloudevents", "cloudEvent")])
@pytest.mark.parametrize("type_", EVENT_EXAMPLES)
def test_alerts_are_what_the_program_writes(type_: str, format_: str, schema: str) -> None:
    body = json.dumps(EVENT_EXAMPLES[type_]).encode()
    event = RenderContext(body, uuid4(), UUID(ORGANISATION), UUID(SITE), "https://vigie.example.com")
    written = json.loads(render_event("mqtt", format_, event))
    wanted = asyncapi.resolve_references(DOCUMENT, DOCUMENT["components"]["schemas"][schema])
    assert list(Draft7Validator(wanted).iter_errors(written)) == []
    assert set(written) <= set(wanted["properties"])


def test_alerts_have_the_topic_of_the_program() -> None:
    claim = claim_of("", "", b"{}", site_id=uuid4(), type="alert.resolved")
    parts = {"organisation": claim.organisation_id, "site": claim.site_id, "type": claim.type}
    assert CHANNELS["alerts"]["address"].format(**parts) == build_delivery_topic(claim)


def test_measurements_are_what_the_program_writes() -> None:
    item = Item(
        4711,
        0,
        "event",
        UUID(ORGANISATION),
        UUID(SITE),
        "b",
        NOW,
        7,
        {"laeq": 50.5},
        ("laeq",),
        {"type": "x"},
    )
    wanted = asyncapi.resolve_references(DOCUMENT, DOCUMENT["components"]["schemas"]["measurement"])
    written = json.loads(json_items.encode_item(item))
    assert list(Draft7Validator(wanted).iter_errors(written)) == []
    assert set(written) == set(wanted["properties"])
    message = DOCUMENT["components"]["messages"]["measurementCloudEvent"]["payload"]
    event = json.loads(cloudevents.encode_item(item))
    assert list(Draft7Validator(asyncapi.resolve_references(DOCUMENT, message)).iter_errors(event)) == []
    assert set(event) == set(message["properties"])
    parts = {"organisation": ORGANISATION, "site": SITE, "box": "b"}
    assert CHANNELS["measurements"]["address"].format(**parts) == build_measurement_topic(item)


def test_observations_are_what_the_program_writes() -> None:
    kinds: tuple[ItemKind, ...] = ("sample", "hour")
    values, number = {"pm2_5": 12.4}, "00000000002a"
    items = [
        Item(4711, 0, kind, UUID(ORGANISATION), UUID(SITE), "b", NOW, None, values, box_number=number)
        for kind in kinds
    ]
    messages = list(list_messages(FORMATS["sensorthings"], MeasurementBatch.of(uuid4(), uuid4(), items)))
    address = CHANNELS["observations"]["address"]
    topics = [address.format(organisation=ORGANISATION, datastream=stream) for stream in ("42002", "42003")]
    assert [message.topic for message in messages] == topics
    payload = DOCUMENT["components"]["messages"]["observation"]["payload"]
    for message in messages:
        assert list(Draft7Validator(payload).iter_errors(json.loads(message.body))) == []


@pytest.mark.parametrize(
    "payload",
    [
        {"time": "2026-11-24T10:00:00Z", "values": {}},
        {"time": "2026-11-24T10:00:00Z", "values": {"warp": 1}},
        {"time": "2026-11-24T10:00:00Z", "values": {"co2": -1}},
        {"time": "2026-11-24T10:00:00Z", "values": {"co2": "612"}},
        {"time": 1795514400, "values": {"co2": 612}},
        {"values": {"co2": 612}},
        {"time": "2026-11-24T10:00:00Z", "values": {"co2": 612}, "more": 1},
        {"seq": -1, "time": "2026-11-24T10:00:00Z", "values": {"co2": 612}},
    ],
)
def test_what_the_codec_refuses_the_schema_does_too(payload: dict[str, Any]) -> None:
    schema = asyncapi.resolve_references(DOCUMENT, DOCUMENT["components"]["schemas"]["sample"])
    assert list(Draft7Validator(schema).iter_errors(payload))
    assert sort("vigie/v1/box-0001/telemetry", as_json(payload)).rejections
