"""What the outbox says of an alert: the types of the events and the `data` of their bodies.

Must not query anything. Whatever changes an alert (a sample, a call, time that passes, the end of its rule)
tells it in the one form that is made here.
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
"""The columns of `alerts` that say whether somebody sees to it, and who."""

REASON_SAMPLES: Final = "samples"
REASON_UNACKNOWLEDGED: Final = "unacknowledged"
"""The two reasons for which a severity goes up."""


def describe_acknowledger(alert: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return who acknowledged an alert, as `kind`, `id` and `name`; None where nobody did.

    Args:
        alert: The values of ACKNOWLEDGEMENT.
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
    """Make the outbox's record of a change.

    Args:
        kind: what happened.
        alert: `id` and the values of COLUMNS and of ACKNOWLEDGEMENT, as they are after the change; its
            `sequence` counts up with each change of one alert: a receiver can put its events in order.
        rule_name: the name of its rule now.
        now: when it happened, aware.
        more: what else belongs to this kind: `reason` and `previous_severity` (what was told before) where
            the severity went up or down.
    """
    payload = {"alert_id": alert["id"], "rule_name": rule_name}
    payload |= {name: alert[name] for name in EVENT_COLUMNS}
    payload["acknowledged_by"] = describe_acknowledger(alert)
    payload |= more or {}
    return OutboxRecord(new_id(), alert["organisation_id"], alert["site_id"], kind, payload, now)
