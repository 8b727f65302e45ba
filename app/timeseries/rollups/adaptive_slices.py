"""How much is summarised at once, and what is left aside for a while: what is heavy holds up nobody else.

A box may send a thousand samples a second, or values of which a summary fails. Marks are worked off in one
order for everybody, so that a slice that always fails would end all of it. Slices are therefore as large as
they are quick, one mark alone after a failure, and a box that fails alone is left aside: readers look at its
samples meanwhile. The time is an argument.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import asyncpg

from app.platform.db.database import is_transient

_GOAL_S: Final = 0.5
_FIRST: Final = 25
_GROWTH: Final = 2
# The second time twice as long, and so on.
_PAUSE_S, _PAUSE_LONGEST_S = 3_600.0, 86_400.0
_BATCH_TIMEOUT_S: Final = 5.0


def get_slice_timeout_s(count: int) -> float | None:
    """How long a slice of so many may take (s): several are to be quick, or are tried one by one."""
    return _BATCH_TIMEOUT_S if count > 1 else None


class BoxBackoff:
    """The boxes that are left aside.

    Args:
        clock: seconds of a clock that never goes back.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        # Until when, and for how long.
        self._paused: dict[int, tuple[float, float]] = {}

    @property
    def keys(self) -> list[int]:
        """Those that are aside now."""
        now = self._clock()
        return [key for key, (until, _) in self._paused.items() if until > now]

    @contextmanager
    def pause_on_failure(self, key: int | None) -> Iterator[None]:
        """Leave a box aside, at first for an hour, if the block fails, and would when it is tried again.

        Args:
            key: the box that the block is about; None: it is about several.
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
    """How many of a kind are worked off in one slice.

    Args:
        most: however quick they are.
        clock: seconds of a clock that never goes back.
    """

    def __init__(self, most: int, clock: Callable[[], float]) -> None:
        self._most = most
        self._clock = clock
        self.size = min(_FIRST, most)

    @contextmanager
    def slice(self, keys: Sequence[int], backoff: BoxBackoff) -> Iterator[None]:
        """Work on so many, whose boxes these are; an error goes on to whoever asked."""
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
