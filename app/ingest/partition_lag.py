"""Measures how far behind a worker is in each partition that it reads: in records, and in seconds.

A log knows positions, not times. So the newest position is noted every few seconds. The oldest note beyond
the committed position says since when a record waits.
"""

import time
from collections import deque
from collections.abc import Mapping
from typing import Final

from app.ingest import prometheus_metrics

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


class PartitionLags:
    """Sets the gauges of the partitions that a worker reads."""

    def __init__(self) -> None:
        self._lags: dict[int, PartitionLag] = {}

    def update(self, newest: Mapping[int, int], committed: Mapping[int, int]) -> None:
        """Note how far the log is, and set the gauges.

        Args:
            newest: The position of the newest record of each partition.
            committed: The committed position of each partition that the worker reads now.
        """
        now = time.monotonic()
        for number in self._lags.keys() - committed.keys():
            del self._lags[number]
            _set_gauges({number: (0, 0.0)})
        for number in committed.keys() & newest.keys():
            self._lags.setdefault(number, PartitionLag()).note(now, newest[number])
        prometheus_metrics.PARTITIONS_OWNED.set(len(committed))
        _set_gauges({number: lag.measure(now, committed[number]) for number, lag in self._lags.items()})

    def clear(self) -> None:
        """Set the gauges of a worker without partitions."""
        self.update({}, {})


def _set_gauges(lags: Mapping[int, tuple[int, float]]) -> None:
    for number, (records, seconds) in lags.items():
        prometheus_metrics.PARTITION_LAG_RECORDS.labels(str(number)).set(records)
        prometheus_metrics.PARTITION_LAG_SECONDS.labels(str(number)).set(seconds)
