"""Measures how far behind a worker is in each partition that it reads: in records, and in seconds.

A log knows positions, not times. So the newest position is noted every few seconds. The oldest note beyond
the committed position says since when a record waits.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Final

from app.ingest import prometheus_metrics
from app.message_log.message_log import LogUnavailableError, MessageLog

EVERY_S: Final = 5.0
_MOST_NOTES: Final = 20_000  # more than a day


class PartitionLag:
    """The lag of one partition, from notes of its newest position."""

    def __init__(self) -> None:
        self._notes: deque[tuple[float, int]] = deque(maxlen=_MOST_NOTES)

    def note(self, now: float, newest: int) -> None:
        """Note the position of the newest record at a time (seconds)."""
        if not self._notes or newest > self._notes[-1][1]:
            self._notes.append((now, newest))

    def measure(self, now: float, committed: int) -> tuple[int, float]:
        """Return the records that wait, and how long the oldest of them has waited at least (seconds)."""
        while self._notes and self._notes[0][1] <= committed:
            self._notes.popleft()
        if not self._notes:
            return 0, 0.0
        return self._notes[-1][1] - committed, max(0.0, now - self._notes[0][0])


async def measure_partition_lags(log: MessageLog, read_committed: Callable[[], Mapping[int, int]]) -> None:
    """Set the gauges of the partitions of this worker, until cancelled.

    Args:
        log: The log, open.
        read_committed: Returns the committed position of each partition that the worker reads now.
    """
    lags: dict[int, PartitionLag] = {}
    try:
        while True:
            await _measure(log, read_committed, lags)
            await asyncio.sleep(EVERY_S)
    finally:
        _set_gauges(dict.fromkeys(lags, (0, 0.0)))
        prometheus_metrics.PARTITIONS_OWNED.set(0)


async def _measure(
    log: MessageLog, read_committed: Callable[[], Mapping[int, int]], lags: dict[int, PartitionLag]
) -> None:
    owned = read_committed()
    _set_gauges(dict.fromkeys(lags.keys() - owned.keys(), (0, 0.0)))
    for number in lags.keys() - owned.keys():
        del lags[number]
    for number in owned:
        try:
            newest = await log.find_newest_position(number)
        except LogUnavailableError:
            continue  # the former notes still say since when records wait
        lags.setdefault(number, PartitionLag()).note(time.monotonic(), newest)
    committed, now = read_committed(), time.monotonic()
    prometheus_metrics.PARTITIONS_OWNED.set(len(committed))
    _set_gauges(
        {number: lag.measure(now, committed[number]) for number, lag in lags.items() if number in committed}
    )


def _set_gauges(lags: Mapping[int, tuple[int, float]]) -> None:
    for number, (records, seconds) in lags.items():
        prometheus_metrics.PARTITION_LAG_RECORDS.labels(str(number)).set(records)
        prometheus_metrics.PARTITION_LAG_SECONDS.labels(str(number)).set(seconds)
