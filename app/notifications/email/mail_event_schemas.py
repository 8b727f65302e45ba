"""Defines what the mail builders read from the JSON of an event. All fields are optional.

Times are RFC 3339, values in the metric's unit.
"""

from typing import Any

import msgspec


class MailIndexBand(msgspec.Struct):
    """A class of an index."""

    label: str = ""
    label_fr: str = ""


class MailIndexCause(msgspec.Struct):
    """The index that caused the alert."""

    method: str = ""
    title: str = ""
    title_fr: str = ""
    metric: str | None = None
    period: dict[str, Any] | None = None
    unit: str = ""
    band: MailIndexBand | None = None
    limit_band: MailIndexBand | None = None


class MailAlertCause(msgspec.Struct):
    """The part of a rule's condition that caused the alert."""

    function: str | None = None
    window: str | None = None
    event: dict[str, Any] | None = None
    boxes: list[str] = []
    index: MailIndexCause | None = None


class MailAcknowledger(msgspec.Struct):
    """Who acknowledged an alert."""

    name: str | None = None


class MailAlertData(msgspec.Struct):
    """The data of an event of an alert."""

    alert_id: str | None = None
    rule_id: str | None = None
    rule_name: str | None = None
    site_id: str | None = None
    box: str | None = None
    metric: str | None = None
    value: float | None = None
    threshold: float | None = None
    clear: float | None = None
    severity: str | None = None
    previous_severity: str | None = None
    highest_severity: str | None = None
    state: str | None = None
    reason: str | None = None
    pending_since: str | None = None
    started_at: str | None = None
    resolved_at: str | None = None
    resolved_value: float | None = None
    resolution: str | None = None
    acknowledged_at: str | None = None
    acknowledged_by: MailAcknowledger | str | None = None
    link: str | None = None
    sentence: str | None = None
    sentence_fr: str | None = None
    site_name: str | None = None
    box_name: str | None = None
    description: str | None = None
    assignee: str | None = None
    sequence: int | None = None
    cause: MailAlertCause | None = None


class MailAlertEvent(msgspec.Struct):
    """An event of an alert; in a group, `events_count` is the number of events that it represents."""

    type: str
    data: MailAlertData
    timestamp: str | None = None
    events_count: int = 1


class MailGroupData(msgspec.Struct):
    """The data of `alert.group`."""

    events: list[MailAlertEvent]
    group: dict[str, str | None] = {}
    firing: int = 0
    resolved: int = 0
    truncated: int = 0


class MailGroupEvent(msgspec.Struct):
    """A group's notification."""

    type: str
    data: MailGroupData


class MailEvent(msgspec.Struct):
    """Any event."""

    type: str = ""
    timestamp: str | None = None
    data: dict[str, Any] = {}
