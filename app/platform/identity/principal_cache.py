"""Caches the callers of recent requests, so that most requests need no lookup.

A cached caller is used for a few seconds. A change of keys, sessions, members or organisations drops all
cached callers: in this process after each commit of a write, in others by a notification of the database. So
a revoked key is refused from the next request on. While the process cannot listen, nothing is cached.
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Final, NamedTuple

from app.platform.db.database import Database
from app.platform.db.notification_listener import listen_for_wakeups

if TYPE_CHECKING:
    from app.platform.identity.caller_authentication import Principal

CHANNEL: Final = "vigie_access"
"""The channel on which the database's triggers announce a change of access (migration 0039)."""

# Bounds the delay of a revocation if notifications are lost, such as on a half-open connection.
_TTL_S: Final = 5.0
_CACHE_SIZE: Final = 10_000


class _CachedPrincipal(NamedTuple):
    principal: "Principal"
    until: float


class PrincipalCache:
    """The callers of recent requests, by the hash of their token.

    Args:
        most: maximum callers; the least recently added one is evicted.
        clock: seconds that no step of the system's clock changes.
    """

    def __init__(self, most: int = _CACHE_SIZE, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._found: OrderedDict[bytes, _CachedPrincipal] = OrderedDict()
        self._most = most
        self._listening = False
        self.version = 0
        """Changes whenever callers are dropped: what a lookup read before may not be valid after."""

    def __len__(self) -> int:
        return len(self._found)

    def get(self, digest: bytes, now: datetime) -> "Principal | None":
        """Return the caller of a token; None if it has to be looked up."""
        cached = self._found.get(digest)
        if cached is None or cached.until <= self._clock():
            return None
        ends = cached.principal.valid_until
        return None if ends is not None and ends <= now else cached.principal

    def add(self, digest: bytes, principal: "Principal", *, version: int) -> None:
        """Cache a caller.

        Args:
            digest: the hash of its token.
            principal: the caller.
            version: the cache's version before the lookup.
        """
        if not self._listening or version != self.version:
            return
        self._found[digest] = _CachedPrincipal(principal, self._clock() + _TTL_S)
        self._found.move_to_end(digest)
        if len(self._found) > self._most:
            self._found.popitem(last=False)

    def clear(self) -> None:
        """Drop all callers: who has access may have changed."""
        self.version += 1
        self._found.clear()

    async def follow(self, database: Database) -> None:
        """Drop callers at each notification of a change; caches nothing before. Runs until cancelled."""
        try:
            await listen_for_wakeups(database, self._on_change, channel=CHANNEL, on_lost=self._on_lost)
        finally:
            self._on_lost()

    def _on_change(self) -> None:
        self.clear()
        self._listening = True

    def _on_lost(self) -> None:
        self._listening = False
        self.clear()
