"""Groups an endpoint's alert events, and builds the body of a group's notification (`alert.group`).

Pure. The waiting groups are stored by `app.notifications.delivery.waiting_groups`.
"""

import itertools
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple, Self
from uuid import UUID

import msgspec

from app.platform.kernel.instants import format_us, from_datetime, parse_iso_duration

GROUP_EVENT: Final = "alert.group"
"""The type of a group's notification. Endpoints do not subscribe to it; they set a grouping."""

LABELS: Final[Mapping[str, str]] = {
    "site": "site_id",
    "rule": "rule_id",
    "severity": "severity",
    "box": "box",
}
"""The labels to group by, with their fields in an event's data."""

MOST_EVENTS: Final = 500
"""The most alerts that a notification lists; further ones are only counted."""

MOST_EVENT_BYTES: Final = 900_000
"""The most bytes of listed alerts: brokers of MQTT refuse a message of more than 1 MiB."""

_ALERTS: Final = "alert."


class GroupingPlan(NamedTuple):
    """How an endpoint's events are grouped.

    Attributes:
        by: Keys of LABELS: events with equal labels form a group.
        wait_s: Seconds from a group's first event to its notification.
        interval_s: The least seconds between two notifications of a group.
    """

    by: tuple[str, ...]
    wait_s: float
    interval_s: float

    @classmethod
    def of(cls, stored: str | None) -> Self | None:
        """Parse the column `webhook_endpoints.grouping` (JSON text); None: events are not grouped."""
        if stored is None:
            return None
        plan = msgspec.json.decode(stored, type=_Stored)
        return cls(tuple(plan.by), parse_iso_duration(plan.wait), parse_iso_duration(plan.interval))


class _Stored(msgspec.Struct):
    by: list[str]
    wait: str
    interval: str


class AlertRoutingData(msgspec.Struct):
    """The fields of an event's data that decide its routing."""

    alert_id: UUID
    site_id: str | None = None
    rule_id: str | None = None
    severity: str | None = None
    highest_severity: str | None = None
    previous_severity: str | None = None
    previous_highest_severity: str | None = None
    box: str | None = None
    state: str = "firing"
    sequence: int = 0

    def key(self, plan: GroupingPlan) -> str:
        """Return the key of the event's group: its labels as a JSON object, shown as `group`."""
        labels = {LABELS[name]: getattr(self, LABELS[name]) for name in plan.by}
        return msgspec.json.encode(labels).decode()


def parse_alert_data(type_: str, payload: str) -> AlertRoutingData | None:
    """Parse the data of an alert's event; None for other events, which are not grouped.

    Args:
        type_: The event's type.
        payload: The event's data, as JSON text.
    """
    if not type_.startswith(_ALERTS):
        return None
    try:
        return msgspec.json.decode(payload, type=AlertRoutingData)
    except msgspec.ValidationError:
        # An event with unexpected data must not block the events after it.
        return None


class _Site(msgspec.Struct):
    site_id: UUID | None = None


def parse_group_site(key: str) -> UUID | None:
    """Return the site of a group, if its key contains one."""
    try:
        return msgspec.json.decode(key, type=_Site).site_id
    except msgspec.ValidationError:
        return None


class LatestAlertEvent(NamedTuple):
    """The latest event of an alert in a group, and the number of the alert's events that it represents."""

    body: bytes
    events_count: int


def build_group_body(
    key: str, timestamp: datetime, events: Sequence[LatestAlertEvent], *, firing: int, resolved: int
) -> bytes:
    """Build the body of a group's notification.

    Args:
        key: The group's key.
        timestamp: When the notification was created, aware.
        events: The bodies of the ungrouped events; at most MOST_EVENTS. The first one is listed, and further
            ones as long as they have MOST_EVENT_BYTES at most.
        firing: The number of firing alerts of the group, with unlisted ones.
        resolved: The number of resolved alerts of the group, with unlisted ones.
    """
    at = format_us(from_datetime(timestamp.astimezone(UTC)))
    # A body is a non-empty JSON object: a field is inserted before its last brace.
    entries = [b'%b,"events_count":%d}' % (event.body[:-1], event.events_count) for event in events]
    sizes = itertools.accumulate(map(len, entries))
    listed = [
        entry
        for place, (entry, size) in enumerate(zip(entries, sizes, strict=True))
        if place == 0 or size <= MOST_EVENT_BYTES
    ]
    data = b'{"group":%b,"firing":%d,"resolved":%d,"events":[%b],"truncated":%d}' % (
        key.encode(),
        firing,
        resolved,
        b",".join(listed),
        firing + resolved - len(listed),
    )
    return b'{"type":"%b","timestamp":"%b","data":%b}' % (GROUP_EVENT.encode(), at.encode(), data)
