"""What rules look back at, kept from one HTTP call to the next of the same box.

Each call locks the row of its box, so it knows whether anybody else has written samples of it since: then the
number that the row has counted is another, and the past is read again. It is taken out for as long as a call
works on it, and put back after the commit.
"""

from collections.abc import Iterable
from typing import Final, NamedTuple

from app.rules.engine.value_windows import BoxHistory, RuleLookback

# Values, 16 bytes each.
_KEPT: Final = 1_000_000


class _Past(NamedTuple):
    total: int
    needs: RuleLookback
    history: BoxHistory
    size: int


class HistoryCache:
    """Histories by box key. The one that was used longest ago is forgotten first."""

    def __init__(self, limit: int = _KEPT) -> None:
        self._limit = limit
        self._pasts: dict[int, _Past] = {}
        self._size = 0

    def __len__(self) -> int:
        """How many boxes it has something of."""
        return len(self._pasts)

    def take(self, key: int, total: int | None, needs: RuleLookback) -> BoxHistory | None:
        """Take out the history of a box, if it is that of a row that has counted so many samples."""
        past = self._pop(key)
        if past is None or past.total != total or past.needs != needs:
            return None
        return past.history

    def put(self, key: int, total: int | None, needs: RuleLookback, history: BoxHistory) -> None:
        """Keep a history, as it is once the row has counted so many samples.

        Not one with events: no row counts these.
        """
        if total is None or needs.events or not needs.spans:
            return
        self._pop(key)
        self._pasts[key] = _Past(total, needs, history, len(history))
        self._size += len(history)
        while self._size > self._limit:
            self._pop(next(iter(self._pasts)))

    def forget(self, keys: Iterable[int]) -> None:
        """Keep nothing of these boxes: what they measured may have been erased."""
        for key in keys:
            self._pop(key)

    def _pop(self, key: int) -> _Past | None:
        past = self._pasts.pop(key, None)
        if past is not None:
            self._size -= past.size
        return past
