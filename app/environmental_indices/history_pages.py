"""Selects the periods and boxes on a page of an index's history, within the read limits of a request.

Rows are ordered by period, box and metric. Must not compute an index.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final, NamedTuple

from app.environmental_indices.boxes_and_read_limits import IndexedBox
from app.environmental_indices.index_definitions import PERIOD_LENGTHS, IndexDefinition
from app.environmental_indices.period_selection import (
    MIN_LENGTH_US,
    PeriodLength,
    TimePeriod,
    periods_starting_in,
)
from app.environmental_indices.service import (
    READ_BUDGETS,
    IndexComputation,
    SiteContext,
    check_read_budget,
    select_metrics,
)
from app.platform.http.contract.pagination import decode_cursor, encode_cursor
from app.platform.kernel.errors import InvalidError
from app.platform.kernel.instants import from_datetime

MAX_ROWS: Final = 10_000
"""The most results of a history: periods times boxes."""
_CURSOR_KIND: Final = "indices"


def resolve_period_length(figure: IndexDefinition, requested: PeriodLength | None) -> PeriodLength:
    """Resolve the period length of an index (InvalidError `invalid_period`, `method_without_periods`)."""
    name = figure.method.name
    if not figure.lengths:
        raise InvalidError(
            f"{name} has no fixed periods, so it has no history. Use GET /v1/sites/{{site_id}}/indices with "
            "`noise`.",
            code="method_without_periods",
        )
    if requested is not None and requested not in figure.lengths:
        raise InvalidError(
            f"{name} does not support this `period`. Use one of: {', '.join(figure.lengths)}.",
            code="invalid_period",
            extra={"periods": list(figure.lengths)},
        )
    return requested or figure.lengths[0]


class IndexHistoryPage(NamedTuple):
    """A page of a history.

    Attributes:
        rows: the indices to compute.
        following: the cursor of the next page; None on the last one.
    """

    rows: list[IndexComputation]
    following: str | None


def build_history_page(
    context: SiteContext,
    stations: Sequence[IndexedBox],
    figure: IndexDefinition,
    *,
    length: PeriodLength,
    span: tuple[datetime, datetime],
    now: datetime,
    limit: int,
    cursor: str | None,
) -> IndexHistoryPage:
    """Build a page of a history, period by period, box by box.

    A page ends early if it would exceed the read limits of a request.

    Args:
        context: the site, with the options.
        stations: its boxes.
        figure: the index.
        length: the length of its periods.
        span: the first and the last instant between which periods begin.
        now: the current time; periods that end later are left out.
        limit: the most rows of a page.
        cursor: the cursor of the page; None for the first one.

    Raises:
        InvalidError: `range_too_large`, `invalid_cursor`.
    """
    first, last = from_datetime(span[0]), min(from_datetime(span[1]), from_datetime(now))
    metrics = {station.id: select_metrics(station, figure, only_measured=False) for station in stations}
    each = sum(len(of) for of in metrics.values())
    _check_rows((last - first) / MIN_LENGTH_US[length], each, length, figure)
    after = None if cursor is None else tuple(decode_cursor(_CURSOR_KIND, cursor, int, str, str))
    left = dict(READ_BUDGETS)
    page: list[IndexComputation] = []
    for slot in periods_starting_in(
        length, TimePeriod(first, last), context.zone, figure.begin(context.choices)
    ):
        if slot.period.end_us > from_datetime(now):
            break
        for station in stations:
            for metric in sorted(metrics[station.id], key=lambda name: name or ""):
                row = IndexComputation(station, figure, metric, slot)
                if after is not None and row.key <= after:
                    continue
                source, count = row.effort
                left[source] -= count
                if len(page) == limit or (page and left[source] < 0):
                    check_read_budget(page)
                    return IndexHistoryPage(page, encode_cursor(_CURSOR_KIND, *page[-1].key))
                page.append(row)
    check_read_budget(page)
    return IndexHistoryPage(page, None)


def _check_rows(periods: float, each: int, length: PeriodLength, figure: IndexDefinition) -> None:
    if max(1.0, periods) * each <= MAX_ROWS:
        return
    longer = [name for name in figure.lengths if PERIOD_LENGTHS.index(name) > PERIOD_LENGTHS.index(length)]
    hint = f" a longer `period` ({', '.join(longer)})," if longer else ""
    raise InvalidError(
        f"The history would have more than {MAX_ROWS:,} results. Choose{hint} a shorter range, or fewer "
        "boxes with `box`.",
        code="range_too_large",
        extra={"maximum_results": MAX_ROWS},
    )
