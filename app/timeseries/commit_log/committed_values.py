"""Reads the values of committed samples and events by their identities.

Row-level security limits what is read to the tenant scope that the connection's transaction has set.
"""

from collections.abc import Sequence
from functools import cache, lru_cache
from typing import Final, NamedTuple
from uuid import UUID

import asyncpg
import numpy as np
from numpy.typing import NDArray

from app.catalogue.metrics import COLUMNS, METRICS_BY_NAME
from app.platform.db.database import RawConnection
from app.platform.kernel.instants import to_datetime
from app.timeseries.storage.sample_column_encoding import MICROS_SQL, shortest_decimal_sql
from app.timeseries.storage.sample_writer import find_week_ranges

_FIELDS_BEFORE: Final = 3
_SAMPLES: Final = """
SELECT i.ord, s.seq, s.late, {columns}
FROM unnest($1::int[], $2::bigint[], $3::int[]) AS i (box_key, time_us, ord),
LATERAL (
    SELECT * FROM tenant_samples s WHERE s.box_key = i.box_key
        AND s.time = 'epoch'::timestamptz + i.time_us * interval '1 microsecond'
        AND s.time >= '{first}' AND s.time < '{end}' LIMIT 1
) s
"""
_EVENTS: Final = f"""
SELECT id, box_key, {MICROS_SQL.format("time")} AS time_us, seq, type, candidates::text AS candidates,
    level_db, clock_error_ms, spectrum::text AS spectrum, count, state, late
FROM events WHERE id = ANY ($1::uuid[])
"""  # noqa: S608 (constants)


class CommittedSample(NamedTuple):
    """A stored sample.

    Attributes:
        seq: as the box sent it.
        late: the metrics that were late.
        values: metric → value.
    """

    seq: int | None
    late: tuple[str, ...]
    values: dict[str, float]


@lru_cache(256)
def _samples_sql(metrics: tuple[str, ...], first_us: int, end_us: int) -> str:
    """SQL: samples by identity in a range of weeks, which limits the planner to their chunks."""
    return _SAMPLES.format(
        columns=", ".join(shortest_decimal_sql(METRICS_BY_NAME[name]) for name in metrics),
        first=to_datetime(first_us).isoformat(),
        end=to_datetime(end_us).isoformat(),
    )


@cache
def _list_late_metrics(bits: int) -> tuple[str, ...]:
    return tuple(name for index, name in enumerate(COLUMNS) if bits >> index & 1)


async def read_committed_samples(
    connection: RawConnection,
    keys: NDArray[np.int32],
    times_us: NDArray[np.int64],
    metrics: Sequence[str] | None,
) -> dict[int, CommittedSample]:
    """Read samples; returns those that exist and have a value of the metrics, by their index.

    Args:
        connection: in a transaction that has set a tenant scope.
        keys: the box of each sample.
        times_us: the time of each sample (µs since the epoch).
        metrics: only these values, maybe none; None: all of the catalogue.
    """
    names = COLUMNS if metrics is None else tuple(metrics)
    found: dict[int, CommittedSample] = {}
    if not names:
        # A grant whose metrics were all replaced includes none until the new ones are accepted.
        return found
    for first_us, end_us in find_week_ranges(times_us.tolist()):
        within = np.flatnonzero((times_us >= first_us) & (times_us < end_us))
        rows = await connection.fetch(
            _samples_sql(names, first_us, end_us),
            keys[within].tolist(),
            times_us[within].tolist(),
            within.tolist(),
        )
        for row in rows:
            index, seq, late, *stored = row
            values = {name: value for name, value in zip(names, stored, strict=True) if value is not None}
            if values:
                late_names = _list_late_metrics(late) if late else ()
                found[index] = CommittedSample(seq, late_names, values)
    return found


async def read_committed_events(
    connection: RawConnection, event_ids: Sequence[UUID]
) -> dict[UUID, asyncpg.Record]:
    """Read events that exist, by id: `box_key`, `time_us`, `seq`, `type` and the details from the box.

    Args:
        connection: in a transaction that has set a tenant scope.
        event_ids: their ids.
    """
    return {row["id"]: row for row in await connection.fetch(_EVENTS, event_ids)}
