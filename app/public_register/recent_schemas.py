"""The last day of a site's open data as JSON: the shapes on the wire. Shapes only."""

from datetime import datetime
from typing import Final
from uuid import UUID

from pydantic import BaseModel, Field
from pydantic.config import JsonDict

from app.catalogue.metrics import METRICS_BY_NAME
from app.public_register.register_formats import RegisterFormatter
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

    key: str = Field(description="Its stable name", examples=["fair"])
    label: PublicText
    colour: str | None = Field(description="`#RRGGBB`, where the source gives one", examples=["#50CCAA"])


class PublicIndex(BaseModel):
    """What an index gives for the last hour that is over."""

    method: str = Field(description="Its name (`GET /v1/indices`)", examples=["eaqi"])
    title: PublicText
    start: datetime = Field(description="When the hour begins")
    end: datetime = Field(description="When the hour ends")
    value: float | None = Field(description="Null where `reason` says why", examples=[2.0])
    unit: str = Field(description="Of the value", examples=["1"])
    band: PublicBand | None = Field(description="Its class; null: it has none")
    coverage: float = Field(description="How much of the hour was measured (percent)", examples=[98.3])
    reason: str | None = Field(description="Why there is no value", examples=["coverage_too_low"])
    notes: list[PublicText] = Field(description="What a reader has to know")


class PublicValue(BaseModel):
    """A mean over the site's boxes."""

    time: datetime = Field(description="When it was measured, or when the quarter of an hour begins")
    mean: float = Field(description="In the metric's unit; sound levels by energy", examples=[21.4])
    values: int = Field(description="Of how many values; of the newest one: of how many boxes", examples=[45])


class PublicRecentMetric(BaseModel):
    """The newest value of a metric, and its last 24 hours."""

    metric: str = Field(description="Which (`GET /v1/metrics`)", examples=["pm2_5"])
    title: PublicText
    unit: str = Field(description="Of its values", examples=["µg/m³"])
    newest: PublicValue | None = Field(description="Null: all values of the day have flags")
    coverage: float = Field(
        description="How much of the 24 hours was measured, by the boxes that measure it (percent)",
        examples=[99.1],
    )
    left_out: int = Field(description="How many values were left out for their flags", examples=[0])
    indices: list[PublicIndex] = Field(description="Of the last hour that is over, of the worst box")
    values: list[PublicValue] = Field(description="Means of quarters of an hour, ascending")


class PublicRecent(BaseModel):
    """What was measured of open metrics within 24 hours."""

    site_id: UUID = Field(description="The site's id")
    read_at: datetime = Field(description="When it was read")
    licence: str | None = Field(
        description="The licence of these data, an SPDX identifier; null: none is named",
        examples=["etalab-2.0"],
    )
    indices: list[PublicIndex] = Field(description="Of several metrics each; of several boxes the worst")
    metrics: list[PublicRecentMetric] = Field(
        description="Those that are published and were measured", examples=[[_METRIC]]
    )


def build_recent_document(site: PublishedSite, recent: RecentMeasurements) -> PublicRecent:
    """Give the last day of a site as JSON has it."""
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
            en=RegisterFormatter("en").formats.words(each.metric),
            fr=RegisterFormatter("fr").formats.words(each.metric),
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
