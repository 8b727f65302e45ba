"""What every event that is sent looks like: its envelope, and its data. Shapes only.

The catalogue of event types and the API's description are made of them. Receivers are told to expect fields
to be added: a field that is here is a promise.
"""

from collections.abc import Mapping
from datetime import date, datetime
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from pydantic import BaseModel, Field

from app.notifications.api.endpoint_fields import Kind
from app.notifications.delivery.grouping import GROUP_EVENT, MOST_EVENTS
from app.notifications.events.event_types import (
    ENDPOINT_DISABLED,
    ENDPOINT_FAILING,
    MESSAGES_DROPPED,
    QUOTA_EXCEEDED,
    QUOTA_WARNING,
    RIGHTS_OVERDUE,
    RIGHTS_RECEIVED,
    TEST_EVENT,
    EventEnvelope,
)
from app.notifications.events.incident_event_schemas import INCIDENT_EVENT_SCHEMAS
from app.platform.config.quota_settings import Quota

type Severity = Literal["info", "warning", "critical"]


class BandCause(BaseModel):
    """A class of an index."""

    key: str = Field(description="Its stable name", examples=["poor"])
    label: str = Field(description="What it is called", examples=["Poor"])
    label_fr: str = Field(description="The same in French", examples=["Mauvais"])


class IndexPeriod(BaseModel):
    """What an index is of: to its end, which is excluded."""

    start: datetime = Field(description="Included")
    end: datetime = Field(description="Excluded")


class IndexCause(BaseModel):
    """An index of a city that decided: the alert's `value` is its value."""

    method: str = Field(description="One of `GET /v1/indices`", examples=["eaqi"])
    version: int = Field(description="The method's", examples=[1])
    title: str = Field(description="What it is called")
    title_fr: str = Field(description="The same in French")
    metric: str | None = Field(description="Of methods that have a value for each metric")
    period: IndexPeriod | None = Field(description="What it is of")
    unit: str = Field(description="Of the value and of what it is compared with", examples=["µg/m³"])
    coverage: float | None = Field(description="How much of the period was measured, in percent")
    band: BandCause | None = Field(description="The value's class, where the method has some")
    limit_band: BandCause | None = Field(description="The class that it is compared with")


class Cause(BaseModel):
    """The part of a rule's condition that decided."""

    path: str = Field(description="Where it is in the rule")
    function: str | None = Field(description="Such as `mean`; null for a sample's own value")
    window: str | None = Field(description="What the function looks at, ISO 8601")
    event: dict[str, Any] | None = Field(description="What a box recognised, where that decided")
    boxes: list[str] = Field(description="Those that raise it, where the rule is on the site as a whole")
    index: IndexCause | None = Field(description="The index of a city, where that decided")


class Acknowledger(BaseModel):
    """Who acknowledged an alert: the same wherever an alert is shown or sent."""

    kind: Literal["key", "user"] = Field(description="`key`: an API key; `user`: a person who signed in")
    id: UUID
    name: str | None = Field(description="What it was called then", examples=["Night shift"])


class AlertData(BaseModel):
    """An alert as it is after the event. Its times are those of measurements."""

    alert_id: UUID
    rule_id: UUID
    rule_name: str
    rule_version: int = Field(description="The rule's version when it fired")
    organisation_id: UUID
    site_id: UUID
    site_name: str | None = Field(description="The site's name when it happened", examples=["Rue de Metz"])
    box: str | None = Field(description="Null where the rule is on the site as a whole")
    box_name: str | None = Field(description="The box's name when it happened; null where it has none")
    sentence: str = Field(
        description="What happened, in one sentence",
        examples=["PM2.5 at Rue de Metz is 31.2 µg/m³, above 25 for 10 minutes"],
    )
    sentence_fr: str = Field(description="The same in French")
    link: str = Field(
        description="Where the alert is read",
        examples=["https://vigie.example.com/v1/alerts/01a21017-b012-70c3-9e7d-1f6a3c5e8b92"],
    )
    metric: str | None
    unit: str | None = Field(
        description="Of `value`, `threshold` and `clear`; `s` of a silence; null where they have none",
        examples=["µg/m³"],
    )
    value: float | None = Field(description="What fired it, or the level that fires now")
    threshold: float | None
    clear: float | None
    severity: Severity
    highest_severity: Severity = Field(description="The highest that it had so far")
    state: Literal["firing", "resolved"]
    pending_since: datetime = Field(description="Time of the sample that began the wait")
    started_at: datetime = Field(description="Time of the sample that fired it")
    resolved_at: datetime | None
    resolved_value: float | None
    resolution: str | None = Field(description="`cleared` by a sample; else why it was closed")
    acknowledged_at: datetime | None
    acknowledged_by: Acknowledger | None = Field(description="Who acknowledged it; null where nobody did")
    description: str | None = Field(description="The rule's: what to do")
    cause: Cause | None
    assignee: str | None
    sequence: int = Field(description="Counts up from 1 within one alert: keep the highest")


class ChangedData(AlertData):
    """An alert whose severity changed."""

    previous_severity: Severity = Field(description="What was told before")
    reason: Literal["samples", "unacknowledged"]


class TestData(BaseModel):
    """A test of one endpoint."""

    __test__ = False  # pytest takes classes of this name for tests

    endpoint_id: UUID
    organisation_id: UUID
    kind: Kind = Field(description="`webhook`, or the kind of the channel")
    message: str


