"""Compares a metric of a box in one period with an earlier period. Pure."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from app.catalogue.metrics import Metric
from app.platform.kernel.errors import InvalidError
from app.platform.kernel.instants import format_us, from_datetime, parse_iso_duration
from app.platform.kernel.rejection_codes import RejectedError, format_rejected_value
from app.timeseries.rollups.rollup_merging import RollupColumns, round_to_stored_precision

type Period = tuple[datetime, datetime]


def parse_reference_period(span: Period, text: str) -> Period:
    """Return the period to compare with.

    Args:
        span: the later period.
        text: `previous`, or how much earlier the other one begins: an ISO 8601 duration.

    Raises:
        InvalidError: `invalid_duration`.
    """
    back = span[1] - span[0]
    if text != "previous":
        try:
            back = timedelta(seconds=parse_iso_duration(text))
        except RejectedError:
            raise InvalidError(
                f"{format_rejected_value(text)} is neither `previous` nor a duration such as P7D.",
                code="invalid_duration",
            ) from None
    try:
        return span[0] - back, span[1] - back
    except OverflowError:
        return datetime(1, 1, 1, tzinfo=UTC), datetime(1, 1, 2, tzinfo=UTC)


def compare_metric_periods(
    box: str, metric: Metric, interval_s: int, periods: Sequence[Period], sides: Sequence[RollupColumns]
) -> dict[str, Any]:
    """Describe a box and a metric in both periods, and the change from the earlier to the later one.

    Args:
        box: its id.
        metric: of the catalogue.
        interval_s: sampling interval of the box (s).
        periods: the later one, the earlier one.
        sides: the aggregate of each, or no entry.
    """
    now, before = (
        _summarise(metric, interval_s, period, side) for period, side in zip(periods, sides, strict=True)
    )
    return {
        "box": box,
        "metric": metric.name,
        "unit": metric.unit,
        "period": now,
        "reference": before,
        "change": _compute_change(metric, now["avg"], before["avg"]),
    }


def _summarise(metric: Metric, interval_s: int, period: Period, found: RollupColumns) -> dict[str, Any]:
    first, last = period
    common: dict[str, Any] = {"from": format_us(from_datetime(first)), "to": format_us(from_datetime(last))}
    if not len(found):
        return {**common, "avg": None, "min": None, "max": None, "count": 0, "coverage": 0.0}
    count = int(found.counts[0])
    expected = (last - first).total_seconds() / interval_s
    return {
        **common,
        "avg": float(round_to_stored_precision(metric, found.means, found.lows, found.counts)[0]),
        "min": float(found.lows[0]),
        "max": float(found.highs[0]),
        "count": count,
        "coverage": min(100.0, round(100.0 * count / expected, 2)),
    }


def _compute_change(
    metric: Metric, now: float | None, before: float | None
) -> dict[str, float | None] | None:
    if now is None or before is None:
        return None
    # A percentage makes no sense for levels, which are logarithms, nor without a natural zero (temperature).
    shares = metric.kind == "gauge" and metric.minimum >= 0 and before > 0
    return {
        "absolute": round(now - before, 6),
        "percent": round(100.0 * (now - before) / before, 2) if shares else None,
    }
