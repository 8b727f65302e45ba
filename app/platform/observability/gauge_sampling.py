"""Samples gauges of saturation once a second: pools, queues, and the delay of the event loop.

The measured code does no counting: an owner registers a function that reads its state, until the owner is
freed. The values of several owners of one gauge, such as pools of the same name, are added up.
"""

import asyncio
import time
import weakref
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from app.platform.observability.metric_types import DURATION_BUCKETS, Gauge, Histogram

POOL_SIZE = Gauge(
    "vigie_database_pool_size",
    "Maximum number of connections of a pool to the database",
    ["pool"],
    multiprocess_mode="livesum",
)
POOL_IN_USE = Gauge(
    "vigie_database_pool_in_use", "Connections of a pool in use", ["pool"], multiprocess_mode="livesum"
)
POOL_WAITING = Gauge(
    "vigie_database_pool_waiting",
    "Tasks that wait for a connection of a pool",
    ["pool"],
    multiprocess_mode="livesum",
)
HTTP_RUNNING = Gauge(
    "vigie_http_running",
    "Requests that hold a permit of a concurrency limit; `samples`: whether they send samples",
    ["limit", "samples"],
    multiprocess_mode="livesum",
)
HTTP_WAITING = Gauge(
    "vigie_http_waiting",
    "Requests that wait for a permit of a concurrency limit",
    ["limit", "samples"],
    multiprocess_mode="livesum",
)
LOOP_DELAY = Histogram(
    "vigie_event_loop_delay_seconds",
    "Delay of a timer of the event loop, measured once a second",
    ["role"],
    buckets=DURATION_BUCKETS,
)

_EVERY_S: Final = 1.0

type _Source = tuple[Gauge, tuple[str, ...], weakref.ref[Any], Callable[[Any], float]]

_sources: list[_Source] = []


def sample_gauge[T](gauge: Gauge, labels: tuple[str, ...], owner: T, read: Callable[[T], float]) -> None:
    """Set a gauge once a second, until its owner is freed.

    Args:
        gauge: the gauge.
        labels: the values of its labels.
        owner: the measured object; the gauge has only a weak reference to it.
        read: returns the value of an owner; it must not refer to the owner itself.
    """
    _sources.append((gauge, labels, weakref.ref(owner), read))


def update_sampled_gauges() -> None:
    """Read all owners, and set the gauges to the sums of their values."""
    totals: defaultdict[tuple[Gauge, tuple[str, ...]], float] = defaultdict(float)
    kept = []
    for source in _sources:
        gauge, labels, reference, read = source
        owner = reference()
        if owner is None:
            totals[gauge, labels] += 0.0
        else:
            totals[gauge, labels] += read(owner)
            kept.append(source)
    _sources[:] = kept
    for (gauge, labels), total in totals.items():
        gauge.labels(*labels).set(total)


async def run_gauge_sampler(role: str, stop: asyncio.Event) -> None:
    """Sample until `stop`.

    Args:
        role: the process role.
        stop: ends it.
    """
    delay = LOOP_DELAY.labels(role)
    while not stop.is_set():
        update_sampled_gauges()
        began = time.perf_counter()
        with suppress(TimeoutError):
            async with asyncio.timeout(_EVERY_S):
                await stop.wait()
        if not stop.is_set():
            delay.observe(max(0.0, time.perf_counter() - began - _EVERY_S))
