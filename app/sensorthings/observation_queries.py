"""Reads and counts Observations.

A Datastream's Observations are read in order of time in ranges that grow, so that a page reads about as many
rows as it has, however long the history is. The count of a Datastream comes from the counts of the roll-ups,
the latest Observation from the box's state.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from sqlalchemy import Select, func, select, text

from app.catalogue.metrics import INDEX
from app.platform.db.database import ReadSession
from app.platform.kernel.instants import EARLIEST_US, HOUR_US, LATEST_US, from_datetime, to_datetime
from app.sensorthings.filter_compiler import FilterCompiler
from app.sensorthings.observed_series import (
    ObservationSource,
    ObservedSeries,
    find_begin_us,
    make_observation_source,
    read_result,
)
from app.sensorthings.page_tokens import after_token, decode_token, make_token_error, order_clauses
from app.sensorthings.query_tree import Expression, Literal, Operation, OrderItem, PropertyPath
from app.sensorthings.relations import TypedSql
from app.standard_apis.query_error import QueryError
from app.timeseries.rollups.rollup_queries import BoxSeriesQuery, count_values
from app.timeseries.series.latest_value_queries import read_newer_samples
from app.timeseries.series.series_parameters import BucketWidth
from app.timeseries.storage.sample_column_encoding import round_to_float32

MOST_SKIPPED: Final = 10_000
_WIDENING: Final = 8
_HOUR: Final = BucketWidth.parse("1h")
_TIMES: Final = frozenset({"phenomenonTime", "resultTime"})
_FIRST_VALUE: Final = 2


class FoundObservation(NamedTuple):
    """An Observation: its Datastream, its time (µs since the epoch), its result, its values of the order."""

    series: ObservedSeries
    time_us: int
    result: float
    order: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class ObservationQuery:
    """Which Observations of a Datastream, and in which order.

    Attributes:
        conditions: Conditions on the Observations themselves, joined by `and`.
        order: `$orderby`; none: ascending by time.
        token: The values of the order of the last Observation of the page before.
        skip: How many to leave out.
        now_us: The current time (µs since the epoch): hours that are over by then are Observations.
    """

    conditions: tuple[Expression, ...] = ()
    order: tuple[OrderItem, ...] = ()
    token: str | None = None
    skip: int = 0
    now_us: int = 0

    def __post_init__(self) -> None:
        if self.skip > MOST_SKIPPED:
            raise QueryError(
                f"$skip of Observations can be {MOST_SKIPPED:,} at most. Follow `@iot.nextLink`, or filter "
                "by `phenomenonTime`.",
                code="query_too_large",
                option="$skip",
            )

    @property
    def descending(self) -> bool | None:
        """Whether the order is that of time, descending or not; None: it is another order."""
        return time_direction(self.order)

    @property
    def time_property(self) -> str:
        """The time that an order by time is by: `phenomenonTime` or `resultTime`."""
        path = self.order[0].expression if self.order else None
        return path.text if isinstance(path, PropertyPath) else "phenomenonTime"

    def order_time_us(self, series: ObservedSeries, time_us: int = 0) -> int:
        """Return the time of an Observation in an order by time (µs since the epoch)."""
        # The result of an hour is of its end.
        return time_us + (HOUR_US if series.hourly and self.time_property == "resultTime" else 0)

    def span(self, series: ObservedSeries) -> tuple[int, int]:
        """Return the time range that the conditions leave (µs since the epoch)."""
        first, last = series.since_us, series.until_us
        if series.hourly:
            # Whole hours that are over.
            last = min(last, self.now_us) // HOUR_US * HOUR_US
        for each in self.conditions:
            low, high = _bounds(each, series)
            first, last = max(first, low), min(last, high)
        return first, last


def time_direction(order: Sequence[OrderItem]) -> bool | None:
    """Return whether an order by time is descending; None: the first item is something else."""
    if not order:
        return False
    first = order[0]
    path = first.expression
    return first.descending if isinstance(path, PropertyPath) and path.text in _TIMES else None


def _bounds(condition: Expression, series: ObservedSeries) -> tuple[int, int]:
    """Return the range of times (µs) that a comparison of a time with an instant leaves."""
    found = read_time_comparison(condition)
    if found is None:
        return EARLIEST_US, LATEST_US
    name, operator, value = found
    # The result of an hour is of its end.
    at = value - HOUR_US if series.hourly and name == "resultTime" else value
    at = min(max(at, EARLIEST_US), LATEST_US - 1)
    match operator:
        case "ge":
            return at, LATEST_US
        case "gt":
            return at + 1, LATEST_US
        case "le":
            return EARLIEST_US, at + 1
        case "lt":
            return EARLIEST_US, at
        case _:
            return at, at + 1


_MIRRORED: Final = {"ge": "le", "gt": "lt", "le": "ge", "lt": "gt", "eq": "eq"}


def read_time_comparison(condition: Expression) -> tuple[str, str, int] | None:
    """Return property, operator and instant of a comparison of a time; None: it is something else."""
    if not isinstance(condition, Operation) or condition.operator not in _MIRRORED:
        return None
    left, right, operator = condition.left, condition.right, condition.operator
    if isinstance(left, Literal):
        left, right, operator = right, left, _MIRRORED[operator]
    if not (isinstance(left, PropertyPath) and left.text in _TIMES):
        return None
    if not (isinstance(right, Literal) and right.kind == "instant" and isinstance(right.value, int)):
        return None
    return left.text, operator, right.value


def _conditions(source: ObservationSource, conditions: Sequence[Expression]) -> list[Any]:
    compiler = FilterCompiler(source.resolve)
    try:
        return [compiler.condition(each) for each in conditions]
    except QueryError as error:
        raise error.of_option("$filter") from None


async def read_observations(
    session: ReadSession, series: ObservedSeries, query: ObservationQuery, limit: int
) -> list[FoundObservation]:
    """Read Observations of a Datastream, at most `limit`."""
    first, last = query.span(series)
    if first >= last or limit <= 0:
        return []
    descending = query.descending
    if descending is None:
        return await _read_ordered(session, series, query, (first, last), limit)
    if len(query.order) > 1:
        # The times of a Datastream's Observations differ: further items need only be valid.
        _compile_order(make_observation_source(series, first, last), query.order)
    first = max(first, await find_begin_us(session, series))
    if query.token is not None:
        at = _token_time(query.token)
        first, last = (first, min(last, at)) if descending else (max(first, at + 1), last)
    wanted = limit + (query.skip if query.token is None else 0)
    found = await _read_in_windows(
        session, series, query.conditions, (first, last), wanted, descending=descending
    )
    return found[wanted - limit :]


async def _read_in_windows(
    session: ReadSession,
    series: ObservedSeries,
    conditions: Sequence[Expression],
    span: tuple[int, int],
    limit: int,
    *,
    descending: bool,
) -> list[FoundObservation]:
    """Read a range in order of time. PostgreSQL sorts all rows of a range before it applies the limit."""
    first, last = span
    found: list[FoundObservation] = []
    width = 2 * (limit + 1) * series.spacing_us
    # Nothing is newer but what arrived since, so that the first window has the newest ones.
    edge = min(last, max(first, series.newest_us + 1)) if descending else first
    while True:
        if descending:
            begin, end = max(first, edge - width), last if not found and edge < last else edge
        else:
            begin, end = edge, min(last, edge + width)
            if end > series.newest_us:
                end = last
        if begin < end:
            found += await _read_window(
                session, series, conditions, (begin, end), limit - len(found), descending=descending
            )
        if len(found) >= limit or (begin <= first if descending else end >= last):
            return found
        if descending:
            last = edge = begin
        else:
            edge = end
        width *= _WIDENING


async def _read_window(
    session: ReadSession,
    series: ObservedSeries,
    conditions: Sequence[Expression],
    span: tuple[int, int],
    limit: int,
    *,
    descending: bool,
) -> list[FoundObservation]:
    source = make_observation_source(series, *span)
    statement = (
        select(*source.columns)
        .where(*_conditions(source, conditions))
        .order_by(source.time.desc() if descending else source.time)
        .limit(limit)
    )
    rows = await session.execute(statement)
    return [_found(series, row) for row in rows]


def _found(series: ObservedSeries, row: Any) -> FoundObservation:  # noqa: ANN401 (a row)
    time_us, result = read_result(series, row)
    return FoundObservation(series, time_us, result, (time_us,))


async def _read_ordered(
    session: ReadSession, series: ObservedSeries, query: ObservationQuery, span: tuple[int, int], limit: int
) -> list[FoundObservation]:
    """Read Observations in another order than that of time: the database sorts all of the range."""
    source = make_observation_source(series, *span)
    order = _compile_order(source, query.order)
    where = _conditions(source, query.conditions)
    if query.token is not None:
        where.append(after_token(order, query.token))
    statement: Select[Any] = (
        select(*source.columns, *(typed.sql for typed, _ in order))
        .where(*where)
        .order_by(*order_clauses(order))
        .limit(limit)
    )
    if query.token is None:
        statement = statement.offset(query.skip)
    width = len(source.columns)
    return [
        _found(series, row)._replace(order=tuple(row[width:])) for row in await session.execute(statement)
    ]


def _compile_order(source: ObservationSource, items: Sequence[OrderItem]) -> list[tuple[TypedSql, bool]]:
    compiler = FilterCompiler(source.resolve)
    try:
        order = [(compiler.value(item.expression), item.descending) for item in items]
    except QueryError as error:
        raise error.of_option("$orderby") from None
    return [*order, (TypedSql("instant", source.time), False)]


def _token_time(token: str) -> int:
    values = decode_token(token)
    if not values or not isinstance(values[-1], int) or not EARLIEST_US <= values[-1] < LATEST_US:
        raise make_token_error()
    return values[-1]


_ERASED: Final = text("""
SELECT lower(r) AS first, upper(r) AS last FROM sensorthings_boxes b, unnest(b.erased) AS r WHERE b.key = :key
""")


async def count_observations(session: ReadSession, series: ObservedSeries, query: ObservationQuery) -> int:
    """Count the Observations of a Datastream, exactly."""
    first, last = query.span(series)
    if first >= last:
        return 0
    plain = all(_is_range(each) for each in query.conditions)
    if plain and not series.hourly:
        rows = (await session.execute(_ERASED, {"key": series.box_key})).all()
        erased = [
            (
                to_datetime(EARLIEST_US) if begin is None else begin,
                to_datetime(LATEST_US) if end is None else end,
            )
            for begin, end in rows
        ]
        counted = BoxSeriesQuery(
            series.box_key, series.metric, _HOUR, "UTC", to_datetime(first), to_datetime(last)
        )
        return await count_values(session, counted, erased)
    source = make_observation_source(series, first, last)
    statement = select(func.count()).select_from(source.source).where(*_conditions(source, query.conditions))
    return int((await session.execute(statement)).scalar_one())


def _is_range(condition: Expression) -> bool:
    return read_time_comparison(condition) is not None


async def read_latest(
    session: ReadSession, many: Sequence[ObservedSeries], now_us: int
) -> dict[str, FoundObservation]:
    """Read the latest Observation of each of several Datastreams, by the id of the Datastream."""
    raw = [each for each in many if not each.hourly]
    newest = {each.box_key: each.state_us for each in raw}
    newer: dict[int, list[Any]] = {}
    for row in await read_newer_samples(session, newest):
        newer.setdefault(row[0], []).append(row)
    found: dict[str, FoundObservation] = {}
    for each in raw:
        time_us, value = each.newest_us, each.newest
        column = INDEX[each.metric.name]
        for row in newer.get(each.box_key, ()):
            if row[_FIRST_VALUE + column] is not None and row[1] > time_us:
                time_us, value = row[1], row[_FIRST_VALUE + column]
        # The box's state has values as decoded, samples store most of them as `real`.
        found[each.id] = FoundObservation(each, time_us, round_to_float32(column, value), (time_us,))
    latest = ObservationQuery(
        order=(OrderItem(PropertyPath(("phenomenonTime",), 0), descending=True),), now_us=now_us
    )
    for each in many:
        if each.hourly and (rows := await read_observations(session, each, latest, 1)):
            found[each.id] = rows[0]
    return found


def is_latest_query(query: ObservationQuery, top: int | None) -> bool:
    """Return whether the query requests only the latest Observation of each Datastream."""
    is_newest_first = query.descending is True and len(query.order) == 1
    return top == 1 and is_newest_first and not query.conditions and not query.skip


def current_time_us() -> int:
    """Return the current time (µs since the epoch)."""
    return from_datetime(datetime.now(UTC))
