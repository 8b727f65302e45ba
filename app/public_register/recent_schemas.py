"""Defines and builds the JSON of a site's published measurements of the last 24 hours."""

from datetime import datetime
from typing import Final
from uuid import UUID

from pydantic import BaseModel, Field
from pydantic.config import JsonDict

from app.catalogue.metric_display_names import get_metric_title
from app.catalogue.metrics import METRICS_BY_NAME
from app.public_register.register_model import (
    IndexValue,
    PublishedSite,
    RecentMeasurements,
    RecentMetric,
    SiteMean,
)
from app.public_register.register_schemas import PublicText

_METRIC: Final[JsonDict] = {
    "metric": "pm2_5",
    "title": {"en": "Particles up to 2.5 µm", "fr": "Particules jusqu'à 2,5 µm"},
    "unit": "µg/m³",
    "newest": {"time": "2026-11-27T12:14:30Z", "mean": 7.9, "values": 3},
    "coverage": 99.1,
    "left_out": 0,
    "indices": [],
    "values": [{"time": "2026-11-27T12:00:00Z", "mean": 7.8, "values": 45}],
}


class PublicBand(BaseModel):
    """A class of an index."""

    key: str = Field(description="The stable name of the class.", examples=["fair"])
    label: PublicText
    colour: str | None = Field(
        description="`#RRGGBB`. Null: the source defines no colour.", examples=["#50CCAA"]
    )


class PublicIndex(BaseModel):
    """An index for the last complete hour."""

    method: str = Field(description="The name of the index (`GET /v1/indices`).", examples=["eaqi"])
    title: PublicText
    start: datetime = Field(description="Start of the hour.")
    end: datetime = Field(description="End of the hour.")
    value: float | None = Field(description="The value. Null: see `reason`.", examples=[2.0])
    unit: str = Field(description="Unit of the value.", examples=["1"])
    band: PublicBand | None = Field(description="The class of the value. Null: the index has no classes.")
    coverage: float = Field(description="Share of the hour that was measured (percent).", examples=[98.3])
    reason: str | None = Field(description="The reason for a missing value.", examples=["coverage_too_low"])
    notes: list[PublicText] = Field(description="Notes on the interpretation.")


class PublicValue(BaseModel):
    """A mean over the site's boxes."""

    time: datetime = Field(description="Measurement time of the newest value, or start of the 15 minutes.")
    mean: float = Field(
        description="The mean in the metric's unit. Sound levels are averaged by energy.", examples=[21.4]
    )
    values: int = Field(
        description="Number of averaged values; for the newest value, number of boxes.", examples=[45]
    )


class PublicRecentMetric(BaseModel):
    """The newest value of a metric, and its last 24 hours."""

    metric: str = Field(description="The name of the metric (`GET /v1/metrics`).", examples=["pm2_5"])
    title: PublicText
    unit: str = Field(description="Unit of the values.", examples=["µg/m³"])
    newest: PublicValue | None = Field(
        description="The newest value. Null: all values of the 24 hours have flags."
    )
    coverage: float = Field(
        description="Share of the 24 hours that was measured, over the boxes with this metric (percent).",
        examples=[99.1],
    )
    left_out: int = Field(
        description="Number of values that were left out because of their flags.", examples=[0]
    )
    indices: list[PublicIndex] = Field(description="Indices of the worst box for the last complete hour.")
    values: list[PublicValue] = Field(description="Means of 15 minutes, in ascending order of time.")


class PublicRecent(BaseModel):
    """The published measurements of a site of the last 24 hours."""

    site_id: UUID = Field(description="The id of the site.")
    read_at: datetime = Field(description="The time of the data.")
    licence: str | None = Field(
        description="The licence of these data (SPDX identifier). Null: the operator named none.",
        examples=["etalab-2.0"],
    )
    indices: list[PublicIndex] = Field(description="Indices that combine several metrics, of the worst box.")
    metrics: list[PublicRecentMetric] = Field(
        description="The published metrics with measurements.", examples=[[_METRIC]]
    )


def build_recent_document(site: PublishedSite, recent: RecentMeasurements) -> PublicRecent:
    """Build the JSON of a site's newest open data."""
    return PublicRecent(
        site_id=site.id,
        read_at=recent.at,
        licence=site.licence,
        indices=[_index(each) for each in recent.indices],
        metrics=[_metric(each) for each in recent.metrics],
    )


def _metric(each: RecentMetric) -> PublicRecentMetric:
    return PublicRecentMetric(
        metric=each.metric,
        title=PublicText(
            en=get_metric_title(each.metric, "en"),
            fr=get_metric_title(each.metric, "fr"),
        ),
        unit=METRICS_BY_NAME[each.metric].unit,
        newest=None if each.newest is None else _value(each.newest),
        coverage=each.coverage,
        left_out=each.left_out,
        indices=[_index(index) for index in each.indices],
        values=[_value(value) for value in each.values],
    )


def _value(value: SiteMean) -> PublicValue:
    return PublicValue(time=value.time, mean=value.mean, values=value.count)


def _index(each: IndexValue) -> PublicIndex:
    band = each.band
    return PublicIndex(
        method=each.method,
        title=PublicText(en=each.title.en, fr=each.title.fr),
        start=each.start,
        end=each.end,
        value=each.value,
        unit=each.unit,
        band=None
        if band is None
        else PublicBand(
            key=band.key, label=PublicText(en=band.label.en, fr=band.label.fr), colour=band.colour
        ),
        coverage=each.coverage,
        reason=each.reason,
        notes=[PublicText(en=note.en, fr=note.fr) for note in each.notes],
    )
