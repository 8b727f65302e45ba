"""What pages of deliveries are made of."""

from datetime import UTC, datetime
from typing import Any

import pytest

from app.console.delivery import delivery_views


def attempt(
    number: int, reason: str = "delivered", duration_ms: float = 12.0, **more: object
) -> dict[str, Any]:
    time = f"2026-11-24T22:14:{number:02d}Z"
    return {
        "number": number,
        "time": time,
        "status": 200,
        "duration_ms": duration_ms,
        "reason": reason,
        **more,
    }


def test_bars_end_at_the_newest_attempt_and_are_higher_if_slower() -> None:
    deliveries = [
        {"attempts": [attempt(3, "timeout", 15_000.0, status=None)]},
        {"attempts": [attempt(1), attempt(2, duration_ms=300.0)]},
    ]
    bars = delivery_views.chart_attempts(deliveries)
    assert [bar.delivered for bar in bars] == [True, True, False]
    assert [bar.height for bar in bars] == sorted(bar.height for bar in bars)
    assert bars[-1].x == 590
    assert bars[-1].label == "timeout · 15000 ms"
    assert all(bar.y >= 8 for bar in bars)


def test_no_attempt_gives_no_bar_and_many_the_newest() -> None:
    assert delivery_views.chart_attempts([{"attempts": []}]) == []
    many = [{"attempts": [attempt(n % 60) for n in range(100)]}]
    assert len(delivery_views.chart_attempts(many)) == 60


def test_a_request_is_shown_without_secrets() -> None:
    delivery = {"format": "cloudevents", "webhook_id": "msg_1"}
    headers = delivery_views.build_request_headers(
        delivery, attempt(1), {"headers": {"Authorization": "…", "X-Team": "…"}}
    )
    assert headers == [
        ("content-type", "application/cloudevents+json; charset=utf-8"),
        ("webhook-id", "msg_1"),
        ("webhook-timestamp", str(int(datetime(2026, 11, 24, 22, 14, 1, tzinfo=UTC).timestamp()))),
        ("webhook-signature", "v1,…"),
        ("authorization", "…"),
        ("x-team", "…"),
    ]


@pytest.mark.parametrize(
    ("text", "shown"), [(None, ""), ("", ""), ("no {json", "no {json"), ('{"a":1}', '{\n  "a": 1\n}')]
)
def test_an_answer_is_indented_if_it_is_json(text: str | None, shown: str) -> None:
    assert delivery_views.format_answer(text) == shown


def test_an_attempt_that_was_due_waits_for_its_endpoint() -> None:
    now = datetime(2026, 11, 29, tzinfo=UTC)
    assert delivery_views.is_overdue("2026-11-28T00:00:00Z", now)
    assert not delivery_views.is_overdue("2026-11-30T00:00:00Z", now)
    assert not delivery_views.is_overdue(None, now)
