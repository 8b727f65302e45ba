"""Computes how many samples a second are stored, from counts that requests read. Pure.

The database counts stored samples, but has no rates. The difference of two reads of a count is exact, and
costs nothing where a console reads every few seconds. Each API process has its own reads.
"""

from collections import OrderedDict, deque
from collections.abc import Hashable
from typing import Final

_WINDOW_S: Final = 60.0
_OLDEST_S: Final = 600.0
_LEAST_S: Final = 1.0
_MOST_COUNTERS: Final = 1_000


class StoredSampleRates:
    """The recent counts of each tenant scope.

    Args:
        most: The largest number of scopes; the least recently read one is evicted.
    """

    def __init__(self, most: int = _MOST_COUNTERS) -> None:
        self._most = most
        self._counters: OrderedDict[Hashable, deque[tuple[float, int]]] = OrderedDict()

    def add(self, key: Hashable, total: int, now_s: float) -> float | None:
        """Add a count, and return the rate in the last minute, or since the last read if that is longer ago.

        Args:
            key: The scope that was counted.
            total: The count.
            now_s: The time of the process's monotonic clock (seconds).

        Returns:
            Samples a second; None without a read between one second and ten minutes ago.
        """
        counts = self._counters.setdefault(key, deque())
        self._counters.move_to_end(key)
        if len(self._counters) > self._most:
            self._counters.popitem(last=False)
        # At midnight (UTC) a day leaves the count.
        if counts and total < counts[-1][1]:
            counts.clear()
        while counts and (
            counts[0][0] < now_s - _OLDEST_S or (len(counts) > 1 and counts[1][0] <= now_s - _WINDOW_S)
        ):
            counts.popleft()
        rate = None
        if counts and now_s - counts[0][0] >= _LEAST_S:
            rate = round((total - counts[0][1]) / (now_s - counts[0][0]), 1)
        # Reads of many clients in one second count as one.
        if not counts or now_s - counts[-1][0] >= _LEAST_S:
            counts.append((now_s, total))
        return rate
