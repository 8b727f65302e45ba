"""Finds the items of a subscription's next batch in bounded time, and stores the progress until it is full.

While a batch is not full, only what was stored since the last look is read, to count it. The items themselves
are read again when they are due: what may no longer be seen by then is left out.
"""

import time
from collections.abc import AsyncIterator
from typing import Final, NamedTuple

import asyncpg

from app.measurement_stream.item_reader import WHOLE_COMMIT, read_items
from app.measurement_stream.items import Item, ItemPage, StreamPosition
from app.measurement_stream.measurement_batch import locate_item
from app.measurement_stream.subscriptions import lease_repository
from app.measurement_stream.subscriptions.batch_repository import PendingBatch
from app.measurement_stream.subscriptions.leased_subscription import LeasedSubscription, WaitingItems
from app.platform.db.database import RawConnection
from app.platform.kernel.instants import to_datetime
from app.platform.kernel.tenant_scope import TenantScope

_RECHECK_S: Final = 0.5
_LONGEST_RECHECK_S: Final = 15.0
_RECHECKED_AGE: Final = 0.25
"""What has joined a batch that waits is counted again when the batch is older by this fraction."""

_LEAST_PAUSE_S: Final = 0.25
# How long a search lasts where a filter leaves most items out, and once its first item is `max_age` old.
_LONGEST_SEARCH_S: Final = 5.0
_LATE_SEARCH_S: Final = 0.5


class LeaseEndedError(Exception):
    """Another process may have the subscription: nothing may be sent or written."""


class FoundItems(NamedTuple):
    """What a search has found.

    Attributes:
        items: the items; empty: nothing is due.
        next: the offset up to which everything was read.
        wait_s: without items: when to look again (s).
    """

    items: list[Item]
    next: StreamPosition
    wait_s: float = 0.0


class BatchSearch:
    """Reads the stream for one subscription while its lease lasts.

    Args:
        pool: Connections to the database; none is held between pages.
        subscription: The subscription, whose cursor moves past what is filtered.
        lease_s: How long a lease lasts.
    """

    def __init__(self, pool: asyncpg.Pool, subscription: LeasedSubscription, lease_s: float) -> None:
        self._pool = pool
        self._subscription = subscription
        self._lease_s = lease_s

    async def renew_lease(self, connection: RawConnection) -> None:
        """Extend the lease (LeaseEndedError)."""
        subscription = self._subscription
        renewed = await lease_repository.renew_lease(
            connection, subscription.id, subscription.lease, self._lease_s
        )
        if renewed is None:
            raise LeaseEndedError
        subscription.lease, subscription.now = renewed["leased_until"], renewed["now"]

    async def advance(self, to: StreamPosition) -> None:
        """Move the cursor past items that are not for this subscription, never back."""
        subscription = self._subscription
        if to > subscription.cursor:
            async with self._pool.acquire() as connection:
                await lease_repository.advance_cursor(connection, subscription.id, subscription.lease, to)
            subscription.cursor = to

    async def read_range(self, scope: TenantScope, pending: PendingBatch, most: int) -> list[Item]:
        """Read the items of a batch again, up to a number: more than it had may be seen now."""
        found: list[Item] = []
        before = StreamPosition(pending.first.position, pending.first.index - 1)
        async for page in self._read_pages(scope, before, most):
            found += [item for item in page.items if locate_item(item) <= pending.last]
            if page.next >= pending.last:
                break
        return found

    async def find_due_items(self, scope: TenantScope) -> FoundItems:
        """Find the items after the cursor; they are due if they are enough, or old enough."""
        subscription = self._subscription
        most = subscription.most_items
        if subscription.waiting is not None:
            wait_s = await self._count_more(scope, subscription.waiting, most)
            if wait_s is not None:
                return FoundItems([], subscription.cursor, wait_s)
        found: list[Item] = []
        is_late, began = False, time.monotonic()
        async for page in self._read_pages(scope, subscription.cursor, most):
            if not found:
                await self.advance(_place_before(page.items[0]) if page.items else page.next)
            found += page.items
            is_late = bool(found) and _age_s(found[0], page) >= subscription.max_age_s
            if time.monotonic() - began >= (_LATE_SEARCH_S if is_late else _LONGEST_SEARCH_S):
                break
        if not found:
            subscription.waiting = None
            return FoundItems([], page.next, 0.0 if page.full else _LEAST_PAUSE_S)
        waiting = WaitingItems(to_datetime(found[0].positioned_us), page.next, len(found))
        subscription.waiting = waiting
        if page.full or len(found) >= most or is_late:
            return FoundItems(found, page.next)
        return FoundItems([], page.next, self._recheck_s(waiting))

    async def _count_more(self, scope: TenantScope, waiting: WaitingItems, most: int) -> float | None:
        """Count what has joined the items that wait; returns when to look again, or None: they are due."""
        if self._left_s(waiting) <= 0:
            return None
        began = time.monotonic()
        async for page in self._read_pages(scope, waiting.searched, most - waiting.found):
            waiting = WaitingItems(waiting.since, page.next, waiting.found + len(page.items))
            self._subscription.waiting = waiting
            if waiting.found < most and time.monotonic() - began >= _LONGEST_SEARCH_S:
                return 0.0
        return None if waiting.found >= most else self._recheck_s(waiting)

    def _left_s(self, waiting: WaitingItems) -> float:
        """Return how long items may still wait."""
        subscription = self._subscription
        return subscription.max_age_s - (subscription.now - waiting.since).total_seconds()

    def _recheck_s(self, waiting: WaitingItems) -> float:
        left_s = self._left_s(waiting)
        age_s = self._subscription.max_age_s - left_s
        return min(max(_RECHECK_S, min(age_s * _RECHECKED_AGE, _LONGEST_RECHECK_S)), left_s)

    async def _read_pages(
        self, scope: TenantScope, after: StreamPosition, most: int
    ) -> AsyncIterator[ItemPage]:
        """Read pages after an offset, until they have so many items, or all that there are."""
        while most > 0:
            async with self._pool.acquire() as connection:
                page = await read_items(connection, scope, after, self._subscription.filter, most)
                if page.full:
                    await self.renew_lease(connection)
            yield page
            most -= len(page.items)
            after = page.next
            if not page.full:
                return


def _place_before(item: Item) -> StreamPosition:
    """Return the offset before an item."""
    if item.index == 0:
        return StreamPosition(item.position - 1, WHOLE_COMMIT)
    return StreamPosition(item.position, item.index - 1)


def _age_s(item: Item, page: ItemPage) -> float:
    """Return how long an item had its position when a page was read."""
    return (page.read_us - item.positioned_us) / 1e6
