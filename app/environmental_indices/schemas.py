"""Defines the JSON of index methods, index values and their history."""

from datetime import datetime
from typing import Final

from pydantic import BaseModel, Field

from app.environmental_indices import index_results
from app.environmental_indices.index_definitions import BANDS_BY_METHOD, IndexDefinition, PlaceSetting
from app.environmental_indices.index_results import (
    CitationStatus,
    IndexResult,
    MethodPeriod,
    NoValueReason,
)
from app.environmental_indices.period_selection import PeriodLength
from app.environmental_indices.service import ComputedIndex
from app.platform.kernel.instants import to_datetime
from app.presentation.translation import BilingualText

_DIGITS: Final = 7


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.{_DIGITS}g}")


class NoteOut(BaseModel):
    """A note that every reader of a value must know."""

    en: str = Field(description="In English")
    fr: str = Field(description="In French")


class BandOut(BaseModel):
    """A class of an index."""

    key: str = Field(description="Stable name of the class", examples=["fair"])
    label: str = Field(description="Name for people, in English", examples=["Fair"])
    label_fr: str = Field(description="Name for people, in French", examples=["Correct"])
    colour: str | None = Field(description="`#RRGGBB`; null if the source defines none", examples=["#50CCAA"])

    @classmethod
    def of(cls, band: index_results.IndexBand | None) -> "BandOut | None":
        """Make the JSON of a band."""
        if band is None:
            return None
        return cls(key=band.key, label=band.label.en, label_fr=band.label.fr, colour=band.colour)


class IndexPeriodOut(BaseModel):
    """The period that a value covers."""

    start: datetime = Field(description="Included")
    end: datetime = Field(description="Excluded")


class MethodCitationOut(BaseModel):
    """The source of a method's numbers."""

    text: str = Field(
        description="The document that defines them",
        examples=["WHO global air quality guidelines (2021), table 0.1"],
    )
    url: str | None = Field(
        description="Address of the document", examples=["https://www.ncbi.nlm.nih.gov/books/NBK574591/"]
    )
    status: CitationStatus = Field(
        description="`unverified`: some numbers could not be confirmed. Check them before you rely on them"
    )


class ComponentOut(BaseModel):
    """A part of a value: a pollutant, a part of the day, a share."""

    key: str = Field(description="Stable name of the part, or the metric", examples=["pm2_5"])
    value: float | None = Field(description="The value; null with a `reason`", examples=[18.2])
    unit: str = Field(description="Unit of the value", examples=["µg/m³"])
    coverage: float = Field(description="Share of the period that was measured, percent", examples=[95.83])
    band: BandOut | None = Field(description="Class of the value; null if the method has no classes")
    level: int | None = Field(description="The class as a number, from 1 (best)")
    reason: NoValueReason | None = Field(description="Why there is no value")


class IndexValueOut(BaseModel):
    """The value of a method for a box and a period."""

    box: str = Field(description="The box", examples=["box-0001"])
    metric: str | None = Field(
        description="The metric, if the method has one value for each metric", examples=["pm2_5"]
    )
    period: IndexPeriodOut = Field(description="The period that the value covers")
    value: float | None = Field(
        description="The value, with seven significant digits; null with a `reason`", examples=[18.2]
    )
    unit: str = Field(description="Unit of the value", examples=["µg/m³"])
    coverage: float = Field(
        description="Share that was measured, of the least covered part, percent", examples=[95.83]
    )
    band: BandOut | None = Field(description="Class of the value; null if the method has no classes")
    limit: float | None = Field(description="The limit that the value is compared with", examples=[15.0])
    ratio: float | None = Field(description="Value divided by limit", examples=[1.213333])
    exceeded: bool | None = Field(description="Whether the value is above the limit", examples=[True])
    components: list[ComponentOut] = Field(description="The parts of the value")
    reason: NoValueReason | None = Field(description="Why there is no value")
    notes: list[NoteOut] = Field(description="What every reader of the value must know")


class IndexOut(IndexValueOut):
    """The value of a method for a box and a period, with the method's description."""

    method: str = Field(description="The method", examples=["who-24h"])
    version: int = Field(
        description="Version of the method; it increases with each change of numbers or formula",
        examples=[1],
    )
    title: str = Field(description="Title of the method", examples=["WHO guideline, 24 hours"])
    title_fr: str = Field(
        description="Title of the method, in French", examples=["Ligne directrice OMS, 24 heures"]
    )
    citation: MethodCitationOut = Field(description="The source of its numbers")


class WorstOut(BaseModel):
    """The box with the worst value of a method, which represents the site."""

    method: str = Field(description="The method", examples=["who-24h"])
    metric: str | None = Field(
        description="The metric, if the method has one value for each metric", examples=["pm2_5"]
    )
    box: str = Field(description="The box", examples=["box-0001"])
    value: float = Field(description="The highest value; for light the lowest one", examples=[18.2])
    unit: str = Field(description="Unit of the value", examples=["µg/m³"])
    band: BandOut | None = Field(description="Class of the value; null if the method has no classes")


