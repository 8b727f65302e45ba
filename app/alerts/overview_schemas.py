"""Defines the JSON of the overview: firing alerts, silent and refused boxes, failing endpoints."""

from datetime import datetime
from typing import Final, Literal
from uuid import UUID

from pydantic import BaseModel, Field

from app.alerts.schemas import AlertOut
from app.notifications.api.endpoint_fields import Kind

LISTED_SITES: Final = 100
LISTED_BOXES: Final = 20
LISTED_ENDPOINTS: Final = 20
LISTED_ALERTS: Final = 10
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


class OverviewOut(BaseModel):
    """Current problems, within the caller's tenant scope."""

    at: datetime = Field(description="When this was read")
    firing: FiringCounts
    sites: list[SiteSituation] = Field(
        description=f"Sites with problems, the most severe first; at most {LISTED_SITES}"
    )
    sites_total: int = Field(description="Number of all sites with problems", examples=[1])
    silent_boxes: SilentBoxes | None = Field(description="Null for a caller without `sites:read`")
    refused_boxes: RefusedBoxes | None = Field(description="Null for a caller without `sites:read`")
    endpoints: FailingEndpoints | None = Field(
        description="Null for a caller without `webhooks:read`, or a caller limited to some sites"
    )
    newest: list[AlertOut] = Field(description=f"The newest firing alerts, at most {LISTED_ALERTS}")
