"""The shapes of what is wrong now on the wire. Shapes only."""

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
"""How many of each an overview lists; it counts all."""

type EndpointTrouble = Literal["failing", "disabled"]


class SeverityCounts(BaseModel):
    """Firing alerts by severity, without those of rules on trial."""

    critical: int = Field(examples=[1])
    warning: int = Field(examples=[2])
    info: int = Field(examples=[0])


class FiringCounts(BaseModel):
    """Alerts that fire now, without those of rules on trial."""

    total: int = Field(examples=[3])
    by_severity: SeverityCounts
    unacknowledged: int = Field(description="Nobody sees to these", examples=[2])
    suppressed: int = Field(description="These are muted by silences or inhibitions", examples=[0])


class SiteSituation(BaseModel):
    """What is wrong at one site."""

    site_id: UUID
    site_name: str = Field(examples=["Rue de Metz"])
    firing: SeverityCounts
    boxes: int = Field(description="How many boxes it has", examples=[12])
    silent_boxes: int = Field(description="How many of them are silent", examples=[1])
    refused_boxes: int = Field(description="How many of them send only what is refused", examples=[0])


class InactiveBox(BaseModel):
    """A box of which nothing is stored."""

    box: str = Field(examples=["box-0001"])
    box_name: str | None = Field(examples=["North crossing"])
    site_id: UUID
    site_name: str | None = Field(examples=["Rue de Metz"])


class SilentBox(InactiveBox):
    """A box from which nothing comes."""

    last_heard_at: datetime | None = Field(
        description="When its newest sample came; null where none ever did"
    )


class SilentBoxes(BaseModel):
    """The boxes from which nothing comes (`silent` of a box)."""

    total: int = Field(examples=[1])
    of: int = Field(description="How many boxes there are", examples=[240])
    listed: list[SilentBox] = Field(description=f"At most {LISTED_BOXES}, those first that were heard last")


class RefusedBox(InactiveBox):
    """A box that sends, and of which all is refused."""

    refused_at: datetime = Field(description="When something of it was refused last")
    code: str = Field(description="Why", examples=["not_finite"])


class RefusedBoxes(BaseModel):
    """The boxes that send only what is refused (`activity` of a box)."""

    total: int = Field(examples=[0])
    of: int = Field(description="How many boxes there are", examples=[240])
    listed: list[RefusedBox] = Field(
        description=f"At most {LISTED_BOXES}, those first of which something was refused last"
    )


class FailingEndpoint(BaseModel):
    """A webhook or a channel that gets nothing through."""

    endpoint_id: UUID
    kind: Kind = Field(description="`webhook`, or the kind of the channel")
    target: str | None = Field(
        description="Scheme and host of its URL; or how many recipients it has, and at which domains; or its "
        "kind",
        examples=["https://hooks.example.com"],
    )
    description: str | None
    state: EndpointTrouble = Field(
        description="`failing`: its last attempt failed; `disabled`: nothing is sent to it any more"
    )
    failing_since: datetime | None = Field(description="Time of the first failure since the last success")
    last_reason: str | None = Field(description="Of the last failure", examples=["http_error"])
    last_status: int | None = Field(description="Of the last failure", examples=[503])
    pending: int = Field(description="Deliveries that wait for it; at most 10,000 are counted", examples=[12])


class FailingEndpoints(BaseModel):
    """Webhooks and channels that get nothing through."""

    total: int = Field(description="How many webhooks and channels there are", examples=[3])
    failing: int = Field(examples=[1])
    disabled: int = Field(
        description="By Vigie, as they failed; without those that a person disabled", examples=[0]
    )
    pending: int = Field(description="Deliveries that wait for the listed ones", examples=[12])
    listed: list[FailingEndpoint] = Field(
        description=f"At most {LISTED_ENDPOINTS}, the longest failing first"
    )


class OverviewOut(BaseModel):
    """What is wrong now, as far as the caller may see it."""

    at: datetime = Field(description="When this was read")
    firing: FiringCounts
    sites: list[SiteSituation] = Field(
        description=f"Those with a firing alert or an inactive box: at most {LISTED_SITES}, the gravest first"
    )
    sites_total: int = Field(description="How many sites there are where something is wrong", examples=[1])
    silent_boxes: SilentBoxes | None = Field(description="Null for a caller without `sites:read`")
    refused_boxes: RefusedBoxes | None = Field(description="Null for a caller without `sites:read`")
    endpoints: FailingEndpoints | None = Field(
        description="Null for a caller without `webhooks:read`, or one who is limited to some sites"
    )
    newest: list[AlertOut] = Field(description=f"The newest alerts that fire, at most {LISTED_ALERTS}")
