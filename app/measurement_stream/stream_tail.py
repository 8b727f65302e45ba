"""Holds the newest items of an organisation in memory, for all its streams in this process.

Ten subscribers cost one query and one encoding of each item. Streams that are further behind read for
themselves. Items leave the window after two seconds: what was erased since, or whose purpose has ended, is
not sent from it.
"""

import time
from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple
from uuid import UUID

import asyncpg

from app.measurement_stream.item_reader import WHOLE_COMMIT, read_items
from app.measurement_stream.items import Item, StreamFilter, StreamPosition
from app.measurement_stream.prometheus_metrics import MEASUREMENT_STREAMS_OPEN
from app.platform.db.database import Database, RawConnection
from app.platform.http.streaming.stream_slots import StreamSlots
from app.platform.http.streaming.wakeup_hub import POOL, WakeupHub
from app.platform.kernel.tenant_scope import TenantScope
from app.timeseries.commit_log.stream_positions import (
    CHANNEL,
    StreamHead,
    read_stream_head,
    read_updated_organisations,
)

PAGE: Final = 1000
"""The most items of a page."""

_SHOWN_FOR_S: Final = 2.0
_MOST: Final = 5 * PAGE
_NO_FILTER: Final = StreamFilter()


@dataclass(slots=True)
class TailItem:
    """An item with its encodings, which all streams share."""

    item: Item
    encoded: dict[object, bytes] = field(default_factory=dict)


class TailPage(NamedTuple):
    """Items in order.

    Attributes:
        items: the items.
        next: everything up to here has been read.
        full: whether there may be more items now.
        read_at: when they were read (monotonic seconds).
        next_us: no commit after `next` got its position before this time (µs since the epoch, by the
            database's clock); None: unknown.
    """

    items: list[TailItem]
    next: StreamPosition
    full: bool
    read_at: float
    next_us: int | None


class StreamTail:
    """The newest items of one organisation.

    Args:
        begin: the offset after which it holds all items.
        clock: a monotonic clock in seconds.
    """

    def __init__(self, begin: StreamPosition, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._begin = begin
        self._pages: list[TailPage] = []

    @property
    def end(self) -> StreamPosition:
        """The offset up to which it has been read."""
        return self._pages[-1].next if self._pages else self._begin

    def add(self, page: TailPage) -> None:
        """Add the page that follows the end, and drop old ones."""
        self._pages.append(page)
        self._drop_old()

    def read_after(self, offset: StreamPosition) -> TailPage | None:
        """Return the items after an offset, a page at most; None if some of them are not here."""
        self._drop_old()
        if offset < self._begin:
            return None
        begin = bisect_right(self._pages, offset, key=lambda page: page.next)
        if begin == len(self._pages):
            # News wake the reader. Its offset is ahead if it has read the head more recently.
            return TailPage([], offset, full=False, read_at=self._clock(), next_us=None)
        page = self._pages[begin]
        items = page.items
        if items and (items[0].item.position, items[0].item.index) <= (offset.position, offset.index):
            first = bisect_right(
                items, offset, key=lambda each: StreamPosition(each.item.position, each.item.index)
            )
            items = items[first:]
        return page._replace(items=items, full=begin + 1 < len(self._pages))

    def _drop_old(self) -> None:
        oldest = self._clock() - _SHOWN_FOR_S
        held = sum(len(page.items) for page in self._pages)
        dropped = 0
        while dropped < len(self._pages) and (self._pages[dropped].read_at < oldest or held > _MOST):
            held -= len(self._pages[dropped].items)
            dropped += 1
        if dropped:
            self._begin = self._pages[dropped - 1].next
            del self._pages[:dropped]


class MeasurementHub(WakeupHub):
    """The streams of measurements of one process.

    Args:
        slots: the limits of streams.
        database: opens the connection that listens.
        pool: the connections with which streams read.
        poll_pool: the connections for clients that poll, whose long queries must not delay streams.
        keep_days: how long the commit log is stored (days).
    """

    def __init__(
        self,
        slots: StreamSlots,
        database: Database,
        pool: asyncpg.Pool,
        poll_pool: asyncpg.Pool,
        keep_days: int,
    ) -> None:
        super().__init__("measurements", CHANNEL, MEASUREMENT_STREAMS_OPEN, slots, database, pool)
        self.poll_pool = poll_pool
        self.keep_days = keep_days
        self._tails: dict[UUID, StreamTail] = {}
        # The organisations with items after the end of their tails.
        self._behind: set[UUID] = set()

    @classmethod
    async def of(cls, slots: StreamSlots, database: Database, *, keep_days: int) -> "MeasurementHub":
        """Create a hub with its own pools, which connect on demand."""
        pool = await database.pool(size=POOL, name="measurements", eager=False)
        poll_pool = await database.pool(size=POOL, name="measurement polls", eager=False)
        return cls(slots, database, pool, poll_pool, keep_days)

    async def close(self) -> None:
        """Stop, and close the connections."""
        await super().close()
        await self.poll_pool.close()

    def find_tail(self, organisation: UUID) -> StreamTail | None:
        """Return the newest items of an organisation, if this process holds them."""
        return self._tails.get(organisation)

    async def read_newest_position(self, connection: RawConnection) -> int:
        """Read the newest position, and begin the tails there."""
        head = await read_stream_head(connection)
        self._tails = {slot.organisation: _begin_tail(head) for slot in self.list_slots()}
        self._behind.clear()
        return head.position

    async def read_updated_organisations(self, connection: RawConnection, after: int) -> Mapping[UUID, int]:
        """Find the organisations with news, and read a page of the news of each that has streams.

        Organisations with further pages follow at the next look, which is at once. So a backlog of one
        delays the others by a page.
        """
        news = await read_updated_organisations(connection, after)
        organisations = {slot.organisation for slot in self.list_slots()}
        self._tails = {owner: tail for owner, tail in self._tails.items() if owner in organisations}
        self._behind &= self._tails.keys()
        for organisation in self._behind | (organisations & news.keys()):
            if organisation not in self._tails:
                self._tails[organisation] = StreamTail(StreamPosition(after, WHOLE_COMMIT))
            self._behind.add(organisation)
            if not await self._extend(connection, organisation):
                self._behind.discard(organisation)
        if self._behind:
            self._wakeup.set()
        return news

    async def _extend(self, connection: RawConnection, organisation: UUID) -> bool:
        """Read a page of an organisation, and wake its streams; returns whether there may be more."""
        tail = self._tails[organisation]
        page = await read_tail_page(connection, TenantScope.of([organisation]), tail.end)
        tail.add(page)
        for slot in self.slots.list_of(self._topic, organisation):
            slot.woken.set()
        return page.full


def _begin_tail(head: StreamHead) -> StreamTail:
    return StreamTail(StreamPosition(head.position, WHOLE_COMMIT))


async def read_tail_page(
    connection: RawConnection,
    tenant_scope: TenantScope,
    after: StreamPosition,
    filter_: StreamFilter = _NO_FILTER,
) -> TailPage:
    """Read the next page of items, by default of all items of the scope."""
    read_at = time.monotonic()
    page = await read_items(connection, tenant_scope, after, filter_, PAGE)
    return TailPage([TailItem(item) for item in page.items], page.next, page.full, read_at, page.next_us)
