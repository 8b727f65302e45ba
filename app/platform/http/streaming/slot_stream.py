"""Runs one stream of server-sent events: reads pages, writes them, keeps the connection alive.

A stream holds no database connection while it waits for its client.
"""

import asyncio
import random
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

from app.platform.db.database import RawConnection
from app.platform.db.notification_listener import LISTEN_ERRORS, wait_for_event
from app.platform.http.streaming.stream_slots import StreamSlot
from app.platform.http.streaming.wakeup_hub import DATABASE_TIMEOUT_S, WakeupHub
from app.platform.observability.metrics_and_logs import get_logger

CHECK_EVERY_S: Final = 60.0
"""Seconds between two checks of the caller's key."""

_RETRY_MS: Final = 3000
_RETRY_S: Final = 1.0
_log = get_logger(__name__)


def format_keep_alive(token: str) -> bytes:
    """Format a comment that keeps the connection alive and contains the current token.

    It is a comment, not an `id` field: some clients (httpx-sse) take an `id` with an empty line for an event
    without data, and fail to parse it as JSON.
    """
    return f": keep-alive {token}\n".encode()


class SlotStream[Page](ABC):
    """One stream, which lasts until its slot ends or the caller's key is no longer valid.

    Args:
        hub: Provides database connections and settings.
        slot: The slot of this stream.
        allowed: Checks whether the caller's key is still valid.
        reset: The event that reports missing events, if there are any.
        check_every_s: Seconds between two checks of the caller's key; None: CHECK_EVERY_S.
    """

    def __init__(
        self,
        hub: WakeupHub,
        slot: StreamSlot,
        *,
        allowed: Callable[[], Awaitable[bool]],
        reset: bytes = b"",
        check_every_s: float | None = None,
    ) -> None:
        self._hub = hub
        self._slot = slot
        self._allowed = allowed
        self._reset = reset
        self._written = time.monotonic()
        self._check_every_s = check_every_s
        self._check_at = self._next_check()
        self._away = False

    @property
    @abstractmethod
    def token(self) -> str:
        """The token with which the client resumes from here."""

    @abstractmethod
    async def read_page(self, connection: RawConnection) -> Page:
        """Read the next page after the current offset."""

    @abstractmethod
    def format_page(self, page: Page) -> tuple[bytes, bool]:
        """Format a page and advance the offset; returns its bytes, and whether there may be more."""

    async def admit(self) -> bool:
        """Return whether the formatted page may be written; if not, the stream ends before it."""
        return True

    def find_page(self) -> Page | None:
        """Return the next page if it needs no query."""
        return None

    async def blocks(self) -> AsyncIterator[bytes]:
        """Yield the bytes to write; the next page is read after the client has taken the last one."""
        # Lines without an empty line after them are not an event for any client.
        yield b"retry: %d\n" % _RETRY_MS + (self._reset or format_keep_alive(self.token))
        while await self._may_continue():
            self._slot.woken.clear()
            page = self.find_page() or await self._read()
            blocks, more = (b"", False) if page is None else self.format_page(page)
            if blocks and not await self.admit():
                return
            if not blocks and self._silent_for() >= self._hub.settings.stream_keepalive_s:
                blocks = format_keep_alive(self.token)
            if blocks:
                self._written = time.monotonic()
                yield blocks
            if not more:
                await self._pause()

    async def _may_continue(self) -> bool:
        if not self._slot.ended and time.monotonic() >= self._check_at:
            self._check_at = self._next_check()
            if not await self._allowed():
                return False
        return not self._slot.ended

    def _next_check(self) -> float:
        # With jitter: after a restart all clients reconnect in the same second.
        every_s = CHECK_EVERY_S if self._check_every_s is None else self._check_every_s
        return time.monotonic() + every_s * random.uniform(0.8, 1.0)  # noqa: S311 (no secrecy)

    async def _read(self) -> Page | None:
        """Read the next page; None while the database is unavailable."""
        try:
            async with asyncio.timeout(DATABASE_TIMEOUT_S), self._hub.pool.acquire() as connection:
                page = await self.read_page(connection)
        except LISTEN_ERRORS as error:
            if not self._away:
                # Logged once: the hub logs it each second, and there are hundreds of streams.
                _log.info("stream_read_failed", error=str(error) or type(error).__name__)
            self._away = True
            return None
        self._away = False
        return page

    async def _pause(self) -> None:
        if self._slot.ended:
            return
        until_keepalive = self._hub.settings.stream_keepalive_s - self._silent_for()
        until_check = self._check_at - time.monotonic()
        longest = max(0.0, min(until_keepalive, until_check, _RETRY_S if self._away else until_keepalive))
        await wait_for_event(self._slot.woken, longest)

    def _silent_for(self) -> float:
        return time.monotonic() - self._written
