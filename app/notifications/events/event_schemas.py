"""Defines the JSON bodies of notification events, and the fields that all bodies have (`EventEnvelope`).

The event catalogue and OpenAPI are made from them.

Fields may be added, as the documentation says, but never removed or changed.
"""

from collections.abc import Mapping
from datetime import date, datetime
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from pydantic import BaseModel, Field

from app.notifications.api.endpoint_fields import Kind
from app.notifications.delivery.alert_grouping import GROUP_EVENT, MOST_EVENTS
from app.notifications.events.event_types import (
    MESSAGES_DROPPED,
    QUOTA_EXCEEDED,
    QUOTA_WARNING,
    RIGHTS_OVERDUE,
    RIGHTS_RECEIVED,
    TEST_EVENT,
    EventEnvelope,
)
from app.notifications.events.incident_event_schemas import INCIDENT_EVENT_SCHEMAS
from app.notifications.events.notice_event_schemas import NOTICE_EVENT_SCHEMAS
from app.registry.settings import Quota

type Severity = Literal["info", "warning", "critical"]


class BandCause(BaseModel):
    """A class of an index."""

    key: str = Field(description="The class's stable name", examples=["poor"])
    label: str = Field(description="The class's label in English", examples=["Poor"])
    label_fr: str = Field(description="The class's label in French", examples=["Mauvais"])


class IndexPeriod(BaseModel):
    """The period of an index."""

    start: datetime = Field(description="Inclusive")
    end: datetime = Field(description="Exclusive")


class IndexCause(BaseModel):
    """The index that caused the alert; its value is the alert's `value`."""

    method: str = Field(description="A method of `GET /v1/indices`", examples=["eaqi"])
    version: int = Field(description="The method's version", examples=[1])
    title: str = Field(description="The index's title in English")
    title_fr: str = Field(description="The index's title in French")
    metric: str | None = Field(description="The metric, for methods with a value for each metric")
    period: IndexPeriod | None = Field(description="The period of the index")
    unit: str = Field(description="The unit of the value and of its limit", examples=["µg/m³"])
    coverage: float | None = Field(description="The share of the period that was measured, in percent")
    band: BandCause | None = Field(description="The value's class, if the method has classes")
    limit_band: BandCause | None = Field(description="The class that the value is compared with")


class Cause(BaseModel):
    """The part of a rule's condition that caused the alert."""

    path: str = Field(description="The path of that part in the rule")
    function: str | None = Field(description="The function, such as `mean`; null for a sample's own value")
    window: str | None = Field(description="The time window of the function, ISO 8601")
    event: dict[str, Any] | None = Field(description="The event of a box that caused the alert, if any")
    boxes: list[str] = Field(description="The boxes that caused the alert of a rule on a whole site")
    index: IndexCause | None = Field(description="The index that caused the alert, if any")


class Acknowledger(BaseModel):
    """The acknowledger of an alert, the same in responses and events."""

    kind: Literal["key", "user"] = Field(description="`key`: an API key; `user`: a person who signed in")
    id: UUID
    name: str | None = Field(description="The name at that time", examples=["Night shift"])


