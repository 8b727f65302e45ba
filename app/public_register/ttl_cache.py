"""What was read or made, for some seconds: a crowd at the register does not reach the database.

Whoever asks while something is being made waits for the same; where it cannot be made, what was there before
is given, so that the register outlives its database for a while.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Any, Final

from app.platform.db.database import DATABASE_ERRORS

_MOST: Final = 200
_STALE_S: Final = 600.0


@dataclass(slots=True)
class _Kept:
    value: Any
    at: float


class TtlCache:
    """Things by key.

    Args:
        most: How many are kept; those that were asked for last.
    """

    def __init__(self, most: int = _MOST) -> None:
        self._most = most
        self._kept: OrderedDict[Hashable, _Kept] = OrderedDict()
        self._making: dict[Hashable, asyncio.Task[Any]] = {}

    async def get[T](self, key: Hashable, seconds: float, make: Callable[[], Awaitable[T]]) -> T:
        """What is kept under a key, made anew where it is older.

        Args:
            key: What it is.
            seconds: How old it may be.
            make: Makes it.
        """
        now = time.monotonic()
        kept = self._kept.get(key)
        if kept is not None and now - kept.at < seconds:
            self._kept.move_to_end(key)
            found: T = kept.value
            return found
        making = self._making.get(key)
        if making is None:
            making = asyncio.ensure_future(self._make(key, make))
            self._making[key] = making
            making.add_done_callback(lambda _: self._making.pop(key, None))
        try:
            # One who goes away takes it from nobody else.
            made: T = await asyncio.shield(making)
        except DATABASE_ERRORS:
            if kept is None or now - kept.at > _STALE_S:
                raise
            made = kept.value
        return made

    async def _make(self, key: Hashable, make: Callable[[], Awaitable[Any]]) -> object:
        value = await make()
        self._kept[key] = _Kept(value, time.monotonic())
        self._kept.move_to_end(key)
        while len(self._kept) > self._most:
            self._kept.popitem(last=False)
        return value
