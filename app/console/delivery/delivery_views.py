"""Prepares endpoints and deliveries for pages: names of kinds, events and reasons, and charts. Pure."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from app.console.framework.page_translation import mark_text

HEALTH: Final = {
    "healthy": ("good", mark_text("Healthy")),
    "idle": ("", mark_text("Idle")),
    "waiting": ("", mark_text("Waiting")),
    "failing": ("bad", mark_text("Failing")),
    "open": ("bad", mark_text("Failing, paused")),
    "slowed": ("attention", mark_text("Slowed down")),
    "disabled": ("", mark_text("Disabled")),
}
"""State of health → look of its chip, and English name."""

DISABLED_REASONS: Final = {
    "gone": mark_text("Vigie disabled it, because it answered that it is gone (410)."),
    "failing": mark_text("Vigie disabled it, because it failed for too long."),
}
"""English explanations of `disabled_reason`."""

REPLAY_STATES: Final = {
    "running": mark_text("Running"),
    "done": mark_text("All are on their way"),
    "cancelled": mark_text("Cancelled"),
}
"""English names of states of replays."""

_BARS: Final = 60
_BAR_WIDTH: Final = 10
_CHART_HEIGHT: Final = 64
_LEAST_MS: Final = 1.0
_FORMAT_TYPES: Final = {"cloudevents": "application/cloudevents+json; charset=utf-8"}


@dataclass(frozen=True, slots=True)
class AttemptBar:
    """A bar of the chart of attempts.

    Attributes:
        x, y, height: Its place in the picture.
        delivered: Whether the attempt succeeded.
        label: What it stands for.
    """

    x: int
    y: float
    height: float
    delivered: bool
    label: str


def chart_attempts(deliveries: Sequence[Mapping[str, Any]]) -> list[AttemptBar]:
    """Draw the newest attempts of deliveries, the oldest on the left, with a height by duration."""
    attempts = sorted(
        (attempt for delivery in deliveries for attempt in delivery["attempts"]),
        key=lambda attempt: str(attempt["time"]),
    )[-_BARS:]
    longest = max((attempt["duration_ms"] for attempt in attempts), default=_LEAST_MS)
    scale = math.log10(max(longest, _LEAST_MS) / _LEAST_MS + 1)
    bars = []
    for position, attempt in enumerate(attempts, _BARS - len(attempts)):
        share = math.log10(max(attempt["duration_ms"], 0.0) / _LEAST_MS + 1) / scale
        height = round(6 + share * (_CHART_HEIGHT - 18), 1)
        status = attempt["status"] or attempt["reason"]
        bars.append(
            AttemptBar(
                x=position * _BAR_WIDTH,
                y=round(_CHART_HEIGHT - height, 1),
                height=height,
                delivered=attempt["reason"] == "delivered",
                label=f"{status} · {attempt['duration_ms']:.0f} ms",
            )
        )
    return bars


def build_request_headers(
    delivery: Mapping[str, Any], attempt: Mapping[str, Any], endpoint: Mapping[str, Any] | None
) -> list[tuple[str, str]]:
    """Return the headers of a webhook's request as they were sent, without secrets.

    The signature and the values of own headers are shown as `…`.
    """
    began = int(datetime.fromisoformat(attempt["time"]).timestamp())
    own = (endpoint or {}).get("headers") or {}
    return [
        ("content-type", _FORMAT_TYPES.get(delivery["format"], "application/json")),
        ("webhook-id", delivery["webhook_id"]),
        ("webhook-timestamp", str(began)),
        ("webhook-signature", "v1,…"),
        *((name.lower(), "…") for name in own),
    ]


def is_overdue(due_at: str | None, now: datetime) -> bool:
    """Return whether an attempt was due before now, so that it waits for its endpoint."""
    return due_at is not None and datetime.fromisoformat(due_at) < now


def format_body(body: object) -> str:
    """Format a JSON body for reading."""
    return json.dumps(body, ensure_ascii=False, indent=2)


def format_answer(text: str | None) -> str:
    """Format the body of an answer: indented if it is JSON."""
    if not text:
        return ""
    try:
        return format_body(json.loads(text))
    except ValueError:
        return text
