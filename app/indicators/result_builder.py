"""How methods make results: filled in from the method, with what is compared. Pure."""

from collections.abc import Iterable

from app.indicators.band_scales import exceeds_limit
from app.indicators.calendar_periods import TimePeriod
from app.indicators.index_results import (
    BilingualText,
    IndexBand,
    IndexMethod,
    IndexResult,
    NoValueReason,
    ResultComponent,
)


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
