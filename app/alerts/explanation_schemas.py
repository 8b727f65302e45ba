"""The shape of why an alert fires on the wire. Shapes only."""

from datetime import datetime
from typing import Final
from uuid import UUID

from pydantic import BaseModel, Field

from app.alerts.schemas import AlertOut, TimelineOut
from app.notifications.api.delivery_schemas import DeliveryOut

LISTED_POINTS: Final = 1000
LISTED_ENTRIES: Final = 200
LISTED_DELIVERIES: Final = 100
"""How much of each an explanation has."""


class RuleExplained(BaseModel):
    """The rule as it was when the alert fired."""

    id: UUID
    name: str = Field(description="The rule's name then", examples=["Fine particles"])
    version: int = Field(examples=[1])
    sentence: str = Field(
        description="When it fires",
        examples=["Warning when PM2.5 is above 25 µg/m³ for 10 minutes, until at or below 20 µg/m³."],
    )
    sentence_fr: str = Field(
        description="The same in French",
        examples=["Avertissement : PM2,5 au-dessus de 25 µg/m³ pendant 10 minutes."],
    )


class PointAround(BaseModel):
    """A measurement."""

    time: datetime
    value: float = Field(examples=[31.2])


class SamplesAround(BaseModel):
    """Measurements from before the condition began to hold until now, or until the alert's end."""

    box: str = Field(
        description="The alert's; of a site as a whole the first one that raised it", examples=["box-0001"]
    )
    metric: str = Field(examples=["pm2_5"])
    unit: str = Field(examples=["µg/m³"])
    from_: datetime = Field(alias="from", description="Included")
    to: datetime = Field(description="Excluded")
    points: list[PointAround] = Field(description=f"Ascending, the first {LISTED_POINTS}")
    truncated: bool = Field(
        description="There are more: read on with `GET /v1/boxes/{box}/readings`", examples=[False]
    )


class ExplanationOut(BaseModel):
    """Why an alert fires, or fired: what its rule asks, what was measured, what happened, who was told."""

    alert: AlertOut
    rule: RuleExplained
    samples: SamplesAround | None = Field(
        description="Null where the deciding part has no metric, where the box is gone, and for a caller "
        "without `telemetry:read`"
    )
    timeline: list[TimelineOut] = Field(
        description=f"The oldest first, at most {LISTED_ENTRIES}: all of it is the alert's `timeline`"
    )
    deliveries: list[DeliveryOut] | None = Field(
        description=f"What was sent of it, also in groups, the newest first: at most {LISTED_DELIVERIES}. "
        "Null for a caller without `webhooks:read`, or one who is limited to some sites"
    )
