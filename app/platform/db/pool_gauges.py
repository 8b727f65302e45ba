"""Exports how full the pools of database connections are, sampled once a second.

The number of waiting tasks is that of the pool's asyncio queue, which both libraries keep private.
"""

import asyncio
from typing import Any

import asyncpg
from sqlalchemy import Engine
from sqlalchemy.pool import QueuePool

from app.platform.observability.gauge_sampling import POOL_IN_USE, POOL_SIZE, POOL_WAITING, sample_gauge


def _count_waiting(queue: asyncio.Queue[Any]) -> int:
    # Cancelled waits stay in the list until they would be their turn.
    waiting = getattr(queue, "_getters", ())
    return sum(not each.done() for each in waiting)


def _count_engine_waiting(engine: Engine) -> int:
    pool = engine.pool
    return _count_waiting(pool._pool._queue) if isinstance(pool, QueuePool) else 0  # type: ignore[attr-defined] # noqa: SLF001 (see above)


def observe_engine(name: str, engine: Engine, size: int) -> None:
    """Export the pool of an engine.

    Args:
        name: the pool's name in metrics.
        engine: the engine.
        size: its most connections.
    """
    sample_gauge(POOL_SIZE, (name,), engine, lambda _: size)
    sample_gauge(POOL_IN_USE, (name,), engine, lambda each: getattr(each.pool, "checkedout", int)())
    sample_gauge(POOL_WAITING, (name,), engine, _count_engine_waiting)


def observe_pool(name: str, pool: asyncpg.Pool) -> asyncpg.Pool:
    """Export a pool of raw connections, and return it.

    Args:
        name: the pool's name in metrics.
        pool: the pool, initialised.
    """
    # The queue of free connections, as large as the pool; the pool itself cannot be referred to weakly.
    queue: asyncio.Queue[Any] = pool._queue  # type: ignore[attr-defined] # noqa: SLF001 (see above)
    sample_gauge(POOL_SIZE, (name,), queue, lambda each: each.maxsize)
    sample_gauge(POOL_IN_USE, (name,), queue, lambda each: each.maxsize - each.qsize())
    sample_gauge(POOL_WAITING, (name,), queue, _count_waiting)
    return pool
