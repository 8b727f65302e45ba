"""The shapes of readings and events on the wire."""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from app.timeseries.quality.quality_flags import Flag
from app.timeseries.quality.schemas import CorrectionUsed


class Latest(BaseModel):
    """The newest value of each metric of a box."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "box": "box-0001",
                    "time": "2026-11-24T10:00:00Z",
                    "values": {"pm2_5": 12.4, "laeq": 58.3},
                    "times": {"pm2_5": "2026-11-24T10:00:00Z", "laeq": "2026-11-24T09:59:00Z"},
                }
            ]
        }
    )

    box: str
    time: datetime | None = Field(description="The newest of the times; null before the first sample")
    values: dict[str, float] = Field(description="By metric")
    times: dict[str, datetime] = Field(description="By metric: when its value was measured")


class Reading(BaseModel):
    """One value of one metric; what follows `value` is there where it was asked for."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"time": "2026-11-24T10:00:00Z", "value": 31.2, "flags": ["spike"], "corrected": 24.184}
            ]
        }
    )

    time: datetime
    value: float = Field(description="As it was measured")
    flags: list[Flag] | None = Field(
        None, description="What is odd about it; empty: nothing", examples=[["spike"]]
    )
    corrected: float | None = Field(
        None, description="What the box's corrections make of it; the value itself where none was in force"
    )
    uncorrected: Literal["no_humidity"] | None = Field(
        None, description="Why `corrected` is null: no humidity of the box is known within 10 minutes"
    )


class BucketedReading(BaseModel):
    """What was measured in one bucket of time: what `aggregates` names, or the first five.

    All but `count` and `coverage` are null where `fill` made the bucket and there is nothing to say.
    """

    time: datetime = Field(description="When the bucket begins")
    avg: float | None = Field(None, description="Mean of the values; of decibels, the mean of the energy")
    min: float | None = Field(None, description="The lowest value")
    max: float | None = Field(None, description="The highest value")
    count: int | None = Field(None, description="How many values there are")
    coverage: float | None = Field(
        None, description="Percent of the values that the box's interval lets expect"
    )
    p10: float | None = Field(None, description="A tenth of the values are lower")
    p50: float | None = Field(None, description="The median")
    p90: float | None = Field(None, description="A tenth of the values are higher")
    p95: float | None = Field(None, description="A twentieth of the values are higher")
    l10: float | None = Field(None, description="Sound level exceeded by a tenth of the values (dB)")
    l50: float | None = Field(None, description="Sound level exceeded by half of the values (dB)")
    l90: float | None = Field(None, description="Sound level exceeded by nine tenths of the values (dB)")


class _QualityMetadata(BaseModel):
    """What an answer says of what was done to its values, where something was asked."""

    flags_version: int | None = Field(
        None, description="Of the rules that flags go by: counted up when they change", examples=[1]
    )
    corrected: Literal[True] | None = Field(None, description="Corrections were asked for")
    corrections: list[CorrectionUsed] | None = Field(
        None, description="Those that were in force for one of its values at least"
    )


class Readings(_QualityMetadata):
    """A page of a series, ascending in time."""

    box: str
    metric: str
    unit: str
    points: list[Reading]
    next: str | None = Field(description="Give this as `cursor` for the next page; null on the last one")


class BucketedReadings(_QualityMetadata):
    """A page of a series in buckets, ascending in time. Buckets without a value are left out."""

    box: str
    metric: str
    unit: str
    bucket: str = Field(examples=["15m"])
    timezone: str = Field(description="Whose midnights the buckets keep to", examples=["UTC"])
    exclude: list[Flag] | None = Field(
        None, description="Samples with one of these flags are left out", examples=[["spike", "flat_line"]]
    )
    points: list[BucketedReading]
    next: str | None = Field(description="Give this as `cursor` for the next page; null on the last one")


class EventOut(BaseModel):
    """Something that a box itself recognised."""

    id: UUID
    box: str
    site_id: UUID
    time: datetime
    type: str = Field(examples=["gunshot"])
    seq: int | None
    candidates: list[dict[str, Any]]
    level_db: float | None
    clock_error_ms: float | None
    spectrum: dict[str, float] | None = Field(
        description="Sound levels in dB by octave band: its nominal mid-frequency in Hz",
        examples=[{"500": 96.4, "1000": 101.2}],
    )
    count: int | None = Field(description="How many, of what is counted")
    state: Literal["begin", "end"] | None = Field(description="Whether it begins or ends, of what lasts")
    received_at: datetime