class AlertData(BaseModel):
    """An alert after the event. Its times are measurement times."""

    alert_id: UUID
    rule_id: UUID
    rule_name: str
    rule_version: int = Field(description="The rule's version when it fired")
    organisation_id: UUID
    site_id: UUID
    site_name: str | None = Field(
        description="The site's name at the time of the event", examples=["Rue de Metz"]
    )
    box: str | None = Field(description="The box; null if the rule is on a whole site")
    box_name: str | None = Field(description="The box's name at the time of the event; null if it has none")
    sentence: str = Field(
        description="What happened, in one sentence",
        examples=["PM2.5 at Rue de Metz is 31.2 µg/m³, above 25 for 10 minutes"],
    )
    sentence_fr: str = Field(description="The sentence in French")
    link: str = Field(
        description="The alert's URL",
        examples=["https://vigie.example.com/console/alerts/01a21017-b012-70c3-9e7d-1f6a3c5e8b92"],
    )
    metric: str | None
    unit: str | None = Field(
        description="The unit of `value`, `threshold` and `clear`; `s` for a silence; null if they have none",
        examples=["µg/m³"],
    )
    value: float | None = Field(description="The value that fired the alert, or its current level")
    threshold: float | None
    clear: float | None
    severity: Severity
    highest_severity: Severity = Field(description="The highest severity so far")
    state: Literal["firing", "resolved"]
    pending_since: datetime = Field(description="Time of the first sample that met the condition")
    started_at: datetime = Field(description="Time of the sample that fired the alert")
    resolved_at: datetime | None
    resolved_value: float | None
    resolution: str | None = Field(description="`cleared` by a sample, or why the alert was closed")
    acknowledged_at: datetime | None
    acknowledged_by: Acknowledger | None = Field(
        description="The acknowledger; null if the alert is not acknowledged"
    )
    description: str | None = Field(description="The rule's description: what to do")
    cause: Cause | None
    assignee: str | None
    sequence: int = Field(
        description="The number of the event among those of its alert, from 1: the highest is the latest "
        "state"
    )


class ChangedData(AlertData):
    """An alert whose severity changed."""

    previous_severity: Severity = Field(description="The severity before the event")
    reason: Literal["samples", "unacknowledged", "person"]


class EscalatedData(ChangedData):
    """An alert whose severity increased."""

    previous_highest_severity: Severity | None = Field(
        description="The highest severity before the event; null if the alert was muted before it, so that "
        "events did not show all its changes"
    )


class TestData(BaseModel):
    """A test of one endpoint."""

    __test__ = False  # Else pytest collects the class for its name.

    endpoint_id: UUID
    organisation_id: UUID
    kind: Kind = Field(description="`webhook`, or the kind of the channel")
    message: str


class QuotaData(BaseModel):
    """An organisation's use of one of its quotas."""

    organisation_id: UUID
    quota: Quota
    day: date = Field(description="The day in UTC")
    limit: int | None = Field(description="The quota's limit; null if it is the integrator's quota")
    used: int = Field(description="The current use; of samples, the number stored in the day")
    refused: int = Field(description="The number refused in the day so far")
    resets_at: datetime | None = Field(description="The end of the day; null if it is not a daily quota")


class RightsData(BaseModel):
    """A person's request to use a right under the GDPR (`/v1/rights-requests`)."""

    request_id: UUID = Field(description="The request's id")
    reference: str = Field(examples=["R-7K3F9-Q2DXM"], description="The request's reference")
    organisation_id: UUID
    site_id: UUID | None = Field(description="The site; null if it is about no site, or several")
    kind: Literal["access", "objection", "erasure", "rectification", "restriction", "question"]
    state: Literal["received", "in_progress"]
    received_at: datetime
    due_at: datetime = Field(description="The deadline for the answer")


class DroppedData(BaseModel):
    """Messages that the broker dropped."""

    organisation_id: UUID
    dropped: int = Field(description="Dropped messages since the last event of this type")
    total: int = Field(description="Dropped messages since the broker's start")
    broker_started_at: datetime
    edge: str | None = Field(
        None, description="The edge of the broker; null in an installation with one broker"
    )


class AlertFiring(EventEnvelope):
    """A rule fires, on a box or on a site as a whole."""

    type: Literal["alert.firing"]
    data: AlertData


class AlertEscalated(EventEnvelope):
    """The severity of an alert went up."""

    type: Literal["alert.escalated"]
    data: EscalatedData


class AlertDeescalated(EventEnvelope):
    """The severity of an alert went down."""

    type: Literal["alert.deescalated"]
    data: ChangedData


class AlertResolved(EventEnvelope):
    """A sample resolved an alert, or it was closed."""

    type: Literal["alert.resolved"]
    data: AlertData


