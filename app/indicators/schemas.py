"""The shapes of indices and their history on the wire."""

from datetime import datetime
from typing import Final

from pydantic import BaseModel, Field

from app.indicators import index_results
from app.indicators.index_definitions import IndexDefinition, PlaceSetting
from app.indicators.index_results import (
    BilingualText,
    CitationStatus,
    IndexResult,
    MethodPeriod,
    NoValueReason,
)
from app.indicators.period_selection import PeriodLength
from app.indicators.service import ComputedIndex
from app.platform.kernel.instants import to_datetime

_DIGITS: Final = 7


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.{_DIGITS}g}")


class NoteOut(BaseModel):
    """What a reader of a value has to know."""

    en: str = Field(description="In English")
    fr: str = Field(description="In French")


class BandOut(BaseModel):
    """A class of an index."""

    key: str = Field(description="Stable", examples=["fair"])
    label: str = Field(description="For people", examples=["Fair"])
    label_fr: str = Field(description="The same in French", examples=["Correct"])
    colour: str | None = Field(description="`#RRGGBB`, where the source gives one", examples=["#50CCAA"])

    @classmethod
    def of(cls, band: index_results.IndexBand | None) -> "BandOut | None":
        """The shape of a band."""
        if band is None:
            return None
        return cls(key=band.key, label=band.label.en, label_fr=band.label.fr, colour=band.colour)


class IndexPeriodOut(BaseModel):
    """What a value is of."""

    start: datetime = Field(description="Included")
    end: datetime = Field(description="Excluded")


class MethodCitationOut(BaseModel):
    """Where a method's numbers are from."""

    text: str = Field(
        description="The document that sets them",
        examples=["WHO global air quality guidelines (2021), table 0.1"],
    )
    url: str | None = Field(
        description="Where to read it", examples=["https://www.ncbi.nlm.nih.gov/books/NBK574591/"]
    )
    status: CitationStatus = Field(
        description="`unverified`: some number could not be confirmed; check it before you rely on it"
    )


class ComponentOut(BaseModel):
    """A part of a value: a pollutant, a part of the day, a share."""

    key: str = Field(description="Stable; the metric, or what part it is", examples=["pm2_5"])
    value: float | None = Field(description="Null where `reason` says why", examples=[18.2])
    unit: str = Field(description="Of the value", examples=["µg/m³"])
    coverage: float = Field(description="Percent that was measured", examples=[95.83])
    band: BandOut | None = Field(description="Its class, where there are some")
    level: int | None = Field(description="The class as a number, from 1 (best)")
    reason: NoValueReason | None = Field(description="Why there is no value")


class IndexValueOut(BaseModel):
    """A method's value of a box and a period."""

    box: str = Field(description="The box", examples=["box-0001"])
    metric: str | None = Field(description="Where the method is of one metric at a time", examples=["pm2_5"])
    period: IndexPeriodOut = Field(description="What it is of")
    value: float | None = Field(
        description="Null where `reason` says why; seven significant digits", examples=[18.2]
    )
    unit: str = Field(description="Of the value", examples=["µg/m³"])
    coverage: float = Field(
        description="Percent that was measured, of the least covered part", examples=[95.83]
    )
    band: BandOut | None = Field(description="Its class, where there are some")
    limit: float | None = Field(description="What the value is compared with", examples=[15.0])
    ratio: float | None = Field(description="Value by limit", examples=[1.213333])
    exceeded: bool | None = Field(description="Whether the value lies above the limit", examples=[True])
    components: list[ComponentOut] = Field(description="The parts it was made of")
    reason: NoValueReason | None = Field(description="Why there is no value")
    notes: list[NoteOut] = Field(description="What a reader has to know")


