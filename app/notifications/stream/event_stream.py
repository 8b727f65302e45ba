"""Streams events to one client as Server-Sent Events, with a filter and tokens to resume from."""

from collections.abc import Awaitable, Callable
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
from app.notifications.stream.stream_wakeup_hub import StreamHub
from app.platform.db.database import RawConnection
from app.platform.http.contract.pagination import decode_cursor, encode_cursor
from app.platform.http.streaming.slot_stream import SlotStream
from app.platform.http.streaming.stream_slots import StreamSlot
from app.platform.kernel.errors import InvalidError
from app.platform.kernel.instants import format_us, from_datetime

RESET: Final = "stream.reset"
_CURSOR: Final = "events"
# Events that are about to be pruned may be deleted before they are read.
_MARGIN: Final = timedelta(minutes=1)


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


def _whole(value: object) -> int:
    """Check that a part of a token is an integer (TypeError): `int` would convert 7.9, "7" and true."""
    if type(value) is not int:
        raise TypeError("not a whole number")
    return value


def _text(instant: datetime) -> str:
    return format_us(from_datetime(instant.astimezone(UTC)))


class EventStream(SlotStream[StreamPage]):
    """One stream of events.

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
        super().__init__(hub, slot, allowed=allowed, reset=reset)
        self._installation = hub.installation
        self._mark = mark
        self._filter = filter_

    async def read_page(self, connection: RawConnection) -> StreamPage:
        """Read the next page of events."""
        return await read_event_page(connection, self._slot.organisation, self._mark.position)

    def format_page(self, page: StreamPage) -> tuple[bytes, bool]:
        """Format the blocks of a page, and advance the offset, also past filtered events."""
        organisation = self._slot.organisation
        passed = [event for event in page.events if self._filter.passes(event)]
        if page.events:
            last = page.events[-1]
            self._mark = StreamCursor(last.position, last.fanned_out_at)
        if not page.full:
            # Also past other organisations' events: all up to there has been read.
            self._mark = StreamCursor(max(self._mark.position, page.newest), page.at)
        STREAM_EVENTS.inc(len(passed))
        url = self._installation.base_url
        return b"".join(format_event_block(event, organisation, url) for event in passed), page.full

    @property
    def token(self) -> str:
        """The token with which the client resumes from here."""
        return self._mark.token(self._slot.organisation)
