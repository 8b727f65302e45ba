"""Reads the tables after a run: stored, lost and duplicate rows, their size, and the role's metrics."""

import asyncio
import re
from collections.abc import Callable, Sequence
from typing import Final

import aiohttp
import asyncpg

from bench.load import box_id
from bench.process import FailedError

_LOOK_EVERY_S: Final = 0.02
_STEP: Final = re.compile(r'^vigie_ingest_step_seconds_sum\{step="(\w+)"\} (\S+)$', re.MULTILINE)


async def box_keys(database: str) -> dict[str, int]:
    """The number in the table of each box's id."""
    connection = await asyncpg.connect(database)
    try:
        return {row["id"]: row["key"] for row in await connection.fetch("SELECT id, key FROM boxes")}
    finally:
        await connection.close()


async def all_stored(database: str, last: Sequence[tuple[int, int]], check: Callable[[], None]) -> None:
    """Wait until these samples are committed.

    Args:
        database: where.
        last: the samples, by box and ms.
        check: is called now and then; raises where waiting is of no more use.
    """
    keys = await box_keys(database)
    wanted = ([keys[box_id(box)] for box, _ in last], [time_ms for _, time_ms in last])
    connection = await asyncpg.connect(database)
    try:
        query = await connection.prepare(
            "SELECT count(*) FROM unnest($1::int[], $2::bigint[]) AS w (k, ms)"
            " JOIN samples s ON s.box_key = w.k"
            " AND s.time = 'epoch'::timestamptz + w.ms * interval '1 millisecond'"
        )
        while await query.fetchval(*wanted) < len(last):
            check()
            await asyncio.sleep(_LOOK_EVERY_S)
    finally:
        await connection.close()


async def stored(database: str, *, narrow: bool) -> tuple[int, int, int]:
    """Samples in a competitor's table, how many different ones, and its bytes with its indexes.

    Raises:
        FailedError: it cannot be counted.
    """
    if narrow:  # a row is a reading
        query = (
            "SELECT count(*) / 10 AS n, count(DISTINCT (box, time)) AS d,"
            " pg_total_relation_size('readings') AS bytes FROM readings"
        )
    else:
        query = (
            "SELECT count(*) AS n, count(DISTINCT (box_key, time)) AS d,"
            " hypertable_size('samples') AS bytes FROM samples"
        )
    connection = await asyncpg.connect(database)
    try:
        row = await connection.fetchrow(query)
    finally:
        await connection.close()
    if row is None:
        raise FailedError("The table cannot be counted.")
    return int(row["n"]), int(row["d"]), int(row["bytes"])


async def steps(port: int) -> dict[str, float]:
    """Seconds by step of the pipeline, as the role itself counts them."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{port}/metrics") as answer,
    ):
        text = await answer.text()
    return {step: float(seconds) for step, seconds in _STEP.findall(text)}
