"""Adapts the size of roll-up batches to their duration, and pauses boxes whose roll-ups fail.

A box may send a thousand samples a second, or values whose aggregation fails. Marks are processed in one
order for all boxes, so one slice that always fails would block all others. Hence slices grow while they are
quick, shrink to one mark after a failure, and a box that fails alone is paused with back-off. Readers use its
samples in the meantime. The clock is an argument.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import asyncpg

from app.platform.db.database import is_transient

_GOAL_S: Final = 0.5
_FIRST: Final = 25
_GROWTH: Final = 2
# Doubles with each further failure, up to the longest.
_PAUSE_S, _PAUSE_LONGEST_S = 3_600.0, 86_400.0
_BATCH_TIMEOUT_S: Final = 5.0


def get_slice_timeout_s(count: int) -> float | None:
    """Return the timeout of a slice (s). A slice of several that times out is retried one by one."""
    return _BATCH_TIMEOUT_S if count > 1 else None


class BoxBackoff:
    """The boxes that are paused after a failure.

    Args:
        clock: a monotonic clock in seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        # Box → (end of the pause, its length), in seconds.
        self._paused: dict[int, tuple[float, float]] = {}

    @property
    def keys(self) -> list[int]:
        """The boxes that are paused now."""
        now = self._clock()
        return [key for key, (until, _) in self._paused.items() if until > now]

    @contextmanager
    def pause_on_failure(self, key: int | None) -> Iterator[None]:
        """Pause a box, at first for an hour, if the block fails with an error that a retry would repeat.

        Args:
            key: the box of the block; None if it has several.
        """
        try:
            yield
        except (TimeoutError, asyncpg.PostgresError) as error:
            if key is not None and (isinstance(error, TimeoutError) or not is_transient(error)):
                _, before_s = self._paused.get(key, (0.0, 0.0))
                for_s = min(max(_PAUSE_S, 2 * before_s), _PAUSE_LONGEST_S)
                self._paused[key] = self._clock() + for_s, for_s
            raise


class SliceSizer:
    """Adapts the number of items of one kind in a slice.

    Args:
        most: the upper limit.
        clock: a monotonic clock in seconds.
    """

    def __init__(self, most: int, clock: Callable[[], float]) -> None:
        self._most = most
        self._clock = clock
        self.size = min(_FIRST, most)

    @contextmanager
    def slice(self, keys: Sequence[int], backoff: BoxBackoff) -> Iterator[None]:
        """Measure the block, which processes the items of these boxes; re-raises its errors."""
        began = self._clock()
        try:
            with backoff.pause_on_failure(keys[0] if len(keys) == 1 else None):
                yield
        except (TimeoutError, asyncpg.PostgresError):
            self.size = 1
            raise
        took = self._clock() - began
        if took > _GOAL_S:
            self.size = max(1, min(self.size, int(len(keys) * _GOAL_S / took)))
        elif len(keys) >= self.size:
            self.size = min(self._most, self.size * _GROWTH)
