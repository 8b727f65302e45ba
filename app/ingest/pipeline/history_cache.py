"""What rules look back at, kept from one HTTP call to the next of the same box.

Each call locks the row of its box, so it knows whether anybody else has written samples of it since: then the
number that the row has counted is another, and the past is read again. It is taken out for as long as a call
works on it, and put back after the commit.
"""

from collections.abc import Iterable
from typing import Final, NamedTuple

from app.rules.engine.value_windows import BoxHistory, RuleLookback

# Values, 16 bytes each.
_CAPACITY_VALUES: Final = 1_000_000


class _CachedHistory(NamedTuple):
    total: int
    needs: RuleLookback
    history: BoxHistory
    size: int


class HistoryCache:
    """Histories by box key. The one that was used longest ago is forgotten first."""

    def __init__(self, limit: int = _CAPACITY_VALUES) -> None:
        self._limit = limit
        self._histories: dict[int, _CachedHistory] = {}
        self._size = 0

    def __len__(self) -> int:
        """How many boxes it has something of."""
        return len(self._histories)

    def take(self, key: int, total: int | None, needs: RuleLookback) -> BoxHistory | None:
        """Take out the history of a box, if it is that of a row that has counted so many samples."""
        cached = self._pop(key)
        if cached is None or cached.total != total or cached.needs != needs:
            return None
        return cached.history

    def put(self, key: int, total: int | None, needs: RuleLookback, history: BoxHistory) -> None:
        """Keep a history, as it is once the row has counted so many samples.

        Not one with events: no row counts these.
        """
        if total is None or needs.events or not needs.spans:
            return
        self._pop(key)
        self._histories[key] = _CachedHistory(total, needs, history, len(history))
        self._size += len(history)
        while self._size > self._limit:
            self._pop(next(iter(self._histories)))

    def forget(self, keys: Iterable[int]) -> None:
        """Keep nothing of these boxes: what they measured may have been erased."""
        for key in keys:
            self._pop(key)

    def _pop(self, key: int) -> _CachedHistory | None:
        cached = self._histories.pop(key, None)
        if cached is not None:
            self._size -= cached.size
        return cached
