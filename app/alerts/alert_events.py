"""Builds the outbox events of alerts: their types and the `data` of their bodies.

All changes of an alert (by a sample, a request, a timer, the end of its rule) use this form. Must not query
anything.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, Literal

from app.notifications.events.outbox import OutboxRecord
from app.platform.kernel.ids import new_id

AlertEventType = Literal[
    "alert.firing",
    "alert.escalated",
    "alert.deescalated",
    "alert.resolved",
    "alert.acknowledged",
    "alert.reminder",
]

EVENT_COLUMNS: Final = (
    "rule_id",
    "rule_version",
    "organisation_id",
    "site_id",
    "box",
    "metric",
    "value",
    "threshold",
    "clear",
    "severity",
    "highest_severity",
    "state",
    "pending_since",
    "started_at",
    "resolved_at",
    "resolved_value",
    "resolution",
    "acknowledged_at",
    "description",
    "cause",
    "assignee",
    "sequence",
)
"""The columns of `alerts` that an event carries, beside `id` as `alert_id`."""

ACKNOWLEDGEMENT_COLUMNS: Final = (
    "acknowledged_at",
    "acknowledged_by",
    "acknowledged_by_kind",
    "acknowledged_by_name",
)
"""The columns of `alerts` that hold its acknowledgement."""

REASON_SAMPLES: Final = "samples"
REASON_UNACKNOWLEDGED: Final = "unacknowledged"
REASON_PERSON: Final = "person"
"""The reasons for an escalation."""


def describe_acknowledger(alert: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return who acknowledged an alert, as `kind`, `id` and `name`; None without an acknowledgement.

    Args:
        alert: The values of `ACKNOWLEDGEMENT_COLUMNS`.
    """
    if alert["acknowledged_by"] is None:
        return None
    return {
        "kind": alert["acknowledged_by_kind"],
        "id": alert["acknowledged_by"],
        "name": alert["acknowledged_by_name"],
    }


def build_alert_event(
    kind: AlertEventType,
    alert: Mapping[str, Any],
    rule_name: str,
    now: datetime,
    more: Mapping[str, Any] | None = None,
) -> OutboxRecord:
    """Build the outbox record of a change.

    Args:
        kind: the type of the event.
        alert: `id` and the values of `EVENT_COLUMNS` and `ACKNOWLEDGEMENT_COLUMNS` after the change. Its
            `sequence` increases with each change, so that receivers can order the events of an alert.
        rule_name: the current name of its rule.
        now: the time of the change, aware.
        more: further fields of this type: `reason` and `previous_severity` (that of the last event) for a
            change of severity; `previous_highest_severity` for an escalation, None if it is not known what
            events have shown of it.
    """
    payload = {"alert_id": alert["id"], "rule_name": rule_name}
    payload |= {name: alert[name] for name in EVENT_COLUMNS}
    payload["acknowledged_by"] = describe_acknowledger(alert)
    payload |= more or {}
    return OutboxRecord(new_id(), alert["organisation_id"], alert["site_id"], kind, payload, now)
