"""Streams events to one client as Server-Sent Events, with a filter and tokens to resume from.

A stream holds no database connection while it waits for its client.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple
from uuid import UUID

import msgspec
from fastapi.sse import format_sse_event

from app.notifications.delivery.alert_grouping import parse_alert_data
from app.notifications.delivery.transport_types import build_message_id
from app.notifications.events.event_types import SEVERITIES
from app.notifications.formats.native_and_cloudevents import add_message_id, build_native_body
from app.notifications.prometheus_metrics import STREAM_EVENTS
from app.notifications.stream.stream_queries import StreamedEvent, StreamHead, StreamPage, read_event_page
from app.notifications.stream.stream_wakeup_hub import DATABASE_TIMEOUT_S, StreamHub, StreamSlot
from app.platform.db.notification_listener import LISTEN_ERRORS, wait_for_event
from app.platform.http.contract.pagination import decode_cursor, encode_cursor
from app.platform.kernel.errors import InvalidError
from app.platform.kernel.instants import format_us, from_datetime
from app.platform.observability.metrics_and_logs import get_logger

RESET: Final = "stream.reset"
CHECK_EVERY_S: Final = 60.0
"""Seconds between two checks of the caller's key."""

_CURSOR: Final = "events"
_RETRY_MS: Final = 3000
_RETRY_S: Final = 1.0
# Events that are about to be pruned may be deleted before they are read.
_MARGIN: Final = timedelta(minutes=1)
_log = get_logger(__name__)


class StreamCursor(NamedTuple):
    """A client's offset in the stream: a position and a time.

    No event of the organisation with a higher position was fanned out before `at`. The time shows whether
    events after it may have been pruned; the position cannot, because positions have gaps.
    """

    position: int
    at: datetime

    def token(self, organisation: UUID) -> str:
        """Encode the token with which the client resumes from here."""
        return encode_cursor(_CURSOR, organisation.hex, self.position, int(self.at.timestamp()))

    @classmethod
    def read(cls, token: str, organisation: UUID, newest: StreamHead) -> "StreamCursor":
        """Decode a token.

        Raises:
            InvalidError: `invalid_cursor`: not a token of this organisation's stream, or one in the future.
        """
        refused = InvalidError(
            "The id does not belong to an event of this stream. Connect without it, and read the events "
            "that you "
            "may have missed with GET /v1/alerts.",
            code="invalid_cursor",
        )
        try:
            owner, position, seconds = decode_cursor(_CURSOR, token, UUID, _whole, _whole)
            at = datetime.fromtimestamp(seconds, UTC)
        except (InvalidError, ValueError, OverflowError, OSError):
            raise refused from None
        # A forged token would hide that events are missing.
        if owner != organisation or not 0 <= position <= newest.given or at > newest.at + _MARGIN:
            raise refused
        return cls(position, at)

    def is_retained(self, newest: StreamHead, keep_days: int) -> bool:
        """Check whether all events after it are still stored."""
        return self.at >= newest.at - timedelta(days=keep_days) + _MARGIN


class StreamFilter(NamedTuple):
    """The filter of a stream. None means no filter.

    `min_severity` leaves out alerts that never had that severity; events without a severity pass.
    """

    types: frozenset[str] | None = None
    site: UUID | None = None
    min_severity: str | None = None

    def passes(self, event: StreamedEvent) -> bool:
        """Check whether an event passes the filter."""
        if self.types is not None and event.type not in self.types:
            return False
        if self.site is not None and event.site_id != self.site:
            return False
        if self.min_severity is None:
            return True
        alert = parse_alert_data(event.type, event.payload)
        # As for endpoints: the end of an alert passes if the alert once had the severity.
        severity = None if alert is None else alert.highest_severity or alert.severity
        return severity not in SEVERITIES or (
            SEVERITIES.index(severity) >= SEVERITIES.index(self.min_severity)
        )


def format_reset_event(oldest: datetime | None, mark: StreamCursor, organisation: UUID) -> bytes:
    """Format the event that reports missing events: those before `oldest` (None: before now) were deleted."""
    data = {
        "oldest": None if oldest is None else _text(oldest),
        "detail": "You have missed events that are no longer stored. Read the firing and the resolved "
        "alerts with "
        "GET /v1/alerts. The events that are still stored follow.",
    }
    body = build_native_body(RESET, mark.at, msgspec.json.encode(data).decode())
    return format_sse_event(event=RESET, data_str=body.decode(), id=mark.token(organisation))


