"""One stream of events, as Server-Sent Events: where it begins, what it leaves out, what it writes.

Owns the bytes on the wire, and the tokens that clients resume from. Holds no connection to the database while
it waits for its client. Who may open one is the router's matter.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple
from uuid import UUID

import msgspec
from fastapi.sse import format_sse_event

from app.notifications.delivery.grouping import parse_alert_data
from app.notifications.delivery.outbox_listener import DATABASE_ERRORS
from app.notifications.delivery.transport_types import build_message_id
from app.notifications.events.event_types import SEVERITIES
from app.notifications.formats.native import add_message_id, build_native_body
from app.notifications.stream.stream_hub import PATIENCE_S, StreamHub, StreamSlot
from app.notifications.stream.stream_queries import StreamedEvent, StreamHead, StreamPage, read_event_page
from app.platform.http.contract.pagination import decode_cursor, encode_cursor
from app.platform.kernel.errors import InvalidError
from app.platform.kernel.instants import format_us, from_datetime
from app.platform.observability.metrics_and_logs import STREAM_EVENTS, get_logger

RESET: Final = "stream.reset"
CHECK_EVERY_S: Final = 60.0
"""How often the caller's key is looked at again (seconds)."""

_CURSOR: Final = "events"
_RETRY_MS: Final = 3000
_AGAIN_S: Final = 1.0
# What is about to be removed may be gone by the time that it is read.
_MARGIN: Final = timedelta(minutes=1)
_log = get_logger(__name__)


class StreamCursor(NamedTuple):
    """How far a client is: up to a position, and up to a time.

    No event of the organisation that has a higher position got it before `at`. The time tells whether some
    may have been removed since; a position cannot, for positions have gaps.
    """

    position: int
    at: datetime

    def token(self, organisation: UUID) -> str:
        """What the client gives back to go on from here."""
        return encode_cursor(_CURSOR, organisation.hex, self.position, int(self.at.timestamp()))

    @classmethod
    def read(cls, token: str, organisation: UUID, newest: StreamHead) -> "StreamCursor":
        """Read a token back.

        Raises:
            InvalidError: `invalid_cursor`: not one of this organisation's streams, or of what is to come.
        """
        refused = InvalidError(
            "The id is not one of an event of this stream. Connect without it, and read what you may have "
            "missed with GET /v1/alerts.",
            code="invalid_cursor",
        )
        try:
            owner, position, seconds = decode_cursor(_CURSOR, token, UUID, _whole, _whole)
            at = datetime.fromtimestamp(seconds, UTC)
        except (InvalidError, ValueError, OverflowError, OSError):
            raise refused from None
        # Forged, it would hide that events are missing.
        if owner != organisation or not 0 <= position <= newest.given or at > newest.at + _MARGIN:
            raise refused
        return cls(position, at)

    def is_kept(self, newest: StreamHead, keep_days: int) -> bool:
        """Whether every event after it is still there."""
        return self.at >= newest.at - timedelta(days=keep_days) + _MARGIN


class StreamFilter(NamedTuple):
    """What a client wants. None means everything.

    `min_severity` leaves out alerts that never were so grave; what has no severity passes.
    """

    types: frozenset[str] | None = None
    site: UUID | None = None
    min_severity: str | None = None

    def passes(self, event: StreamedEvent) -> bool:
        """Whether the client wants an event."""
        if self.types is not None and event.type not in self.types:
            return False
        if self.site is not None and event.site_id != self.site:
            return False
        if self.min_severity is None:
            return True
        alert = parse_alert_data(event.type, event.payload)
        # As endpoints do: of an alert that was grave enough once, the end is told too.
        severity = None if alert is None else alert.highest_severity or alert.severity
        return severity not in SEVERITIES or (
            SEVERITIES.index(severity) >= SEVERITIES.index(self.min_severity)
        )


def format_reset_event(oldest: datetime | None, mark: StreamCursor, organisation: UUID) -> bytes:
    """What says that events are missing: those before `oldest` (None: before now) are not kept any more."""
    data = {
        "oldest": None if oldest is None else _text(oldest),
        "detail": "Events were missed that are not kept any more. Read with GET /v1/alerts what is firing "
        "and what has resolved; what is still kept of events follows.",
    }
    body = build_native_body(RESET, mark.at, msgspec.json.encode(data).decode())
    return format_sse_event(event=RESET, data_str=body.decode(), id=mark.token(organisation))