class IndexOut(IndexValueOut):
    """The same, with what the method is."""

    method: str = Field(description="The method", examples=["who-24h"])
    version: int = Field(
        description="Counts up with each change of the method's numbers or formula", examples=[1]
    )
    title: str = Field(description="What it is called", examples=["WHO guideline, 24 hours"])
    title_fr: str = Field(description="The same in French", examples=["Ligne directrice OMS, 24 heures"])
    citation: MethodCitationOut = Field(description="Where its numbers are from")


class WorstOut(BaseModel):
    """The box with a method's worst value: what is said of the site as a whole."""

    method: str = Field(description="The method", examples=["who-24h"])
    metric: str | None = Field(description="Where the method is of one metric at a time", examples=["pm2_5"])
    box: str = Field(description="The box", examples=["box-0001"])
    value: float = Field(description="The highest one; of light the lowest", examples=[18.2])
    unit: str = Field(description="Of the value", examples=["µg/m³"])
    band: BandOut | None = Field(description="Its class, where there are some")


class IndicesOut(BaseModel):
    """What a site's boxes come to, and the worst of it."""

    site_id: str = Field(description="The site", examples=["0193e8a0-0000-7000-8000-000000000000"])
    at: datetime = Field(description="The periods are the last ones that were over then")
    timezone: str = Field(description="Whose days they are", examples=["Europe/Paris"])
    country: str = Field(
        description="Whose parts of the day noise goes by; `EU`: those of the directive", examples=["FR"]
    )
    worst: list[WorstOut] = Field(description="Of each method (and metric) the box with the worst value")
    data: list[IndexOut] = Field(description="By box, then by method")


class BasedCitationOut(MethodCitationOut):
    """The same, with where the numbers were read."""

    basis: str = Field(description="Where the numbers were read, and which could not be confirmed")


class MethodOut(BaseModel):
    """A way of computing one figure."""

    name: str = Field(description="Stable", examples=["who-24h"])
    version: int = Field(description="Counts up with each change of its numbers or formula", examples=[1])
    title: str = Field(description="What it is called", examples=["WHO guideline, 24 hours"])
    title_fr: str = Field(description="The same in French", examples=["Ligne directrice OMS, 24 heures"])
    period: MethodPeriod = Field(description="What a value is of by its source; `any`: the caller says")
    periods: list[PeriodLength] = Field(
        description="What `period` can be, the first one by default; `weeks` are four"
    )
    metrics: list[str] = Field(description="What it reads", examples=[["pm2_5", "pm10"]])
    unit: str = Field(description="Of the value", examples=["µg/m³"])
    coverage: str = Field(description="How much has to be measured")
    where: PlaceSetting = Field(description="For which places it is meant")
    unasked: bool = Field(description="Whether it is computed there without being asked for by name")
    citation: BasedCitationOut = Field(description="Where its numbers are from")
    notes: list[NoteOut] = Field(description="What a reader has to know")

    @classmethod
    def of(cls, figure: IndexDefinition) -> "MethodOut":
        """The shape of a method."""
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
            coverage=method.coverage,
            where=figure.where,
            unasked=figure.unasked,
            citation=BasedCitationOut(**_cited(method), basis=method.citation.basis),
            notes=_notes(method.notes),
        )


class IndexHistoryOut(BaseModel):
    """A page of a method's values, by time, then by box."""

    site_id: str = Field(description="The site", examples=["0193e8a0-0000-7000-8000-000000000000"])
    timezone: str = Field(description="Whose days they are", examples=["Europe/Paris"])
    country: str = Field(description="Whose parts of the day noise goes by", examples=["FR"])
    method: MethodOut = Field(description="The method")
    data: list[IndexValueOut] = Field(description="By time, then by box")
    next: str | None = Field(description="Give this as `cursor` for the next page; null on the last one")


def to_index_value_out(found: ComputedIndex) -> IndexValueOut:
    """A value as it is shown."""
    return IndexValueOut(**_value(found))


def to_index_out(found: ComputedIndex) -> IndexOut:
    """A value with its method, as they are shown."""
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
    """The worst box's value, as it is shown."""
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