def format_event_block(event: StreamedEvent, organisation: UUID, public_url: str | None = None) -> bytes:
    """Format an event. Its data is a webhook's body with the `webhook-id` as `id`."""
    body = build_native_body(event.type, event.created_at, event.payload, public_url)
    data = add_message_id(body, build_message_id(event.id)).decode()
    token = StreamCursor(event.position, event.fanned_out_at).token(organisation)
    return format_sse_event(event=event.type, data_str=data, id=token)


def format_keep_alive(token: str) -> bytes:
    """Format a comment that keeps the connection alive and contains the current token.

    It is a comment, not an `id` field: some clients (httpx-sse) take an `id` with an empty line for an event
    without data, and fail to parse it as JSON.
    """
    return f": keep-alive {token}\n".encode()


def _whole(value: object) -> int:
    """Check that a part of a token is an integer (TypeError): `int` would convert 7.9, "7" and true."""
    if type(value) is not int:
        raise TypeError("not a whole number")
    return value


def _text(instant: datetime) -> str:
    return format_us(from_datetime(instant.astimezone(UTC)))


class EventStream:
    """One stream, which lasts until its slot ends or the caller's key is no longer valid.

    Args:
        hub: Provides database connections and settings.
        slot: The slot of this stream.
        mark: The offset at which it begins.
        filter_: The filter.
        allowed: Checks whether the caller's key is still valid.
        reset: The event that reports missing events, if there are any.
    """

    def __init__(
        self,
        hub: StreamHub,
        slot: StreamSlot,
        *,
        mark: StreamCursor,
        filter_: StreamFilter,
        allowed: Callable[[], Awaitable[bool]],
        reset: bytes = b"",
    ) -> None:
        self._hub = hub
        self._slot = slot
        self._mark = mark
        self._filter = filter_
        self._allowed = allowed
        self._reset = reset
        self._written = time.monotonic()
        self._check_at = self._next_check()
        self._away = False

    async def blocks(self) -> AsyncIterator[bytes]:
        """Yield the bytes to write; the next events are read after the client has taken the last ones."""
        # Lines without an empty line after them are not an event for any client.
        yield b"retry: %d\n" % _RETRY_MS + (self._reset or format_keep_alive(self.token))
        while await self._may_continue():
            self._slot.woken.clear()
            page = await self._read()
            blocks = self._format_page(page)
            if not blocks and self._silent_for() >= self._hub.settings.stream_keepalive_s:
                blocks = format_keep_alive(self.token)
            if blocks:
                self._written = time.monotonic()
                yield blocks
            if page is None or not page.full:
                await self._pause()

    async def _may_continue(self) -> bool:
        if not self._slot.ended and time.monotonic() >= self._check_at:
            self._check_at = self._next_check()
            if not await self._allowed():
                return False
        return not self._slot.ended

    def _next_check(self) -> float:
        # With jitter: after a restart all clients reconnect in the same second.
        return time.monotonic() + CHECK_EVERY_S * random.uniform(0.8, 1.0)  # noqa: S311 (no secrecy)

    async def _read(self) -> StreamPage | None:
        """Read the next page; None while the database is unavailable."""
        try:
            async with asyncio.timeout(DATABASE_TIMEOUT_S), self._hub.pool.acquire() as connection:
                page = await read_event_page(connection, self._slot.organisation, self._mark.position)
        except LISTEN_ERRORS as error:
            if not self._away:
                # Logged once: the hub logs it each second, and there are hundreds of streams.
                _log.info("stream_read_failed", error=str(error) or type(error).__name__)
            self._away = True
            return None
        self._away = False
        return page

    def _format_page(self, page: StreamPage | None) -> bytes:
        """Format the blocks of a page, and advance the offset, also past filtered events."""
        if page is None:
            return b""
        organisation = self._slot.organisation
        passed = [event for event in page.events if self._filter.passes(event)]
        if page.events:
            last = page.events[-1]
            self._mark = StreamCursor(last.position, last.fanned_out_at)
        if not page.full:
            # Also past other organisations' events: all up to there has been read.
            self._mark = StreamCursor(max(self._mark.position, page.newest), page.at)
        STREAM_EVENTS.inc(len(passed))
        return b"".join(
            format_event_block(event, organisation, self._hub.installation.base_url) for event in passed
        )

    async def _pause(self) -> None:
        if self._slot.ended:
            return
        until_keepalive = self._hub.settings.stream_keepalive_s - self._silent_for()
        until_check = self._check_at - time.monotonic()
        longest = max(0.0, min(until_keepalive, until_check, _RETRY_S if self._away else until_keepalive))
        await wait_for_event(self._slot.woken, longest)

    def _silent_for(self) -> float:
        return time.monotonic() - self._written

    @property
    def token(self) -> str:
        """The token with which the client resumes from here."""
        return self._mark.token(self._slot.organisation)