class NoticeData(BaseModel):
    """What became of another endpoint."""

    endpoint_id: UUID
    organisation_id: UUID
    kind: Kind
    target: str | None = Field(
        description="Scheme, host and port of its URL; or how many recipients it has, and at which domains; "
        "or its kind",
        examples=["https://hooks.example.com", "2 recipients at example.com"],
    )
    description: str | None
    reason: Literal["gone", "failing"]
    failing_since: datetime | None
    last_reason: str | None = Field(description="Of the last attempt")
    last_status: int | None
    pending: int = Field(description="Deliveries that wait")


class QuotaData(BaseModel):
    """How an organisation stands to one of its quotas."""

    organisation_id: UUID
    quota: Quota
    day: date = Field(description="In UTC")
    limit: int | None = Field(description="How much there may be; null where it is the integrator's quota")
    used: int = Field(description="How much there is; of samples, how many were stored in the day")
    refused: int = Field(description="How much was refused in the day so far")
    resets_at: datetime | None = Field(description="When the day ends; null where it is no quota of a day")


class RightsData(BaseModel):
    """A request by which somebody uses a right (`/v1/rights-requests`)."""

    request_id: UUID
    reference: str = Field(examples=["R-7K3F9-Q2DXM"])
    organisation_id: UUID
    site_id: UUID | None = Field(description="Null where it is about none, or several")
    kind: Literal["access", "objection", "erasure", "rectification", "restriction", "question"]
    state: Literal["received", "in_progress"]
    received_at: datetime
    due_at: datetime = Field(description="Until when it has to be answered")


class DroppedData(BaseModel):
    """Messages that the broker dropped."""

    organisation_id: UUID
    dropped: int = Field(description="Since this was last told")
    total: int = Field(description="Since the broker's start")
    broker_started_at: datetime


class AlertFiring(EventEnvelope):
    """A rule fires, on a box or on a site as a whole."""

    type: Literal["alert.firing"]
    data: AlertData


class AlertEscalated(EventEnvelope):
    """The severity of an alert went up."""

    type: Literal["alert.escalated"]
    data: ChangedData


class AlertDeescalated(EventEnvelope):
    """The severity of an alert went down."""

    type: Literal["alert.deescalated"]
    data: ChangedData


class AlertResolved(EventEnvelope):
    """A sample resolved an alert, or it was closed."""

    type: Literal["alert.resolved"]
    data: AlertData


class AlertAcknowledged(EventEnvelope):
    """Somebody acknowledged an alert."""

    type: Literal["alert.acknowledged"]
    data: AlertData


class AlertReminder(EventEnvelope):
    """An alert still fires, and nobody has acknowledged it."""

    type: Literal["alert.reminder"]
    data: AlertData


class GroupedEventCount(BaseModel):
    """How many events of its alert one in a group stands for."""

    events_count: int


class GroupedFiring(AlertFiring, GroupedEventCount):
    """As on its own."""


class GroupedEscalated(AlertEscalated, GroupedEventCount):
    """As on its own."""


class GroupedDeescalated(AlertDeescalated, GroupedEventCount):
    """As on its own."""


class GroupedResolved(AlertResolved, GroupedEventCount):
    """As on its own."""


class GroupedAcknowledged(AlertAcknowledged, GroupedEventCount):
    """As on its own."""


class GroupedReminder(AlertReminder, GroupedEventCount):
    """As on its own."""


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

    group: dict[str, str | None] = Field(description="What they have in common")
    firing: int = Field(description="How many fire, those that are not listed too")
    resolved: int
    events: list[Grouped] = Field(max_length=MOST_EVENTS, description="Those that fire come first")
    truncated: int = Field(description="How many are not listed")


class AlertGroup(EventEnvelope):
    """Events of alerts, put together as the endpoint's `grouping` says."""

    type: Literal["alert.group"]
    data: GroupData


class EndpointFailing(EventEnvelope):
    """Another endpoint of the organisation has failed for a day."""

    type: Literal["endpoint.failing"]
    data: NoticeData


class EndpointDisabled(EventEnvelope):
    """Another endpoint of the organisation was disabled: gone, or failing for too long."""

    type: Literal["endpoint.disabled"]
    data: NoticeData


class QuotaWarning(EventEnvelope):
    """Four fifths of the samples of the day are used. Once a day."""

    type: Literal["quota.warning"]
    data: QuotaData


class QuotaExceeded(EventEnvelope):
    """A quota is used up: what exceeds it is refused. Once a day for each quota."""

    type: Literal["quota.exceeded"]
    data: QuotaData


class RightsReceived(EventEnvelope):
    """Somebody uses a right: it has to be answered within a month. Not who, nor what they wrote."""

    type: Literal["rights.received"]
    data: RightsData


class RightsOverdue(EventEnvelope):
    """A request was not answered in time. Once for each."""

    type: Literal["rights.overdue"]
    data: RightsData


class MessagesDropped(EventEnvelope):
    """The broker dropped messages; for the platform's own organisation."""

    type: Literal["platform.messages_dropped"]
    data: DroppedData


class WebhookTest(EventEnvelope):
    """Somebody asked for a test. Goes to one endpoint, whatever it subscribes to."""

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
    ENDPOINT_FAILING: EndpointFailing,
    ENDPOINT_DISABLED: EndpointDisabled,
    QUOTA_WARNING: QuotaWarning,
    QUOTA_EXCEEDED: QuotaExceeded,
    RIGHTS_RECEIVED: RightsReceived,
    RIGHTS_OVERDUE: RightsOverdue,
    MESSAGES_DROPPED: MessagesDropped,
    TEST_EVENT: WebhookTest,
}
"""Every type that is sent, with the shape of its body."""
