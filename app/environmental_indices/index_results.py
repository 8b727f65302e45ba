"""Defines the types of index methods, bands and results, and builds results. Pure.

Any change of a method's numbers or formula increments its version: results of two versions are not
comparable. Times are µs since the epoch, coverages percent (0 to 100).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Literal

from app.environmental_indices.period_selection import TimePeriod
from app.presentation.translation import BilingualText, translated

type CitationStatus = Literal["verified", "unverified"]
type MethodPeriod = Literal["hour", "day", "week", "weeks", "year", "any"]
type NoValueReason = Literal[
    "no_data", "metric_missing", "coverage_too_low", "period_too_short", "period_too_long", "period_mixed"
]


NO_VALUE_REASONS: Final[Mapping[NoValueReason, BilingualText]] = MappingProxyType(
    {
        "no_data": translated("No measurements"),
        "metric_missing": translated("The metric is not measured here"),
        "coverage_too_low": translated("Too little of the period was measured"),
        "period_too_short": translated("The period is shorter than the method needs"),
        "period_too_long": translated("The period is longer than the method allows"),
        "period_mixed": translated("The period lies partly in the day and partly in the night"),
    }
)
"""The reasons why a result has no value; the codes are stable."""


@dataclass(frozen=True, slots=True)
class IndexBand:
    """A class of an index.

    Attributes:
        key: its stable name.
        label: the name for people.
        colour: `#RRGGBB`, if the source defines one.
    """

    key: str
    label: BilingualText
    colour: str | None = None


@dataclass(frozen=True, slots=True)
class MethodCitation:
    """The source of a method's numbers.

    Attributes:
        document: the document that defines them.
        url: the address of the document.
        status: `verified`: read in the document, or alike in several texts that quote it; `unverified`: some
            number could not be confirmed; check it before you rely on it.
        basis: where the numbers were read, and which ones could not be confirmed.
    """

    document: str
    url: str | None
    status: CitationStatus
    basis: str

    @property
    def shown(self) -> str:
        """The document, with a mark if it is unverified."""
        return self.document if self.status == "verified" else f"{self.document} [unverified]"


@dataclass(frozen=True, slots=True)
class IndexMethod:
    """A published method that computes an index.

    Attributes:
        name: its stable name.
        version: increments with each change of numbers or formula.
        title: the name for people.
        citation: the source of the numbers.
        period: the period that a value covers.
        metrics: the metrics of the catalogue that it reads.
        unit: the unit of the value.
        coverage: the coverage rule: how much must be measured.
        notes: what every reader of a value must know.
    """

    name: str
    version: int
    title: BilingualText
    citation: MethodCitation
    period: MethodPeriod
    metrics: tuple[str, ...]
    unit: str
    coverage: str
    notes: tuple[BilingualText, ...] = ()


@dataclass(frozen=True, slots=True)
class ResultComponent:
    """A part of a result: a pollutant, a part of the day, a share.

    Attributes:
        key: the metric, or the name of the part.
        value: the value; None with a `reason`.
        unit: the unit of the value.
        coverage: the coverage of its input, percent.
        band: its class, if the method has classes.
        level: the class as a number from 1 (best), if the method has classes.
        reason: why there is no value.
    """

    key: str
    value: float | None
    unit: str
    coverage: float
    band: IndexBand | None = None
    level: int | None = None
    reason: NoValueReason | None = None


@dataclass(frozen=True, slots=True)
class IndexResult:
    """The result of a method for a period.

    Attributes:
        method: the name of the method.
        version: the version of the method.
        citation: the source of its numbers.
        start_us: the start of the period, included.
        end_us: the end of the period, excluded.
        value: the value; None with a `reason`.
        unit: the unit of the value and the limit.
        coverage: the coverage of the input, percent: that of the least covered part.
        band: the class of the value, if the method has classes.
        limit: the limit that the value is compared with, if there is one.
        ratio: value divided by limit, for concentrations and light.
        exceeded: whether the value is above the limit.
        components: the parts.
        reason: why there is no value.
        notes: what a reader must know: notes of the method, and of this value.
    """

    method: str
    version: int
    citation: str
    start_us: int
    end_us: int
    value: float | None
    unit: str
    coverage: float
    band: IndexBand | None = None
    limit: float | None = None
    ratio: float | None = None
    exceeded: bool | None = None
    components: tuple[ResultComponent, ...] = ()
    reason: NoValueReason | None = None
    notes: tuple[BilingualText, ...] = field(default=())


# A mean of 15.0s may be 15.000000000000002: a rounding error must not change the class.
_DIGITS = 9
type BoundSide = Literal["lower", "upper"]


@dataclass(frozen=True, slots=True)
class BandScale:
    """Bands from the lowest values to the highest, and the bounds between them.

    Attributes:
        bands: one band more than bounds.
        bounds: the bounds, ascending.
        sides: the band to which each bound belongs: the `lower` or the `upper` one.
    """

    bands: tuple[IndexBand, ...]
    bounds: tuple[float, ...]
    sides: tuple[BoundSide, ...]

    @classmethod
    def of(cls, bands: tuple[IndexBand, ...], *bounds: float, side: BoundSide = "lower") -> "BandScale":
        """Make a scale whose bounds all belong to the same side."""
        return cls(bands, bounds, (side,) * len(bounds))

    def __post_init__(self) -> None:
        if len(self.bands) != len(self.bounds) + 1 or len(self.sides) != len(self.bounds):
            raise ValueError("a scale has one band more than bounds, and a side for each bound")
        if list(self.bounds) != sorted(set(self.bounds)):
            raise ValueError("the bounds of a scale ascend")

    def level(self, value: float) -> int:
        """Return the number of the value's band, from 1."""
        rounded = round(value, _DIGITS)
        return 1 + sum(
            rounded > bound or (rounded == bound and side == "upper")
            for bound, side in zip(self.bounds, self.sides, strict=True)
        )

    def band(self, value: float) -> IndexBand:
        """Return the value's band."""
        return self.bands[self.level(value) - 1]


