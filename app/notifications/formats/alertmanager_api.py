"""Renders events for Alertmanager's API v2, `POST /api/v2/alerts`. Pure.

- Alertmanager identifies an alert by its labels, including `severity`. If the severity changes, that is a
  second alert, and the first one ends in the same request.
- A firing alert has an end hours ahead (`FIRING_LIFETIME`). So it survives an outage of Vigie, but ends some
  time after its channel is deleted.
- Alertmanager stores alerts in memory only, so firing alerts are sent again periodically
  (`app.alerts.alertmanager_repeats`).

Schema: https://github.com/prometheus/alertmanager/blob/main/api/v2/openapi.yaml.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import msgspec

from app.notifications.events.event_types import TEST_EVENT
from app.notifications.formats import native_and_cloudevents
from app.notifications.formats.alertmanager_webhook import FIRING, build_alert_entry, build_non_alert_entry
from app.notifications.sentences import event_sentence
from app.platform.kernel.instants import format_us, from_datetime
from app.presentation.date_formats import parse_instant

FIRING_LIFETIME: Final = timedelta(hours=4)
"""The time that an alert stays active at Alertmanager after it was last sent as firing."""

TEST_LIFETIME: Final = timedelta(minutes=5)
"""The time that a test stays active at Alertmanager."""

_POSTED_FIELDS: Final = ("labels", "annotations", "startsAt", "endsAt", "generatorURL")

type _Entry = dict[str, Any]


def render_alertmanager_alerts(body: bytes, organisation_id: UUID, public_url: str) -> bytes:
    """Render an event as a list of alerts; the arguments are those of `render_alertmanager_webhook`."""
    return msgspec.json.encode(list(_entries(body, organisation_id, public_url)))


def render_alertmanager_events(bodies: Iterable[bytes], organisation_id: UUID, public_url: str) -> bytes:
    """Render several events as one list of alerts."""
    return msgspec.json.encode(
        [entry for body in bodies for entry in _entries(body, organisation_id, public_url)]
    )


def _entries(body: bytes, organisation_id: UUID, public_url: str) -> Iterable[_Entry]:
    event = native_and_cloudevents.parse_native_body(body)
    data: dict[str, Any] = msgspec.json.decode(event.data)
    if "alert_id" in data:
        entry = build_alert_entry(event.timestamp, data, public_url)
        entry["annotations"]["alert_id"] = str(data["alert_id"])
    else:
        entry = build_non_alert_entry(event.type, event.timestamp, data, organisation_id, public_url)
    if sentence := event_sentence(event.type, data):
        entry["annotations"]["summary"] = sentence
    lasts = TEST_LIFETIME if event.type == TEST_EVENT else FIRING_LIFETIME
    posted = _posted(entry, event.timestamp, lasts)
    former = data.get("previous_severity")
    if former and former != data.get("severity"):
        yield _ended(posted, str(former), event.timestamp)
    yield posted


def _posted(entry: _Entry, timestamp: str, lasts: timedelta) -> _Entry:
    posted = {name: entry[name] for name in _POSTED_FIELDS}
    if entry["status"] == FIRING:
        posted["endsAt"] = _text(_instant(timestamp) + lasts)
    return _in_order(posted)


def _ended(posted: _Entry, severity: str, timestamp: str) -> _Entry:
    """Return the alert with its former severity, resolved."""
    return _in_order(
        {**posted, "labels": {**posted["labels"], "severity": severity}, "endsAt": _text(_instant(timestamp))}
    )


def _in_order(posted: _Entry) -> _Entry:
    """Set a start after the end to the end: Alertmanager refuses alerts that end before they start."""
    starts, ends = _instant(posted["startsAt"]), _instant(posted["endsAt"])
    return posted if starts <= ends else {**posted, "startsAt": posted["endsAt"]}


def _instant(text: str) -> datetime:
    found = parse_instant(text)
    if found is None:
        raise ValueError(f"{text[:40]!r} is no time")
    return found


def _text(at: datetime) -> str:
    return format_us(from_datetime(at))
