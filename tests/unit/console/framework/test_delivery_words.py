"""Recipients have one name everywhere, and every event and result has words."""

from typing import Any

import pytest

from app.console.framework import delivery_words
from app.notifications.delivery.transport_types import REASONS
from app.notifications.events.event_types import EVENTS


def test_every_event_and_reason_has_words() -> None:
    assert set(delivery_words.EVENTS) == set(EVENTS)
    assert set(delivery_words.REASONS) == set(delivery_words.OUTCOMES) == set(REASONS)
    assert {each for each in EVENTS if each.startswith("alert.")} <= set(delivery_words.ALERT_EVENTS)


@pytest.mark.parametrize(
    ("endpoint", "name"),
    [
        ({"url": "https://example.com/hook"}, "https://example.com/hook"),
        ({"kind": "ntfy", "url": "https://ntfy.sh", "topic": "city"}, "https://ntfy.sh · city"),
        ({"kind": "slack", "host": "https://hooks.slack.com"}, "https://hooks.slack.com"),
        ({"kind": "email", "to": ["a@example.com", "b@example.com"]}, "a@example.com, b@example.com"),
    ],
)
def test_a_target_is_named_by_what_people_know(endpoint: dict[str, Any], name: str) -> None:
    assert delivery_words.name_target(endpoint) == name


@pytest.mark.parametrize(
    ("endpoint", "name", "below"),
    [
        (
            {"recipient": "Duty room", "description": "Test", "url": "https://example.com/hook"},
            "Duty room",
            ["Test", "https://example.com/hook"],
        ),
        ({"description": "Test", "url": "https://example.com/hook"}, "Test", ["https://example.com/hook"]),
        ({"url": "https://example.com/hook"}, "https://example.com/hook", []),
        ({"kind": "slack", "target": "https://hooks.slack.com"}, "https://hooks.slack.com", []),
        ({"kind": "mqtt", "target": "mqtt", "recipient": "Tram"}, "Tram", []),
        ({"kind": "mqtt", "target": "mqtt"}, "", []),
    ],
)
def test_a_recipient_is_named_as_the_register_does(
    endpoint: dict[str, Any], name: str, below: list[str]
) -> None:
    assert delivery_words.name_recipient(endpoint) == name
    assert delivery_words.describe_recipient(endpoint) == below
