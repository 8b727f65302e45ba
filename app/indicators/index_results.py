"""What a computation says of itself and what it gives: methods, bands, components, results.

Owns their shapes and the reasons why there is no value. Must not compute anything. Pure: no database, no
HTTP, no clock.

A change of a method's numbers or of its formula counts up its version: results of two versions are not
compared. Times are µs since the epoch, coverages percent (0 to 100).

Classes of a number: bounds, and to which side a bound belongs. Pure data and one look-up.

How methods make results: filled in from the method, with what is compared. Pure.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Literal, NamedTuple

from app.indicators.period_selection import TimePeriod

type CitationStatus = Literal["verified", "unverified"]
type MethodPeriod = Literal["hour", "day", "week", "weeks", "year", "any"]
type NoValueReason = Literal[
    "no_data", "metric_missing", "coverage_too_low", "period_too_short", "period_too_long", "period_mixed"
]


class BilingualText(NamedTuple):
    """A text for people, in both languages."""

    en: str
    fr: str


NO_VALUE_REASONS: Final[Mapping[NoValueReason, BilingualText]] = MappingProxyType(
    {
        "no_data": BilingualText("No measurements", "Aucune mesure"),
        "metric_missing": BilingualText(
            "The metric is not measured here", "La grandeur n'est pas mesurée ici"
        ),
        "coverage_too_low": BilingualText(
            "Too little of the period was measured", "Une trop petite part de la période a été mesurée"
        ),
        "period_too_short": BilingualText(
            "The period is shorter than the method needs",
            "La période est plus courte que la méthode ne l'exige",
        ),
        "period_too_long": BilingualText(
            "The period is longer than the method allows",
            "La période est plus longue que la méthode ne le permet",
        ),
        "period_mixed": BilingualText(
            "The period lies partly in the day and partly in the night",
            "La période est en partie de jour et en partie de nuit",
        ),
    }
)
"""Why a result has no value; the codes are stable."""


@dataclass(frozen=True, slots=True)
class IndexBand:
    """A class of an index.

    Attributes:
        key: its stable name.
        label: what people read.
        colour: `#RRGGBB`, where the source gives one.
    """

    key: str
    label: BilingualText
    colour: str | None = None


@dataclass(frozen=True, slots=True)
class MethodCitation:
    """Where a method's numbers are from.

    Attributes:
        document: the text that sets them.
        url: where to read it.
        status: `verified`: read in that text, or alike in several texts that quote it; `unverified`: some
            number could not be confirmed; check it before relying on it.
        basis: where the numbers were read, and which could not be confirmed.
    """

    document: str
    url: str | None
    status: CitationStatus
    basis: str

    @property
    def shown(self) -> str:
        """The document, marked where it is not verified."""
        return self.document if self.status == "verified" else f"{self.document} [unverified]"


@dataclass(frozen=True, slots=True)
class IndexMethod:
    """One way of computing one figure.

    Attributes:
        name: its stable name.
        version: counts up with each change of numbers or formula.
        title: for lists.
        citation: where the numbers are from.
        period: what a value is of.
        metrics: of the catalogue, which it reads.
        unit: of the value.
        coverage: the rule: how much has to be measured.
        notes: what every reader of a value has to know.
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
        key: the metric, or what part it is.
        value: None where `reason` says why.
        unit: of the value.
        coverage: of what it was made of.
        band: its class, where it has one.
        level: the class as a number from 1 (best), where it has one.
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
    """What a method gives for a period.

    Attributes:
        method: its name.
        version: of the method.
        citation: where its numbers are from.
        start_us: the period's begin, included.
        end_us: its end, excluded.
        value: None where `reason` says why.
        unit: of the value and the limit.
        coverage: of what the value was made of: of the least covered part, where there are several.
        band: the value's class, where the method has classes.
        limit: what the value is compared with, where there is something.
        ratio: value by limit, for concentrations and light.
        exceeded: whether the value is above the limit.
        components: the parts.
        reason: why there is no value.
        notes: what a reader has to know: the method's, and those of this very value.
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


# A mean of 15.0s may come out as 15.000000000000002: noise of the sum, not another class.
_DIGITS = 9
type BoundSide = Literal["lower", "upper"]


@dataclass(frozen=True, slots=True)
class BandScale:
    """Bands from the lowest values to the highest, and the bounds between them.

    Attributes:
        bands: one more than bounds.
        bounds: ascending.
        sides: for each bound the band that it belongs to: the `lower` or the `upper` one.
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
        """The number of the value's band, from 1."""
        rounded = round(value, _DIGITS)
        return 1 + sum(
            rounded > bound or (rounded == bound and side == "upper")
            for bound, side in zip(self.bounds, self.sides, strict=True)
        )

    def band(self, value: float) -> IndexBand:
        """The value's band."""
        return self.bands[self.level(value) - 1]


def exceeds_limit(value: float, limit: float) -> bool:
    """Whether a value is above a limit, beyond the noise of a sum."""
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
    """A result of a method.

    With a limit it is compared: exceeded is what lies above it, not what reaches it. Decibels and days have
    no ratio.
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
    """The coverage of the least covered component that has a value; of all, where none has one."""
    parts = tuple(components)
    return min((part.coverage for part in parts if part.value is not None), default=_best(parts))


def _best(parts: tuple[ResultComponent, ...]) -> float:
    return max((part.coverage for part in parts), default=0.0)


def common_reason(components: Iterable[ResultComponent]) -> NoValueReason:
    """Why no component has a value: of several reasons the one that says most of what is there."""
    found = {part.reason for part in components}
    for reason in ("coverage_too_low", "no_data"):
        if reason in found:
            return reason
    return "metric_missing"
