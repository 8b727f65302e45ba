"""Caches reads and whole responses for some seconds, so that many visitors cost the database one query.

- Concurrent requests for a missing entry share one computation (no cache stampede).
- If the database is down, stale entries are served for up to 10 minutes.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Any, Final

from app.platform.db.database import DATABASE_ERRORS

_MAX_ENTRIES: Final = 200
_STALE_S: Final = 600.0
PAGE_MAX_AGE_S: Final = 30
"""`max-age` of pages and data (seconds)."""


@dataclass(slots=True)
class _CacheEntry:
    value: Any
    at: float


class TtlCache:
    """A cache with a time to live, which evicts the least recently used entries (LRU).

    Args:
        most: The greatest number of entries.
    """

    def __init__(self, most: int = _MAX_ENTRIES) -> None:
        self._most = most
        self._entries: OrderedDict[Hashable, _CacheEntry] = OrderedDict()
        self._computing: dict[Hashable, asyncio.Task[Any]] = {}

    async def get[T](self, key: Hashable, seconds: float, make: Callable[[], Awaitable[T]]) -> T:
        """Return the value of a key, and compute it again if it is too old.

        Args:
            key: The key.
            seconds: The time to live (seconds).
            make: Computes the value.
        """
        now = time.monotonic()
        cached = self._entries.get(key)
        if cached is not None and now - cached.at < seconds:
            self._entries.move_to_end(key)
            found: T = cached.value
            return found
        computing = self._computing.get(key)
        if computing is None:
            computing = asyncio.ensure_future(self._compute(key, make))
            self._computing[key] = computing
            computing.add_done_callback(lambda _: self._computing.pop(key, None))
        try:
            # A request that is cancelled must not cancel the computation for the others.
            made: T = await asyncio.shield(computing)
        except DATABASE_ERRORS:
            if cached is None or now - cached.at > _STALE_S:
                raise
            made = cached.value
        return made

    async def _compute(self, key: Hashable, make: Callable[[], Awaitable[Any]]) -> object:
        value = await make()
        self._entries[key] = _CacheEntry(value, time.monotonic())
        self._entries.move_to_end(key)
        while len(self._entries) > self._most:
            self._entries.popitem(last=False)
        return value
