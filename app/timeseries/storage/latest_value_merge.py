"""Combines a box's row of `box_states` with its newer samples into the latest value of each metric.

The pipeline and the API share this; it runs no query itself.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from app.catalogue.metrics import CATALOGUE, COLUMNS, Metric
from app.platform.kernel.instants import DAY_US, to_datetime
from app.timeseries.storage.sample_column_encoding import MICROS_SQL, ColumnValues, shortest_decimal_sql

type LatestValues = dict[str, list[Any]]
"""Metric → [value, µs since the epoch] of the newest sample that has it."""


def _newest_value_sql(metric: Metric) -> str:
    name = metric.name
    having = f'FILTER (WHERE s."{name}" IS NOT NULL)'
    time = MICROS_SQL.format("max(s.time) " + having)
    return f'last({shortest_decimal_sql(metric)}, s.time) {having} AS "{name}", {time} AS "{name} at"'


def newer_values_sql(keys: str, newest: str, bound: str, *, source: str = "samples") -> str:
    """SQL: one row for each box that has samples newer than its row of `box_states`.

    Args:
        keys: the SQL of an int[]: boxes.
        newest: the SQL of a bigint[], in the same order: `newest_us` of each.
        bound: the SQL of a timestamptz: not after any of those.
        source: the table, or a view of it.

    Returns:
        A query whose rows have `box_key`, `newest_us`, and for each metric its newest value (NULL if there is
            none) and, named `… at`, the time of that in µs.
    """
    columns = ", ".join(map(_newest_value_sql, CATALOGUE))
    # LATERAL makes one index scan per box, however long its history is. The bound is a constant, so that the
    # planner excludes older chunks: a year has fifty-two.
    return f"""
        SELECT k.box_key, n.*
        FROM unnest({keys}, {newest}) AS k (box_key, newest_us),
        LATERAL (
            SELECT {MICROS_SQL.format("max(s.time)")} AS newest_us, {columns}
            FROM {source} s
            WHERE s.box_key = k.box_key AND s.time >= {bound}
                AND s.time > 'epoch'::timestamptz + k.newest_us * interval '1 microsecond'
        ) n
        WHERE n.newest_us IS NOT NULL
        """  # noqa: S608 (catalogue names, and the callers' placeholders)


NEWER_VALUES_SQL: Final = newer_values_sql("$1::int[]", "$2::bigint[]", "$3::timestamptz")
"""`newer_values_sql` for asyncpg."""

_RECENT_US: Final = 14 * DAY_US


def split_by_recency(newest: Mapping[int, int]) -> Iterator[tuple[list[int], list[int], datetime]]:
    """Yield the arguments of `newer_values_sql` (keys, newest, bound) for `newest_us` by box, at most twice.

    Boxes that fell silent long ago have a query of their own: their bound would make all others read many
    chunks.
    """
    if not newest:
        return
    horizon = max(newest.values()) - _RECENT_US
    for recent in (True, False):
        chosen = {key: time_us for key, time_us in newest.items() if (time_us >= horizon) is recent}
        if chosen:
            yield list(chosen), list(chosen.values()), to_datetime(min(chosen.values()))


def apply_newer_row(latest: LatestValues, row: Mapping[str, Any]) -> int:
    """Update latest values with a row of `newer_values_sql`; returns the newest sample's time (µs)."""
    for name in COLUMNS:
        at = row[f"{name} at"]
        if at is not None and (name not in latest or latest[name][1] < at):
            latest[name] = [row[name], at]
    newest: int = row["newest_us"]
    return newest


def advance_latest(latest: LatestValues, samples: Sequence[tuple[int, ColumnValues]]) -> int:
    """Update a box's latest values with (time in µs, values) pairs.

    Returns:
        How many of the samples were late: not newer than the latest value of each metric that they carry.
    """
    late = 0
    for time_us, values in samples:
        advanced = False
        for column, value in enumerate(values):
            if value is None:
                continue
            name = COLUMNS[column]
            known = latest.get(name)
            if known is None or known[1] < time_us:
                latest[name] = [value, time_us]
                advanced = True
        late += not advanced
    return late
