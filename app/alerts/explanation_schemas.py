"""Defines the JSON that explains an alert: its rule in words, measurements, timeline and deliveries."""

from datetime import datetime
from typing import Final
from uuid import UUID

from pydantic import BaseModel, Field

from app.alerts.schemas import AlertOut, TimelineOut
from app.notifications.api.delivery_schemas import DeliveryOut

LISTED_POINTS: Final = 1000
LISTED_ENTRIES: Final = 200
LISTED_DELIVERIES: Final = 100
"""The most measurements, timeline entries and deliveries in an explanation."""


class RuleExplained(BaseModel):
    """The rule as it was when the alert fired."""

    id: UUID
    name: str = Field(description="The rule's name then", examples=["Fine particles"])
    version: int = Field(examples=[1])
    sentence: str = Field(
        description="The rule's condition in words",
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
    """Measurements from before the condition began to hold until now, or until the resolution."""

    box: str = Field(
        description="The box of the alert; for a rule on a whole site, the first box that raised it",
        examples=["box-0001"],
    )
    metric: str = Field(examples=["pm2_5"])
    unit: str = Field(examples=["µg/m³"])
    from_: datetime = Field(alias="from", description="Start, included")
    to: datetime = Field(description="End, excluded")
    points: list[PointAround] = Field(description=f"The first {LISTED_POINTS} measurements, ascending")
    truncated: bool = Field(
        description="There are more measurements. Read them with `GET /v1/boxes/{box}/readings`",
        examples=[False],
    )


class ExplanationOut(BaseModel):
    """Why an alert fires, or fired: its rule in words, measurements, timeline and deliveries."""

    alert: AlertOut
    rule: RuleExplained
    samples: SamplesAround | None = Field(
        description="Null if the deciding part of the condition has no metric, if the box was deleted, and "
        "for a caller without `telemetry:read`"
    )
    timeline: list[TimelineOut] = Field(
        description=f"The oldest {LISTED_ENTRIES} entries; all are at `GET /v1/alerts/{{alert_id}}/timeline`"
    )
    deliveries: list[DeliveryOut] | None = Field(
        description=f"The newest {LISTED_DELIVERIES} deliveries of its events, also in groups. "
        "Null for a caller without `webhooks:read`, or a caller limited to some sites"
    )
