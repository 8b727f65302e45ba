"""Caches the recent values and events of boxes that windowed rules need, between HTTP requests.

Each request locks the row of its box. If the row has counted other samples since, another process has written
and the history is read again. A request takes its history out of the cache and puts it back after the commit.
"""

from collections.abc import Iterable
from typing import Final, NamedTuple

from app.rules.engine.value_windows import BoxHistory, RuleLookback

# 16 bytes each.
_CAPACITY_VALUES: Final = 1_000_000


class _CachedHistory(NamedTuple):
    total: int
    needs: RuleLookback
    history: BoxHistory
    size: int


class HistoryCache:
    """Histories by box key, evicted by least recent use."""

    def __init__(self, limit: int = _CAPACITY_VALUES) -> None:
        self._limit = limit
        self._histories: dict[int, _CachedHistory] = {}
        self._size = 0

    def __len__(self) -> int:
        """Return the number of cached boxes."""
        return len(self._histories)

    def take(self, key: int, total: int | None, needs: RuleLookback) -> BoxHistory | None:
        """Remove and return the history of a box, if it is current.

        Args:
            key: the key of the box.
            total: the number of samples that the row of the box has counted.
            needs: the windows and events that the rules look back on.
        """
        cached = self._pop(key)
        if cached is None or cached.total != total or cached.needs != needs:
            return None
        return cached.history

    def put(self, key: int, total: int | None, needs: RuleLookback, history: BoxHistory) -> None:
        """Cache a history that is current at a number of counted samples.

        Histories with events are not cached, because the row does not count events.

        Args:
            key: the key of the box.
            total: the number of samples that the row of the box has counted.
            needs: the windows and events that the rules look back on.
            history: the history after those samples.
        """
        if total is None or needs.events or not needs.spans:
            return
        self._pop(key)
        self._histories[key] = _CachedHistory(total, needs, history, len(history))
        self._size += len(history)
        while self._size > self._limit:
            self._pop(next(iter(self._histories)))

    def forget(self, keys: Iterable[int]) -> None:
        """Remove the histories of these boxes, since their samples may have been erased."""
        for key in keys:
            self._pop(key)

    def _pop(self, key: int) -> _CachedHistory | None:
        cached = self._histories.pop(key, None)
        if cached is not None:
            self._size -= cached.size
        return cached