class IndicesOut(BaseModel):
    """The indices of a site's boxes, and the worst box of each method."""

    site_id: str = Field(description="The site", examples=["0193e8a0-0000-7000-8000-000000000000"])
    at: datetime = Field(description="The periods are the last ones that ended by this time")
    timezone: str = Field(description="The time zone of local days", examples=["Europe/Paris"])
    country: str = Field(
        description="The country that defines the parts of the day, for noise. `EU`: those of the directive",
        examples=["FR"],
    )
    worst: list[WorstOut] = Field(description="The box with the worst value of each method and metric")
    data: list[IndexOut] = Field(description="The values, by box, then by method")


class BasedCitationOut(MethodCitationOut):
    """The source of a method's numbers, and how they were verified."""

    basis: str = Field(description="Where the numbers were read, and which could not be confirmed")


class MethodOut(BaseModel):
    """A method that computes an index."""

    name: str = Field(description="Stable name of the method", examples=["who-24h"])
    version: int = Field(description="Increases with each change of numbers or formula", examples=[1])
    title: str = Field(description="Title of the method", examples=["WHO guideline, 24 hours"])
    title_fr: str = Field(
        description="Title of the method, in French", examples=["Ligne directrice OMS, 24 heures"]
    )
    period: MethodPeriod = Field(description="The period that its source defines; `any`: you choose")
    periods: list[PeriodLength] = Field(
        description="Supported values of `period`; the first one is the default. `weeks`: four weeks"
    )
    metrics: list[str] = Field(description="The metrics that it reads", examples=[["pm2_5", "pm10"]])
    unit: str = Field(description="Unit of the value", examples=["µg/m³"])
    bands: list[BandOut] = Field(description="Its classes, the best first; empty if it has none")
    coverage: str = Field(description="The coverage rule: how much must be measured")
    where: PlaceSetting = Field(description="The kind of place that it applies to")
    unasked: bool = Field(description="Whether it is computed there by default, without `method`")
    citation: BasedCitationOut = Field(description="The source of its numbers")
    notes: list[NoteOut] = Field(description="What every reader of a value must know")

    @classmethod
    def of(cls, figure: IndexDefinition) -> "MethodOut":
        """Make the JSON of a method."""
        method = figure.method
        return cls(
            name=method.name,
            version=method.version,
            title=method.title.en,
            title_fr=method.title.fr,
            period=method.period,
            periods=list(figure.lengths),
            metrics=list(method.metrics),
            unit=method.unit,
            bands=[
                BandOut(key=band.key, label=band.label.en, label_fr=band.label.fr, colour=band.colour)
                for band in BANDS_BY_METHOD.get(method.name, ())
            ],
            coverage=method.coverage,
            where=figure.where,
            unasked=figure.is_default,
            citation=BasedCitationOut(**_cited(method), basis=method.citation.basis),
            notes=_notes(method.notes),
        )


class IndexHistoryOut(BaseModel):
    """A page of a method's history."""

    site_id: str = Field(description="The site", examples=["0193e8a0-0000-7000-8000-000000000000"])
    timezone: str = Field(description="The time zone of local days", examples=["Europe/Paris"])
    country: str = Field(
        description="The country that defines the parts of the day, for noise", examples=["FR"]
    )
    method: MethodOut = Field(description="The method")
    data: list[IndexValueOut] = Field(description="The values, by time, then by box")
    next: str | None = Field(description="Send this as `cursor` for the next page; null on the last one")


def to_index_value_out(found: ComputedIndex) -> IndexValueOut:
    """Make the JSON of a value."""
    return IndexValueOut(**_value(found))


def to_index_out(found: ComputedIndex) -> IndexOut:
    """Make the JSON of a value with its method."""
    method = found.row.figure.method
    return IndexOut(
        **_value(found),
        method=method.name,
        version=method.version,
        title=method.title.en,
        title_fr=method.title.fr,
        citation=MethodCitationOut(**_cited(method)),
    )


def to_worst_out(found: ComputedIndex) -> WorstOut:
    """Make the JSON of the worst box's value."""
    return WorstOut(
        method=found.result.method,
        metric=found.row.metric,
        box=found.row.station.id,
        value=_short(found.result.value),
        unit=found.result.unit,
        band=BandOut.of(found.result.band),
    )


def _value(found: ComputedIndex) -> dict[str, object]:
    result = found.result
    return {
        "box": found.row.station.id,
        "metric": found.row.metric,
        "period": IndexPeriodOut(start=to_datetime(result.start_us), end=to_datetime(result.end_us)),
        "value": _short(result.value),
        "unit": result.unit,
        "coverage": result.coverage,
        "band": BandOut.of(result.band),
        "limit": result.limit,
        "ratio": _short(result.ratio),
        "exceeded": result.exceeded,
        "components": _components(result),
        "reason": result.reason,
        "notes": _notes(result.notes),
    }


def _components(result: IndexResult) -> list[ComponentOut]:
    return [
        ComponentOut(
            key=part.key,
            value=_short(part.value),
            unit=part.unit,
            coverage=part.coverage,
            band=BandOut.of(part.band),
            level=part.level,
            reason=part.reason,
        )
        for part in result.components
    ]


def _cited(method: index_results.IndexMethod) -> dict[str, object]:
    citation = method.citation
    return {"text": citation.document, "url": citation.url, "status": citation.status}


def _notes(notes: tuple[BilingualText, ...]) -> list[NoteOut]:
    return [NoteOut(en=note.en, fr=note.fr) for note in notes]
