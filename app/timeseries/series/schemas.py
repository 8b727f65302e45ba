"""Defines the JSON of latest values, of readings, and of the events that boxes recognised."""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from app.timeseries.quality.correction_schemas import CorrectionUsed
from app.timeseries.quality.sample_flagging import Flag


class Latest(BaseModel):
    """The latest value of each metric of a box."""

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
    time: datetime | None = Field(description="Time of the newest value; null before the first sample")
    values: dict[str, float] = Field(description="Latest value, by metric")
    times: dict[str, datetime] = Field(description="Measurement time, by metric")


class Reading(BaseModel):
    """A value of one metric. The other fields are present if they were requested."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"time": "2026-11-24T10:00:00Z", "value": 31.2, "flags": ["spike"], "corrected": 24.184}
            ]
        }
    )

    time: datetime
    value: float = Field(description="The measured value")
    flags: list[Flag] | None = Field(
        None, description="Quality flags; empty if there are none", examples=[["spike"]]
    )
    corrected: float | None = Field(
        None, description="The corrected value; the value itself if no correction was in force"
    )
    uncorrected: Literal["no_humidity"] | None = Field(
        None, description="Why `corrected` is null: the box has no humidity value within 10 minutes"
    )


class BucketedReading(BaseModel):
    """The aggregates of one bucket: those named in `aggregates`, or the first five.

    All but `count` and `coverage` may be null in buckets that `fill` added.
    """

    time: datetime = Field(description="Start of the bucket")
    avg: float | None = Field(None, description="Mean of the values; for decibels the mean of the energy")
    min: float | None = Field(None, description="The lowest value")
    max: float | None = Field(None, description="The highest value")
    count: int | None = Field(None, description="Number of values")
    coverage: float | None = Field(
        None, description="Number of values in percent of those expected from the box's interval"
    )
    p10: float | None = Field(None, description="10th percentile")
    p50: float | None = Field(None, description="Median")
    p90: float | None = Field(None, description="90th percentile")
    p95: float | None = Field(None, description="95th percentile")
    l10: float | None = Field(None, description="Sound level exceeded by a tenth of the values (dB)")
    l50: float | None = Field(None, description="Sound level exceeded by half of the values (dB)")
    l90: float | None = Field(None, description="Sound level exceeded by nine tenths of the values (dB)")


class _QualityMetadata(BaseModel):
    """The flags and corrections applied to the values, if requested."""

    flags_version: int | None = Field(
        None, description="Version of the flag definitions; each change increments it", examples=[1]
    )
    corrected: Literal[True] | None = Field(None, description="Present if corrections were requested")
    corrections: list[CorrectionUsed] | None = Field(
        None, description="Corrections that were in force for at least one of the values"
    )


class Readings(_QualityMetadata):
    """A page of raw values, ascending in time."""

    box: str
    metric: str
    unit: str
    points: list[Reading]
    next: str | None = Field(description="Pass this as `cursor` for the next page; null on the last page")


class BucketedReadings(_QualityMetadata):
    """A page of buckets, ascending in time. Buckets without a value are left out, unless `fill` is given."""

    box: str
    metric: str
    unit: str
    bucket: str = Field(examples=["15m"])
    timezone: str = Field(description="Time zone of the buckets", examples=["UTC"])
    exclude: list[Flag] | None = Field(
        None, description="Samples with one of these flags are left out", examples=[["spike", "flat_line"]]
    )
    points: list[BucketedReading]
    next: str | None = Field(description="Pass this as `cursor` for the next page; null on the last page")


class EventOut(BaseModel):
    """An event that a box recognised."""

    id: UUID
    box: str
    site_id: UUID
    time: datetime
    type: str = Field(examples=["gunshot"], description="What the box recognised")
    seq: int | None
    candidates: list[dict[str, Any]]
    level_db: float | None
    clock_error_ms: float | None
    spectrum: dict[str, float] | None = Field(
        description="Sound levels in dB, by octave band (nominal mid-frequency in Hz)",
        examples=[{"500": 96.4, "1000": 101.2}],
    )
    count: int | None = Field(description="The count, for event types that count")
    state: Literal["begin", "end"] | None = Field(description="Begin or end, for event types that last")
    received_at: datetime
