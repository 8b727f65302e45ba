"""Which adapter a message is for, and that the broker's rules and filters fit the list."""

import re

import pytest

from app.ingest.adapters.adapter_registry import ADAPTERS, BY_NAME, SUBSCRIPTIONS, UNKNOWN_FORMAT, match_topic
from app.ingest.sources.reconnecting_mqtt_source import TOPICS
from app.standalone.mosquitto_config import ACCESS_RULES


def matches(topic_filter: str, topic: str) -> bool:
    levels = [re.escape(level) if level != "+" else "[^/]+" for level in topic_filter.split("/")]
    return re.fullmatch("/".join(levels), topic) is not None


def example(topic: str) -> str:
    return topic.replace("{box}", "box-0001").replace("+", "any")


TOPICS_OF_ADAPTERS = [adapter.topic for adapter in ADAPTERS if adapter.topic is not None]


@pytest.mark.parametrize("topic", TOPICS_OF_ADAPTERS)
def test_each_topic_leads_to_its_adapter_by_one_filter_alone(topic: str) -> None:
    found = match_topic(example(topic))
    assert found is not None
    assert (found[0], BY_NAME[found[1]].topic) == ("box-0001", topic)
    # Two filters that match would have a broker deliver the message twice.
    assert sum(matches(each, example(topic)) for each in TOPICS) == 1
    assert set(SUBSCRIPTIONS) <= set(TOPICS)


@pytest.mark.parametrize("topic", TOPICS_OF_ADAPTERS)
def test_the_embedded_broker_lets_them_through(topic: str) -> None:
    sections = dict(part.split("\n", 1) for part in ACCESS_RULES.split("\nuser ")[1:])
    for user, verb in (("ingest", "topic read"), ("gateway", "topic write")):
        rules = re.findall(rf"^{verb} (\S+)$", sections[user], re.MULTILINE)
        assert any(matches(rule.replace("#", "+/+"), example(topic)) for rule in rules), user
    boxes = re.findall(r"^pattern write (\S+)$", ACCESS_RULES, re.MULTILINE)
    own = any(matches(rule.replace("%u", "box-0001"), example(topic)) for rule in boxes)
    assert own == topic.startswith("vigie/v1/{box}/")


def test_a_box_has_a_bounded_number_of_topics() -> None:
    # Each may hold a retained message of a megabyte in the broker's memory.
    assert not re.findall(r"^pattern write .*[+#].*$", ACCESS_RULES, re.MULTILINE)


@pytest.mark.parametrize(
    ("topic", "found"),
    [
        ("vigie/v1/a/telemetry/xml", ("a", UNKNOWN_FORMAT)),
        ("vigie/v1/a/telemetry", None),
        ("vigie/v1/a/telemetry/", None),
        ("vigie/v1/a b/telemetry/cbor", None),
        ("vigie/v1//telemetry/cbor", None),
        ("vigie/v1/a/telemetry/cbor/x", None),
        ("application/1/device/0101010101010101/event/join", None),
        ("application/1/2/device/0101010101010101/event/up", None),
        ("application/1/device/0101010101010101/event/up", ("0101010101010101", "chirpstack")),
    ],
)
def test_other_topics(topic: str, found: tuple[str, str] | None) -> None:
    assert match_topic(topic) == found


def test_names_and_media_types_are_used_once() -> None:
    assert len(BY_NAME) == len(ADAPTERS)
    types = [adapter.media_type for adapter in ADAPTERS if adapter.media_type is not None]
    assert len(set(types)) == len(types)
    assert all(adapter.topic or adapter.media_type or adapter.pushes for adapter in ADAPTERS)
