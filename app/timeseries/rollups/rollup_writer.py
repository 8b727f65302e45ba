"""Writes roll-ups: aggregates samples by hour and by local day, in the caller's transaction.

A roll-up has the number of values, their mean (of sound levels the mean of the energy), the lowest and
highest value, and the quantiles 0.1, 0.5, 0.9 and 0.95, interpolated between neighbours. Days are aggregated
from samples too, because quantiles of hours cannot be combined.

A roll-up of fewer samples never replaces an existing one, so that roll-ups outlive samples removed by
retention.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from app.catalogue.metrics import CATALOGUE, Metric
from app.platform.db.database import RawConnection

# A row for each value of a sample, with the metric's number, because numbers sort faster than names.
_VALUES: Final = ", ".join(
    f'({number}, s."{metric.name}"::float8)' for number, metric in enumerate(CATALOGUE, 1)
)
_NAMES: Final = "'{" + ",".join(metric.name for metric in CATALOGUE) + "}'::text[]"


def _among(metrics: Iterable[Metric]) -> str:
    numbers = ",".join(str(CATALOGUE.index(metric) + 1) for metric in metrics)
    return f"v.metric = ANY ('{{{numbers}}}'::int[])"


_LEVEL: Final = _among(metric for metric in CATALOGUE if metric.kind == "level")
_SHORT: Final = _among(metric for metric in CATALOGUE if metric.storage == "real")


def _extreme(kind: str) -> str:
    # The cast to text gives the shortest decimal of a four-byte float: 12.4, not 12.399999618530273.
    found = f"{kind}(v.value)"
    return f"CASE WHEN {_SHORT} THEN {found}::real::text::float8 ELSE {found} END"


_MEAN: Final = f"avg(CASE WHEN {_LEVEL} THEN power(10, v.value / 10) ELSE v.value END)"
_SUMMARY: Final = f"""
    count(*)::int AS count,
    CASE WHEN {_LEVEL} THEN 10 * log({_MEAN}) ELSE {_MEAN} END AS mean,
    {_extreme("min")} AS min,
    {_extreme("max")} AS max,
    percentile_cont('{{0.1,0.5,0.9,0.95}}'::float8[]) WITHIN GROUP (ORDER BY v.value) AS q
"""
# The bounds are constants, so that the planner excludes all other chunks.
_SAMPLES: Final = """
    LATERAL (
        SELECT * FROM samples s
        WHERE s.box_key = m.box_key AND s.time >= m.first AND s.time < m.last
            AND s.time >= $4::timestamptz AND s.time < $5::timestamptz
        OFFSET 0
    ) s,
"""
_SUMMARISE: Final = f"""
    SELECT m.box_key, ({_NAMES})[v.metric] AS metric, m.first, {_SUMMARY}
    FROM unnest($1::int[], $2::timestamptz[], $3::timestamptz[]) AS m (box_key, first, last),
    {_SAMPLES}
    LATERAL (VALUES {_VALUES}) AS v (metric, value)
    WHERE v.value IS NOT NULL
    GROUP BY m.box_key, v.metric, m.first
"""  # noqa: S608 (catalogue names)
_FIELDS: Final = ("count", "mean", "min", "max", "p10", "p50", "p90", "p95")
_QUANTILES: Final = ("p10", "p50", "p90", "p95")
# PostgreSQL does not convert a smaller quantile to a `real` zero: it reports an underflow.
_SMALLEST: Final = 1.4e-45


def _quantile(place: int) -> str:
    return f"CASE WHEN abs(q[{place}]) < {_SMALLEST} THEN 0 ELSE q[{place}] END::real"


_OVERLAY: Final = ", ".join(
    f"{name} = vigie_overlay(h.{name}, excluded.{name}, h.count, excluded.count)" for name in _FIELDS
)
_HOURS: Final = f"""
WITH fresh AS (
    SELECT box_key, metric, date_trunc('day', first, 'UTC') AS day,
        1 + extract(hour FROM first AT TIME ZONE 'UTC')::int AS hour, count, mean, min, max, q
    FROM ({_SUMMARISE}) AS summarised
)
INSERT INTO hourly AS h (box_key, metric, day, {", ".join(_FIELDS)})
SELECT box_key, metric, day,
    vigie_spread(hours, counts), vigie_spread(hours, means), vigie_spread(hours, mins),
    vigie_spread(hours, maxs),
    {", ".join(f"vigie_spread(hours, {name})" for name in _QUANTILES)}
FROM (
    SELECT box_key, metric, day, array_agg(hour) AS hours, array_agg(count) AS counts,
        array_agg(mean) AS means, array_agg(min) AS mins, array_agg(max) AS maxs,
        {", ".join(f"array_agg({_quantile(place)}) AS {name}" for place, name in enumerate(_QUANTILES, 1))}
    FROM fresh GROUP BY box_key, metric, day
) AS days
ON CONFLICT (box_key, metric, day) DO UPDATE SET
    {_OVERLAY}
"""  # noqa: S608 (catalogue names)
_DAYS: Final = f"""
INSERT INTO daily AS d (box_key, metric, day, {", ".join(_FIELDS)})
SELECT box_key, metric, first, count, mean, min, max,
    {", ".join(_quantile(place) for place, _ in enumerate(_QUANTILES, 1))}
FROM ({_SUMMARISE}) AS summarised
ON CONFLICT (box_key, metric, day) DO UPDATE SET
    {", ".join(f"{name} = excluded.{name}" for name in _FIELDS)}
WHERE excluded.count >= d.count
"""  # noqa: S608 (catalogue names)
HOUR: Final = timedelta(hours=1)


@dataclass(slots=True)
class BoxSpans:
    """Time ranges of boxes, in columns: each from `first` on, before `last`."""

    keys: Sequence[int]
    firsts: Sequence[datetime]
    lasts: Sequence[datetime]

    def __len__(self) -> int:
        """Return the number of ranges."""
        return len(self.keys)


async def refresh_hours(connection: RawConnection, spans: BoxSpans, within_s: float | None = None) -> None:
    """Write the roll-ups of hours.

    Args:
        connection: in a transaction.
        spans: one hour each.
        within_s: timeout (s); None: none.

    Raises:
        TimeoutError: It takes longer than `within_s`.
    """
    await _run(connection, _HOURS, spans, within_s)


async def refresh_days(connection: RawConnection, spans: BoxSpans, within_s: float | None = None) -> None:
    """Write the roll-ups of local days, which have 23 to 25 hours where clocks change.

    The parameters are those of `refresh_hours`.
    """
    await _run(connection, _DAYS, spans, within_s)


async def _run(connection: RawConnection, statement: str, spans: BoxSpans, within_s: float | None) -> None:
    if len(spans):
        await connection.execute(
            statement,
            spans.keys,
            spans.firsts,
            spans.lasts,
            min(spans.firsts),
            max(spans.lasts),
            timeout=within_s,
        )
