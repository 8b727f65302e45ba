"""Reads the roll-ups of committed hours by box and hour, with their coverage."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Final

import asyncpg
import numpy as np
from numpy.typing import NDArray

from app.catalogue.metrics import COLUMNS, METRICS_BY_NAME
from app.platform.db.database import RawConnection
from app.platform.kernel.instants import DAY_US, HOUR_US, to_datetime
from app.timeseries.rollups.rollup_merging import round_to_stored_precision

type HourAggregates = dict[str, float]
"""`mean`, `count`, `min`, `max`, `p10`, `p50`, `p90`, `p95` and `coverage` of one metric in one hour."""

_QUANTILES: Final = ("p10", "p50", "p90", "p95")
_HOUR_S: Final = 3600
# The metrics are named because they stand before the day in the index.
_HOURS: Final = f"""
SELECT k.place, h.metric, h.count[k.hour] AS count, h.mean[k.hour] AS mean, h.min[k.hour] AS min,
    h.max[k.hour] AS max, {", ".join(f"h.{name}[k.hour] AS {name}" for name in _QUANTILES)}
FROM unnest($1::int[], $2::timestamptz[], $3::int[]) WITH ORDINALITY AS k (box_key, day, hour, place),
LATERAL (
    SELECT * FROM tenant_hourly h WHERE h.box_key = k.box_key AND h.metric = ANY ($4::text[])
        AND h.day = k.day AND h.day >= $5::timestamptz AND h.day <= $6::timestamptz OFFSET 0
) h
WHERE h.count[k.hour] IS NOT NULL
"""  # noqa: S608 (constants)


async def read_committed_hours(
    connection: RawConnection,
    keys: NDArray[np.int32],
    times_us: NDArray[np.int64],
    intervals_s: Mapping[int, int],
    metrics: Sequence[str] | None,
) -> dict[int, dict[str, HourAggregates]]:
    """Read hours; returns the aggregates by metric of those that have some, by their index.

    Args:
        connection: in a transaction that has set a tenant scope.
        keys: the box of each hour.
        times_us: the begin of each hour (µs since the epoch).
        intervals_s: the sampling interval of each box (s).
        metrics: only these; None: all of the catalogue.
    """
    days = [to_datetime(time_us // DAY_US * DAY_US) for time_us in times_us.tolist()]
    hours = (times_us % DAY_US // HOUR_US + 1).tolist()
    names = list(COLUMNS if metrics is None else metrics)
    rows = await connection.fetch(_HOURS, keys.tolist(), days, hours, names, min(days), max(days))
    by_metric: defaultdict[str, list[asyncpg.Record]] = defaultdict(list)
    for row in rows:
        by_metric[row["metric"]].append(row)
    found: defaultdict[int, dict[str, HourAggregates]] = defaultdict(dict)
    # In the order of the catalogue, or of the filter.
    for name in names:
        for index, aggregates in _round(name, by_metric.get(name, ())):
            expected = _HOUR_S / intervals_s[int(keys[index])]
            aggregates["coverage"] = min(100.0, round(100.0 * aggregates["count"] / expected, 2))
            found[index][name] = aggregates
    return found


def _round(name: str, rows: Sequence[asyncpg.Record]) -> list[tuple[int, HourAggregates]]:
    """Round the aggregates of one metric as `GET …/readings` shows them."""
    if not rows:
        return []
    metric = METRICS_BY_NAME[name]
    lows = np.array([row["min"] for row in rows], np.float64)
    counts = np.array([row["count"] for row in rows], np.int64)
    rounded = {
        field: round_to_stored_precision(
            metric, np.array([row[field] for row in rows], np.float64), lows, counts
        ).tolist()
        for field in ("mean", *_QUANTILES)
    }
    return [
        (
            row["place"] - 1,
            {
                "mean": rounded["mean"][number],
                "count": row["count"],
                "min": row["min"],
                "max": row["max"],
                **{field: rounded[field][number] for field in _QUANTILES},
            },
        )
        for number, row in enumerate(rows)
    ]
