"""Streams measurements to one client as Server-Sent Events, with a filter and tokens to resume from."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple
from uuid import UUID

import msgspec
from fastapi.sse import format_sse_event

from app.catalogue.metrics import COLUMNS
from app.measurement_stream.formats.csv_lines import encode_line
from app.measurement_stream.formats.format_registry import FORMATS, FormatName
from app.measurement_stream.item_filter import narrow_item
from app.measurement_stream.items import Item, StreamFilter
from app.measurement_stream.prometheus_metrics import MEASUREMENT_STREAM_ITEMS
from app.measurement_stream.stream_cursor import MeasurementCursor
from app.measurement_stream.stream_tail import MeasurementHub, TailPage, read_tail_page
from app.platform.db.database import DATABASE_ERRORS, RawConnection
from app.platform.http.streaming.slot_stream import SlotStream
from app.platform.http.streaming.stream_slots import StreamSlot
from app.platform.identity.grant_access import record_granted_part
from app.platform.kernel.errors import UnauthorisedError
from app.platform.kernel.instants import US_PER_S, format_us
from app.platform.kernel.tenant_scope import TenantScope
from app.platform.observability.metrics_and_logs import get_logger

RESET: Final = "stream.reset"

# An idle stream reads the database's time, so that its token does not expire.
_REFRESH_S: Final = 60.0
# A stream by a grant ends so soon after the grant, also while it is idle.
_GRANT_CHECK_S: Final = 5.0
# Each block of a stream by a grant is recorded first, so that it gets two a second at most.
_GRANT_PACE_S: Final = 0.5
_log = get_logger(__name__)


class StreamRequest(NamedTuple):
    """What a client streams.

    Attributes:
        organisation: the organisation.
        tenant_scope: the sites of it that the client may see.
        filter: which items.
        format: of the data.
    """

    organisation: UUID
    tenant_scope: TenantScope
    filter: StreamFilter
    format: FormatName


def format_reset_event(oldest_us: int | None, cursor: MeasurementCursor, organisation: UUID) -> bytes:
    """Format the event that reports missing items: those before `oldest_us` (None: now) were deleted."""
    data = {
        "type": RESET,
        "oldest": None if oldest_us is None else format_us(oldest_us),
        "detail": "You have missed items that are no longer stored. Read their samples with "
        "GET /v1/readings/export. The items that are still stored follow.",
    }
    return format_sse_event(
        event=RESET, data_str=msgspec.json.encode(data).decode(), id=cursor.token(organisation)
    )


def format_item_event(item: Item, format_: FormatName, metrics: tuple[str, ...] | None) -> bytes:
    """Format an item as an event, whose `id` is the token to resume after it."""
    encode_item = FORMATS[format_].encode_item
    if encode_item is None:
        data = encode_line(item, COLUMNS if metrics is None else metrics).rstrip()
    else:
        data = encode_item(item).decode()
    token = MeasurementCursor.of(item).token(item.organisation_id)
    return format_sse_event(event=item.kind, data_str=data, id=token)


class ItemStream(SlotStream[TailPage]):
    """One stream of measurements.

    Args:
        hub: provides connections, and the newest items of the organisation.
        slot: the slot of this stream.
        request: what is streamed.
        cursor: the offset at which it begins.
        allowed: checks whether the caller's key is still valid.
        reset: the event that reports missing items, if there are any.
    """

    def __init__(
        self,
        hub: MeasurementHub,
        slot: StreamSlot,
        *,
        request: StreamRequest,
        cursor: MeasurementCursor,
        allowed: Callable[[], Awaitable[bool]],
        reset: bytes = b"",
    ) -> None:
        check_every_s = None if request.tenant_scope.grant is None else _GRANT_CHECK_S
        super().__init__(hub, slot, allowed=allowed, reset=reset, check_every_s=check_every_s)
        self._measurements = hub
        self._request = request
        self._cursor = cursor
        self._refreshed = time.monotonic()
        # What was formatted, and is not recorded yet as a use of the grant.
        self._granted: list[Item] = []
        self._recorded_at = 0.0

    @property
    def token(self) -> str:
        """The token with which the client resumes from here."""
        return self._cursor.token(self._request.organisation)

    def find_page(self) -> TailPage | None:
        """Return the next page of the newest items, unless this stream is further behind.

        They are all items of the organisation: a stream by a grant reads its own.
        """
        if self._request.tenant_scope.grant is not None:
            return None
        tail = self._measurements.find_tail(self._request.organisation)
        page = None if tail is None else tail.read_after(self._cursor.offset)
        if page is not None and not page.items and time.monotonic() - self._refreshed >= _REFRESH_S:
            return None
        return page

    async def read_page(self, connection: RawConnection) -> TailPage:
        """Read the next page of the items that pass the filter."""
        self._refreshed = time.monotonic()
        request = self._request
        return await read_tail_page(connection, request.tenant_scope, self._cursor.offset, request.filter)

    def format_page(self, page: TailPage) -> tuple[bytes, bool]:
        """Format the items of a page that pass the filter, and advance the offset past all of them."""
        request = self._request
        key = (request.format, request.filter.metrics)
        blocks: list[bytes] = []
        for each in page.items:
            block = each.encoded.get(key)
            item = narrow_item(each.item, request.filter, request.tenant_scope.sites)
            if item is None:
                continue
            if block is None:
                block = each.encoded[key] = format_item_event(item, request.format, request.filter.metrics)
            blocks.append(block)
            if request.tenant_scope.grant is not None:
                self._granted.append(item)
        at_s = 0 if page.next_us is None else page.next_us // US_PER_S
        self._cursor = MeasurementCursor(page.next, max(self._cursor.at_s, at_s))
        MEASUREMENT_STREAM_ITEMS.inc(len(blocks))
        return b"".join(blocks), page.full

    async def admit(self) -> bool:
        """Check a grant again before its items leave, and record them; other streams continue."""
        if not self._granted:
            return True
        await asyncio.sleep(max(0.0, self._recorded_at + _GRANT_PACE_S - time.monotonic()))
        items, self._granted = self._granted, []
        self._recorded_at = time.monotonic()
        if not await self._allowed():
            return False
        try:
            await record_granted_part(
                "stream",
                sum(len(item.values) for item in items),
                sites={item.site_id for item in items},
                metrics={name for item in items for name in item.values},
            )
        except UnauthorisedError:
            return False
        except DATABASE_ERRORS as error:
            # The client resumes before these items.
            _log.warning("grant_use_not_recorded", error=repr(error))
            return False
        return True