def format_event_block(event: StreamedEvent, organisation: UUID, public_url: str | None = None) -> bytes:
    """An event on the wire. Its data is a webhook's body, with the `webhook-id` in it as `id`."""
    body = build_native_body(event.type, event.created_at, event.payload, public_url)
    data = add_message_id(body, build_message_id(event.id)).decode()
    token = StreamCursor(event.position, event.fanned_out_at).token(organisation)
    return format_sse_event(event=event.type, data_str=data, id=token)


def format_keep_alive(token: str) -> bytes:
    """Write a comment that shows that the stream lives, and how far it is.

    No block: after an `id`, some clients (httpx-sse) take an empty line alone for an event without data, and
    their JSON parsers fail.
    """
    return f": keep-alive {token}\n".encode()


def _whole(value: object) -> int:
    """A part of a token that is a whole number (TypeError): `int` would take 7.9, "7" and true for one."""
    if type(value) is not int:
        raise TypeError("not a whole number")
    return value


def _text(instant: datetime) -> str:
    return format_us(from_datetime(instant.astimezone(UTC)))


class EventStream:
    """The blocks of one stream, until it is told to end or the caller's key is no longer good.

    Args:
        hub: For reading, and for the pace.
        place: Its own.
        mark: Where it begins.
        wanted: What it leaves out.
        allowed: Whether the caller's key is still good.
        reset: What is said first where events are missing.
    """

    def __init__(
        self,
        hub: StreamHub,
        place: StreamSlot,
        *,
        mark: StreamCursor,
        wanted: StreamFilter,
        allowed: Callable[[], Awaitable[bool]],
        reset: bytes = b"",
    ) -> None:
        self._hub = hub
        self._place = place
        self._mark = mark
        self._wanted = wanted
        self._allowed = allowed
        self._reset = reset
        self._written = time.monotonic()
        self._check_at = self._next_check()
        self._away = False

    async def blocks(self) -> AsyncIterator[bytes]:
        """Yield what is to be written; the next events are read once the last ones are."""
        # Lines without an empty one behind them: no client takes them for an event.
        yield b"retry: %d\n" % _RETRY_MS + (self._reset or format_keep_alive(self.token))
        while await self._goes_on():
            self._place.woken.clear()
            page = await self._read()
            blocks = self._rendered(page)
            if not blocks and self._silent_for() >= self._hub.settings.stream_keepalive_s:
                blocks = format_keep_alive(self.token)
            if blocks:
                self._written = time.monotonic()
                yield blocks
            if page is None or not page.full:
                await self._pause()

    async def _goes_on(self) -> bool:
        if not self._place.ended and time.monotonic() >= self._check_at:
            self._check_at = self._next_check()
            if not await self._allowed():
                return False
        return not self._place.ended

    def _next_check(self) -> float:
        # Spread: after a restart everybody comes back in the same second.
        return time.monotonic() + CHECK_EVERY_S * random.uniform(0.8, 1.0)  # noqa: S311 (no secrecy)

    async def _read(self) -> StreamPage | None:
        """The next page; None while the database is away."""
        try:
            async with asyncio.timeout(PATIENCE_S), self._hub.pool.acquire() as connection:
                page = await read_event_page(connection, self._place.organisation, self._mark.position)
        except DATABASE_ERRORS as error:
            if not self._away:
                # Once: the hub says each second that it is away, and there are hundreds of streams.
                _log.info("stream_read_failed", error=str(error) or type(error).__name__)
            self._away = True
            return None
        self._away = False
        return page

    def _rendered(self, page: StreamPage | None) -> bytes:
        """The blocks of a page. The mark moves on, also past what is left out."""
        if page is None:
            return b""
        organisation = self._place.organisation
        wanted = [event for event in page.events if self._wanted.passes(event)]
        if page.events:
            last = page.events[-1]
            self._mark = StreamCursor(last.position, last.fanned_out_at)
        if not page.full:
            # Also past what others have: all that is up to there has been seen, and need not be looked at.
            self._mark = StreamCursor(max(self._mark.position, page.newest), page.at)
        STREAM_EVENTS.inc(len(wanted))
        return b"".join(
            format_event_block(event, organisation, self._hub.installation.base_url) for event in wanted
        )

    async def _pause(self) -> None:
        if self._place.ended:
            return
        patience = self._hub.settings.stream_keepalive_s - self._silent_for()
        until_check = self._check_at - time.monotonic()
        longest = max(0.0, min(patience, until_check, _AGAIN_S if self._away else patience))
        with suppress(TimeoutError):
            async with asyncio.timeout(longest):
                await self._place.woken.wait()

    def _silent_for(self) -> float:
        return time.monotonic() - self._written

    @property
    def token(self) -> str:
        """Where the client is: what it gives back to go on from here."""
        return self._mark.token(self._place.organisation)