def exceeds_limit(value: float, limit: float) -> bool:
    """Return whether a value is above a limit by more than a rounding error."""
    return round(value, _DIGITS) > round(limit, _DIGITS)


def build_result(
    method: IndexMethod,
    period: TimePeriod,
    value: float | None,
    coverage: float,
    *,
    unit: str | None = None,
    limit: float | None = None,
    has_ratio: bool = True,
    band: IndexBand | None = None,
    components: tuple[ResultComponent, ...] = (),
    reason: NoValueReason | None = None,
    notes: tuple[BilingualText, ...] = (),
) -> IndexResult:
    """Build a result of a method, compared with a limit if there is one.

    A value equal to the limit does not exceed it.

    Args:
        method: the method.
        period: the period.
        value: the value; None with a `reason`.
        coverage: the coverage of the input, percent.
        unit: the unit of value and limit; None: that of the method.
        limit: the limit.
        has_ratio: whether the ratio to the limit makes sense; not for decibels and days.
        band: the class of the value.
        components: the parts.
        reason: why there is no value.
        notes: notes in addition to those of the method.
    """
    ratio = exceeded = None
    if value is not None and limit is not None:
        ratio = value / limit if has_ratio else None
        exceeded = exceeds_limit(value, limit)
    return IndexResult(
        method.name,
        method.version,
        method.citation.shown,
        period.start_us,
        period.end_us,
        value,
        method.unit if unit is None else unit,
        coverage,
        band=band,
        limit=limit,
        ratio=ratio,
        exceeded=exceeded,
        components=components,
        reason=reason,
        notes=(*method.notes, *notes),
    )


def lowest_coverage(components: Iterable[ResultComponent]) -> float:
    """Return the lowest coverage of components with a value; without any, the highest coverage of all."""
    parts = tuple(components)
    return min((part.coverage for part in parts if part.value is not None), default=_best(parts))


def _best(parts: tuple[ResultComponent, ...]) -> float:
    return max((part.coverage for part in parts), default=0.0)


def common_reason(components: Iterable[ResultComponent]) -> NoValueReason:
    """Return why no component has a value; of several reasons, the most specific one."""
    found = {part.reason for part in components}
    for reason in ("coverage_too_low", "no_data"):
        if reason in found:
            return reason
    return "metric_missing"
