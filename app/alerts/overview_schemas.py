"""Defines the JSON of the overview: firing alerts, silent and refused boxes, failing endpoints."""

from datetime import datetime
from typing import Final, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from app.alerts.schemas import AlertOut
from app.notifications.api.endpoint_fields import Kind
from app.notifications.events.incident_event_schemas import Evidence

LISTED_SITES: Final = 100
LISTED_BOXES: Final = 20
LISTED_ENDPOINTS: Final = 20
LISTED_ALERTS: Final = 10
LISTED_INCIDENTS: Final = 20
"""The most entries in each list of an overview; its counts include all."""

type EndpointTrouble = Literal["failing", "disabled"]


class SeverityCounts(BaseModel):
    """Number of firing alerts by severity, without dry-run rules."""

    critical: int = Field(examples=[1])
    warning: int = Field(examples=[2])
    info: int = Field(examples=[0])


class FiringCounts(BaseModel):
    """Number of firing alerts, without dry-run rules."""

    total: int = Field(examples=[3])
    by_severity: SeverityCounts
    unacknowledged: int = Field(description="Alerts that are not acknowledged", examples=[2])
    suppressed: int = Field(description="Alerts that silences or inhibitions mute", examples=[0])


class SiteSituation(BaseModel):
    """The current problems of one site."""

    site_id: UUID
    site_name: str = Field(examples=["Rue de Metz"])
    firing: SeverityCounts
    boxes: int = Field(description="Number of its boxes", examples=[12])
    silent_boxes: int = Field(description="Number of its silent boxes", examples=[1])
    refused_boxes: int = Field(description="Number of its boxes whose samples are all refused", examples=[0])


class BoxActivityCounts(BaseModel):
    """Number of boxes by activity."""

    total: int = Field(examples=[240])
    active: int = Field(description="Boxes that send", examples=[239])
    silent: int = Field(description="Boxes that send nothing", examples=[1])
    refused: int = Field(description="Boxes whose samples are all refused", examples=[0])


class InactiveBox(BaseModel):
    """A box without stored samples in recent time."""

    box: str = Field(examples=["box-0001"])
    box_name: str | None = Field(examples=["North crossing"])
    site_id: UUID
    site_name: str | None = Field(examples=["Rue de Metz"])


class SilentBox(InactiveBox):
    """A box that sends nothing."""

    last_heard_at: datetime | None = Field(description="Arrival of its newest sample; null if there was none")


class SilentBoxes(BaseModel):
    """The boxes that send nothing (`activity` is `silent`)."""

    total: int = Field(examples=[1])
    of: int = Field(description="Number of all boxes", examples=[240])
    listed: list[SilentBox] = Field(description=f"At most {LISTED_BOXES}, the most recently heard ones first")


class RefusedBox(InactiveBox):
    """A box that sends, but everything is refused."""

    refused_at: datetime = Field(description="Time of the last refusal")
    code: str = Field(description="Rejection code of the last refusal", examples=["not_finite"])


class RefusedBoxes(BaseModel):
    """The boxes that send, but everything is refused (`activity` is `refused`)."""

    total: int = Field(examples=[0])
    of: int = Field(description="Number of all boxes", examples=[240])
    listed: list[RefusedBox] = Field(
        description=f"At most {LISTED_BOXES}, those with the latest refusals first"
    )


class FailingEndpoint(BaseModel):
    """A webhook or a channel to which deliveries fail."""

    endpoint_id: UUID
    kind: Kind = Field(description="`webhook`, or the kind of the channel")
    target: str | None = Field(
        description="Scheme and host of its URL; for e-mail, the number and the domains of recipients; else "
        "the kind",
        examples=["https://hooks.example.com"],
    )
    recipient: str | None = Field(description="Name of the recipient; null if it has none")
    description: str | None
    state: EndpointTrouble = Field(
        description="`failing`: its last attempt failed; `disabled`: Vigie sends nothing to it any more"
    )
    failing_since: datetime | None = Field(description="Time of the first failure since the last success")
    last_reason: str | None = Field(description="Reason of the last failure", examples=["http_error"])
    last_status: int | None = Field(description="HTTP status of the last failure", examples=[503])
    pending: int = Field(description="Number of pending deliveries, counted up to 10,000", examples=[12])


class FailingEndpoints(BaseModel):
    """Webhooks and channels to which deliveries fail."""

    total: int = Field(description="Number of all webhooks and channels", examples=[3])
    failing: int = Field(examples=[1])
    disabled: int = Field(
        description="Number of endpoints that Vigie disabled after failures; without those that a person "
        "disabled",
        examples=[0],
    )
    pending: int = Field(description="Number of pending deliveries of the listed endpoints", examples=[12])
    listed: list[FailingEndpoint] = Field(
        description=f"At most {LISTED_ENDPOINTS}, the longest failing first"
    )


class IncidentSituation(BaseModel):
    """An incident that waits for a review."""

    model_config = ConfigDict(populate_by_name=True)

    id: UUID
    site_id: UUID
    site_name: str = Field(examples=["Rue de Metz"])
    timezone: str = Field(description="Time zone of its site", examples=["Europe/Paris"])
    occurred_at: datetime = Field(description="When the sound began")
    class_: str | None = Field(
        alias="class", description="The likeliest source; null if unknown", examples=["pistol"]
    )
    class_label: str | None = Field(description="Name of the source", examples=["Pistol"])
    class_label_fr: str | None = Field(description="Its name in French", examples=["Pistolet"])
    probability: float = Field(description="Probability of a gunshot or an explosion", examples=[0.76])
    evidence: Evidence
    verified: bool = Field(description="Whether more boxes agree on the position than any three would")
    boxes: list[str] = Field(description="Boxes that recorded it", examples=[["box-0001", "box-0002"]])
    rounds: int = Field(description="Number of shots, or other sounds, of the source", examples=[1])


class OpenIncidents(BaseModel):
    """The incidents that wait for a review."""

    total: int = Field(examples=[2])
    listed: list[IncidentSituation] = Field(description=f"At most {LISTED_INCIDENTS}, the newest first")


class OverviewOut(BaseModel):
    """Current problems, within the caller's tenant scope."""

    at: datetime = Field(description="When this was read")
    firing: FiringCounts
    sites: list[SiteSituation] = Field(
        description=f"Sites with problems, the most severe first; at most {LISTED_SITES}"
    )
    sites_total: int = Field(description="Number of all sites with problems", examples=[1])
    boxes: BoxActivityCounts | None = Field(description="Null for a caller without `sites:read`")
    samples_per_s: float | None = Field(
        description="Stored samples a second in the last minute. Null for the first read in some minutes, "
        "for a caller without `telemetry:read`, and for a caller limited to some sites",
        examples=[24.0],
    )
    silent_boxes: SilentBoxes | None = Field(description="Null for a caller without `sites:read`")
    refused_boxes: RefusedBoxes | None = Field(description="Null for a caller without `sites:read`")
    endpoints: FailingEndpoints | None = Field(
        description="Null for a caller without `webhooks:read`, or a caller limited to some sites"
    )
    open_incidents: OpenIncidents | None = Field(description="Null for a caller without `incidents:read`")
    newest: list[AlertOut] = Field(description=f"The newest firing alerts, at most {LISTED_ALERTS}")
