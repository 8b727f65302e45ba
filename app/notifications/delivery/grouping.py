"""Events of alerts put together: by what, and what the one notification of them says.

Pure: no database, no clock. Owns the labels, the key of a group and the body `alert.group`; what waits where
is in `app.notifications.delivery.waiting_groups`.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple, Self
from uuid import UUID

import msgspec

from app.platform.kernel.instants import format_us, from_datetime, parse_iso_duration

GROUP_EVENT: Final = "alert.group"
"""The type of a notification of several events. Nobody subscribes to it: an endpoint has a grouping."""

LABELS: Final[Mapping[str, str]] = {
    "site": "site_id",
    "rule": "rule_id",
    "severity": "severity",
    "box": "box",
}
"""What events can be put together by, with the field of their data that says so."""

MOST_EVENTS: Final = 500
"""Of one notification: more alerts than this are counted, but not listed."""

_ALERTS: Final = "alert."


class GroupingPlan(NamedTuple):
    """How an endpoint's events are put together.

    Attributes:
        by: Some of LABELS: those whose labels are the same go together.
        wait_s: From the first event to its notification, in seconds.
        interval_s: From one notification of a group to the next, at least, in seconds.
    """

    by: tuple[str, ...]
    wait_s: float
    interval_s: float

    @classmethod
    def of(cls, stored: str | None) -> Self | None:
        """Read what `webhook_endpoints.grouping` holds, as JSON text; None: each event on its own."""
        if stored is None:
            return None
        plan = msgspec.json.decode(stored, type=_Stored)
        return cls(tuple(plan.by), parse_iso_duration(plan.wait), parse_iso_duration(plan.interval))


class _Stored(msgspec.Struct):
    by: list[str]
    wait: str
    interval: str


class AlertRoutingData(msgspec.Struct):
    """What is read of an event's data to decide where it goes."""

    alert_id: UUID
    site_id: str | None = None
    rule_id: str | None = None
    severity: str | None = None
    highest_severity: str | None = None
    previous_severity: str | None = None
    box: str | None = None
    state: str = "firing"
    sequence: int = 0

    def key(self, plan: GroupingPlan) -> str:
        """The key of its group: the labels as a JSON object, which the notification shows as `group`."""
        labels = {LABELS[name]: getattr(self, LABELS[name]) for name in plan.by}
        return msgspec.json.encode(labels).decode()


def parse_alert_data(type_: str, payload: str) -> AlertRoutingData | None:
    """Read the data of an event; None for one that is not of an alert, which goes on its own.

    Args:
        type_: The event's type.
        payload: Its data, as JSON text.
    """
    if not type_.startswith(_ALERTS):
        return None
    try:
        return msgspec.json.decode(payload, type=AlertRoutingData)
    except msgspec.ValidationError:
        # Whatever it is, it must not hold up the events after it.
        return None


class _Site(msgspec.Struct):
    site_id: UUID | None = None


def parse_group_site(key: str) -> UUID | None:
    """Return the site that all events of a group are on, where its key says so."""
    try:
        return msgspec.json.decode(key, type=_Site).site_id
    except msgspec.ValidationError:
        return None


class LatestAlertEvent(NamedTuple):
    """The latest event of one alert in a group, and how many events of this alert it stands for."""

    body: bytes
    events_count: int


def build_group_body(
    key: str, timestamp: datetime, events: Sequence[LatestAlertEvent], *, firing: int, resolved: int
) -> bytes:
    """Return the bytes of the body of a notification of several events.

    Args:
        key: The group's key.
        timestamp: When the notification was made, aware.
        events: The bodies that the events would have had on their own; at most MOST_EVENTS.
        firing: How many alerts of the group are firing, those that are not listed too.
        resolved: How many are resolved, the same.
    """
    at = format_us(from_datetime(timestamp.astimezone(UTC)))
    # A body is an object that is not empty: what is added goes before its last brace.
    listed = b",".join(b'%b,"events_count":%d}' % (event.body[:-1], event.events_count) for event in events)
    data = b'{"group":%b,"firing":%d,"resolved":%d,"events":[%b],"truncated":%d}' % (
        key.encode(),
        firing,
        resolved,
        listed,
        firing + resolved - len(events),
    )
    return b'{"type":"%b","timestamp":"%b","data":%b}' % (GROUP_EVENT.encode(), at.encode(), data)