class AlertAcknowledged(EventEnvelope):
    """An alert was acknowledged."""

    type: Literal["alert.acknowledged"]
    data: AlertData


class AlertReminder(EventEnvelope):
    """An alert is still firing and has not been acknowledged."""

    type: Literal["alert.reminder"]
    data: AlertData


class GroupedEventCount(BaseModel):
    """The number of its alert's events that an event in a group represents."""

    events_count: int


class GroupedFiring(AlertFiring, GroupedEventCount):
    """An `alert.firing` in a group."""


class GroupedEscalated(AlertEscalated, GroupedEventCount):
    """An `alert.escalated` in a group."""


class GroupedDeescalated(AlertDeescalated, GroupedEventCount):
    """An `alert.deescalated` in a group."""


class GroupedResolved(AlertResolved, GroupedEventCount):
    """An `alert.resolved` in a group."""


class GroupedAcknowledged(AlertAcknowledged, GroupedEventCount):
    """An `alert.acknowledged` in a group."""


class GroupedReminder(AlertReminder, GroupedEventCount):
    """An `alert.reminder` in a group."""


type Grouped = Annotated[
    GroupedFiring
    | GroupedEscalated
    | GroupedDeescalated
    | GroupedResolved
    | GroupedAcknowledged
    | GroupedReminder,
    Field(discriminator="type"),
]


class GroupData(BaseModel):
    """Alerts of one group, each with its latest event."""

    group: dict[str, str | None] = Field(description="The labels that the events share")
    firing: int = Field(description="The number of firing alerts, with unlisted ones")
    resolved: int = Field(description="The number of resolved alerts, with unlisted ones")
    events: list[Grouped] = Field(max_length=MOST_EVENTS, description="Firing alerts come first")
    truncated: int = Field(description="The number of unlisted alerts")


class AlertGroup(EventEnvelope):
    """Events of alerts, grouped according to the endpoint's `grouping`."""

    type: Literal["alert.group"]
    data: GroupData


class QuotaWarning(EventEnvelope):
    """Four fifths of the day's quota of samples are used. Sent once a day."""

    type: Literal["quota.warning"]
    data: QuotaData


class QuotaExceeded(EventEnvelope):
    """A quota is used up: anything above it is refused. Sent once a day for each quota."""

    type: Literal["quota.exceeded"]
    data: QuotaData


class RightsReceived(EventEnvelope):
    """A rights request has arrived. It has to be answered within a month. The event has no personal data."""

    type: Literal["rights.received"]
    data: RightsData


class RightsOverdue(EventEnvelope):
    """A rights request was not answered in time. Sent once for each request."""

    type: Literal["rights.overdue"]
    data: RightsData


class MessagesDropped(EventEnvelope):
    """The broker dropped messages. Sent to the platform's own organisation."""

    type: Literal["platform.messages_dropped"]
    data: DroppedData


class WebhookTest(EventEnvelope):
    """A test was requested. Sent to one endpoint, whatever it subscribes to."""

    type: Literal["webhook.test"]
    data: TestData


EVENT_SCHEMAS: Final[Mapping[str, type[EventEnvelope]]] = {
    "alert.firing": AlertFiring,
    "alert.escalated": AlertEscalated,
    "alert.deescalated": AlertDeescalated,
    "alert.resolved": AlertResolved,
    "alert.acknowledged": AlertAcknowledged,
    "alert.reminder": AlertReminder,
    GROUP_EVENT: AlertGroup,
    **INCIDENT_EVENT_SCHEMAS,
    **NOTICE_EVENT_SCHEMAS,
    QUOTA_WARNING: QuotaWarning,
    QUOTA_EXCEEDED: QuotaExceeded,
    RIGHTS_RECEIVED: RightsReceived,
    RIGHTS_OVERDUE: RightsOverdue,
    MESSAGES_DROPPED: MessagesDropped,
    TEST_EVENT: WebhookTest,
}
"""The model of the body of each event type."""
