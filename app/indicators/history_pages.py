"""The history of a figure: which periods of which boxes are on a page.

Owns the bounds of a history and the order of its pages. Must not compute a figure.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final, NamedTuple

from app.indicators.box_queries import IndexedBox
from app.indicators.index_definitions import PERIOD_LENGTHS, IndexDefinition
from app.indicators.period_selection import MIN_LENGTH_US, PeriodLength, TimePeriod, periods_starting_in
from app.indicators.service import (
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
"""So many periods, each of each box, a history may have."""
_HISTORY: Final = "indices"


def resolve_period_length(figure: IndexDefinition, asked: PeriodLength | None) -> PeriodLength:
    """Of which periods a figure is (InvalidError `invalid_period`, `method_without_periods`)."""
    name = figure.method.name
    if not figure.lengths:
        raise InvalidError(
            f"{name} has no periods: ask for it at GET /v1/sites/{{site_id}}/indices, with `noise`.",
            code="method_without_periods",
        )
    if asked is not None and asked not in figure.lengths:
        raise InvalidError(
            f"{name} is of a period of: {', '.join(figure.lengths)}.",
            code="invalid_period",
            extra={"periods": list(figure.lengths)},
        )
    return asked or figure.lengths[0]


class IndexHistoryPage(NamedTuple):
    """A page of a history.

    Attributes:
        rows: what is to be computed.
        following: the next page's cursor; None on the last one.
    """

    rows: list[IndexComputation]
    following: str | None


def build_history_page(
    place: SiteContext,
    stations: Sequence[IndexedBox],
    figure: IndexDefinition,
    *,
    length: PeriodLength,
    span: tuple[datetime, datetime],
    now: datetime,
    limit: int,
    cursor: str | None,
) -> IndexHistoryPage:
    """A page of what is to be computed of a method, period by period, box by box.

    A page ends early where much would have to be read for it.

    Raises:
        InvalidError: `range_too_large`, `invalid_cursor`.
    """
    first, last = from_datetime(span[0]), min(from_datetime(span[1]), from_datetime(now))
    metrics = {station.id: select_metrics(station, figure, unasked=False) for station in stations}
    each = sum(len(of) for of in metrics.values())
    _check_rows((last - first) / MIN_LENGTH_US[length], each, length, figure)
    after = None if cursor is None else tuple(decode_cursor(_HISTORY, cursor, int, str, str))
    left = dict(READ_BUDGETS)
    page: list[IndexComputation] = []
    for slot in periods_starting_in(length, TimePeriod(first, last), place.zone, figure.begin(place.choices)):
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
                    return IndexHistoryPage(page, encode_cursor(_HISTORY, *page[-1].key))
                page.append(row)
    check_read_budget(page)
    return IndexHistoryPage(page, None)


def _check_rows(periods: float, each: int, length: PeriodLength, figure: IndexDefinition) -> None:
    if max(1.0, periods) * each <= MAX_ROWS:
        return
    longer = [name for name in figure.lengths if PERIOD_LENGTHS.index(name) > PERIOD_LENGTHS.index(length)]
    hint = f" a longer `period` ({', '.join(longer)})," if longer else ""
    raise InvalidError(
        f"These would be more than {MAX_ROWS:,} results. Ask for{hint} a shorter range, or fewer boxes with "
        "`box`.",
        code="range_too_large",
        extra={"maximum_results": MAX_ROWS},
    )
