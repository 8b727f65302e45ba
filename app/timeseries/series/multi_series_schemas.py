"""Defines the JSON of several series in one response, and of comparisons of two periods."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from app.timeseries.series.schemas import BucketedReading, Reading


class OneSeries(BaseModel):
    """A series of one box and one metric, or the part of it on this page."""

    box: str
    metric: str
    unit: str
    bucket: str | None = Field(None, description="Bucket width; omitted for raw values")
    timezone: str | None = Field(None, description="Time zone of the buckets; omitted for raw values")
    points: list[BucketedReading | Reading] = Field(description="Ascending in time")


class SeriesPage(BaseModel):
    """A page of several series."""

    data: list[OneSeries]
    next: str | None = Field(description="Pass this as `cursor` for the next page; null on the last page")


class PeriodOut(BaseModel):
    """The aggregates of a period."""

    from_: datetime = Field(alias="from", description="Inclusive")
    to: datetime = Field(description="Exclusive")
    avg: float | None = Field(description="Mean of the values; for decibels the mean of the energy")
    min: float | None = Field(description="The lowest value")
    max: float | None = Field(description="The highest value")
    count: int = Field(description="Number of values")
    coverage: float = Field(
        description="Number of values in percent of those expected from the box's interval"
    )


class ChangeOut(BaseModel):
    """The change of the mean since the earlier period."""

    absolute: float = Field(description="In the metric's unit")
    percent: float | None = Field(
        description="In percent of the earlier mean; null for levels and for metrics without a natural zero"
    )


class ComparisonOut(BaseModel):
    """A box and a metric in two periods."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "box": "box-0001",
                    "metric": "pm2_5",
                    "unit": "µg/m³",
                    "period": {
                        "from": "2026-11-17T00:00:00Z",
                        "to": "2026-11-24T00:00:00Z",
                        "avg": 14.2,
                        "min": 3.1,
                        "max": 61.5,
                        "count": 9874,
                        "coverage": 97.96,
                    },
                    "reference": {
                        "from": "2026-11-10T00:00:00Z",
                        "to": "2026-11-17T00:00:00Z",
                        "avg": 11.8,
                        "min": 2.2,
                        "max": 40.7,
                        "count": 10022,
                        "coverage": 99.42,
                    },
                    "change": {"absolute": 2.4, "percent": 20.34},
                }
            ]
        }
    )

    box: str
    metric: str
    unit: str
    period: PeriodOut
    reference: PeriodOut = Field(description="The earlier period")
    change: ChangeOut | None = Field(description="Null if one of the periods has no value")


class ComparisonsOut(BaseModel):
    """Boxes ordered by id, metrics as in the request."""

    data: list[ComparisonOut]
