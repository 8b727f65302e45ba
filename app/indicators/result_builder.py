"""How methods make results: filled in from the method, with what is compared. Pure."""

from collections.abc import Iterable

from app.indicators.calendar_periods import Period
from app.indicators.class_scales import above
from app.indicators.index_results import Band, Component, Method, NoValueReason, Result, Text


def made(
    method: Method,
    period: Period,
    value: float | None,
    coverage: float,
    *,
    unit: str | None = None,
    limit: float | None = None,
    has_ratio: bool = True,
    band: Band | None = None,
    components: tuple[Component, ...] = (),
    reason: NoValueReason | None = None,
    notes: tuple[Text, ...] = (),
) -> Result:
    """A result of a method.

    With a limit it is compared: exceeded is what lies above it, not what reaches it. Decibels and days have
    no ratio.
    """
    ratio = exceeded = None
    if value is not None and limit is not None:
        ratio = value / limit if has_ratio else None
        exceeded = above(value, limit)
    return Result(
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


def least_covered(components: Iterable[Component]) -> float:
    """The coverage of the least covered component that has a value; of all, where none has one."""
    parts = tuple(components)
    return min((part.coverage for part in parts if part.value is not None), default=_best(parts))


def _best(parts: tuple[Component, ...]) -> float:
    return max((part.coverage for part in parts), default=0.0)


def common_reason(components: Iterable[Component]) -> NoValueReason:
    """Why no component has a value: of several reasons the one that says most of what is there."""
    found = {part.reason for part in components}
    for reason in ("coverage_too_low", "no_data"):
        if reason in found:
            return reason
    return "metric_missing"
