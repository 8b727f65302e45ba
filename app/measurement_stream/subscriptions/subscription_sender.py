"""Sends the items of one leased subscription, batch after batch, and advances its cursor.

The cursor moves only after the sink has confirmed a batch. Before each batch, the lease is renewed and the
creator's access is checked again; the items are read with it, so what may no longer be seen does not leave.

    lease ─▶ access ─▶ pending batch, or items after the cursor ─▶ log ─▶ sink ─▶ cursor, log, health
"""

import asyncio
import random
import time
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final, NamedTuple
from uuid import UUID

import asyncpg

from app.measurement_stream.items import Item, StreamPosition
from app.measurement_stream.measurement_batch import MeasurementBatch
from app.measurement_stream.sinks.influxdb_sink import REJECTED
from app.measurement_stream.sinks.sink_types import MeasurementSink
from app.measurement_stream.subscriptions import batch_repository, lease_repository
from app.measurement_stream.subscriptions.batch_repository import AttemptEntry, PendingBatch
from app.measurement_stream.subscriptions.batch_search import BatchSearch, LeaseEndedError
from app.measurement_stream.subscriptions.leased_subscription import LeasedSubscription
from app.measurement_stream.subscriptions.prometheus_metrics import (
    MEASUREMENT_BATCH_ITEMS,
    MEASUREMENT_BATCH_SECONDS,
    MEASUREMENT_BATCHES,
    MEASUREMENT_REJECTED_ITEMS,
)
from app.measurement_stream.subscriptions.subscription_notices import announce_notice, enqueue_notice
from app.notifications.delivery.endpoint_health import HealthAction, HealthLimits, update_health
from app.notifications.delivery.transport_types import DELIVERED, AttemptOutcome
from app.notifications.events.outbox import OutboxRecord
from app.platform.db.database import RawConnection
from app.platform.kernel.tenant_scope import TenantScope
from app.platform.observability.metrics_and_logs import get_logger

ACCESS_LOST: Final = "access_lost"
"""`disabled_reason` of a subscription whose creator may no longer read measurements."""

_CUT: Final = (
    "More items of its range may be seen now than fit a batch. Those after {} were left out: rewind the "
    "subscription to that item to get them."
)
_FIRST_BACKOFF_S: Final = 1.0
_NOWHERE: Final = StreamPosition(0, -1)
_TOO_LARGE: Final = 413
_LONGEST_TURN_S: Final = 10.0
# After a 413, how much larger a batch may be than the one before it that was confirmed.
_GROWTH: Final = 1.02

_log = get_logger(__name__)


class SenderLimits(NamedTuple):
    """The limits of the worker.

    Attributes:
        lease_s: how long a lease lasts: longer than an attempt.
        health: when a failing sink is slowed and disabled.
    """

    lease_s: float
    health: HealthLimits


class _NextBatch(NamedTuple):
    """What is to be sent.

    Attributes:
        batch: the items; None: nothing is due.
        last: the offset of the batch's end.
        is_replay: it was sent before, and does not move the cursor.
        note: what the log says of it after a success.
        wait_s: without a batch: when to look again (s).
    """

    batch: MeasurementBatch | None
    last: StreamPosition
    is_replay: bool = False
    note: str | None = None
    wait_s: float = 0.0


class SubscriptionSender:
    """Serves one subscription while its lease lasts.

    Args:
        pool: Connections to the database; none is held while a sink is awaited.
        subscription: The subscription.
        sink: Its sink.
        limits: The limits of the worker.
    """

    def __init__(
        self,
        pool: asyncpg.Pool,
        subscription: LeasedSubscription,
        sink: MeasurementSink,
        limits: SenderLimits,
    ) -> None:
        self._pool = pool
        self._subscription = subscription
        self._sink = sink
        self._limits = limits
        self._search = BatchSearch(pool, subscription, limits.lease_s)
        self._wait_s = 0.0
        self._was_replay = False

    async def run(self, stop: asyncio.Event) -> None:
        """Send batches until nothing is due, an attempt fails, or the turn is over; then return the lease.

        Args:
            stop: ends the turn after the running attempt.
        """
        ends = time.monotonic() + _LONGEST_TURN_S
        try:
            while not stop.is_set() and await self._send_next() and time.monotonic() < ends:
                pass
        except LeaseEndedError:
            return
        async with self._pool.acquire() as connection:
            await lease_repository.release_lease(connection, self._subscription, self._wait_s)

    async def _send_next(self) -> bool:
        """Send the next batch; returns whether another one may follow."""
        scope = await self._check_access()
        if scope is None:
            return False
        following = await self._find_next(scope)
        if following.batch is None:
            self._wait_s = following.wait_s
            return False
        started_at = self._subscription.now
        try:
            outcome = await self._sink.send(following.batch, started_at)
        except Exception:  # noqa: BLE001 (logged)
            # Recorded like any failure: otherwise the batch would be repeated without a back-off.
            _log.exception("measurement_attempt_failed", subscription=str(self._subscription.id))
            outcome = AttemptOutcome("internal_error", None, None, 0.0)
        return await self._record(following, outcome, started_at)

    async def _check_access(self) -> TenantScope | None:
        """Renew the lease, and return what may be read now; None: nothing."""
        subscription = self._subscription
        async with self._pool.acquire() as connection:
            await self._search.renew_lease(connection)
            may_read, sites = await lease_repository.find_readable_sites(connection, subscription.id)
            if not may_read:
                await self._disable_without_access(connection)
                return None
        return TenantScope.of([subscription.organisation_id], sites)

    async def _disable_without_access(self, connection: RawConnection) -> None:
        subscription, notice = self._subscription, None
        async with connection.transaction():
            if await lease_repository.disable_subscription(
                connection, subscription.id, subscription.lease, ACCESS_LOST
            ):
                notice = await enqueue_notice(connection, subscription, ACCESS_LOST)
        if notice is not None:
            await announce_notice(connection, notice)

    async def _find_next(self, scope: TenantScope) -> _NextBatch:
        if self._was_replay:
            # Replays and new items take turns.
            following = await self._find_following(scope, with_replays=False)
            if following.batch is not None:
                return following
        return await self._find_following(scope, with_replays=True)

    async def _find_following(self, scope: TenantScope, *, with_replays: bool) -> _NextBatch:
        while (pending := await self._find_pending(with_replays=with_replays)) is not None:
            if pending.is_test:
                return _NextBatch(self._repeat_batch([], pending), pending.last, pending.is_replay)
            most = self._count_allowed(pending)
            items = await self._search.read_range(scope, pending, most + 1)
            if len(items) > most and not pending.is_replay:
                await self._withdraw(pending)
            elif items:
                note = _CUT.format(items[most - 1].id) if len(items) > most else None
                batch = self._repeat_batch(items[:most], pending)
                return _NextBatch(batch, pending.last, pending.is_replay, note)
            else:
                await self._close_empty(pending)
        return await self._find_new(scope)

    def _repeat_batch(self, items: list[Item], pending: PendingBatch) -> MeasurementBatch:
        return replace(self._make_batch(items, pending.id), delivery=pending.delivery)

    def _count_allowed(self, pending: PendingBatch) -> int:
        """Return how many items a batch may have that is sent again.

        A replay may have more than it had: it can have been sent while some of its items were hidden.
        """
        if not pending.is_replay:
            return pending.item_count
        return max(pending.item_count, self._subscription.most_items)

    async def _withdraw(self, pending: PendingBatch) -> None:
        """Search again from the cursor: more items of the range may be seen now than the batch had.

        A receiver that has the batch would ignore further items under its id, and they may be too many.
        """
        async with self._pool.acquire() as connection:
            if not await batch_repository.delete_batch(connection, self._subscription.lease, pending.id):
                raise LeaseEndedError
        self._subscription.waiting = None

    async def _close_empty(self, pending: PendingBatch) -> None:
        async with self._pool.acquire() as connection:
            if not await batch_repository.close_empty_batch(connection, self._subscription.lease, pending.id):
                raise LeaseEndedError
        if not pending.is_replay:
            await self._search.advance(pending.last)

    async def _find_pending(self, *, with_replays: bool) -> PendingBatch | None:
        async with self._pool.acquire() as connection:
            return await batch_repository.find_pending_batch(
                connection, self._subscription.id, with_replays=with_replays
            )

    async def _find_new(self, scope: TenantScope) -> _NextBatch:
        """Write down the next batch, if items after the cursor are due."""
        found = await self._search.find_due_items(scope)
        if not found.items:
            return _NextBatch(None, found.next, wait_s=found.wait_s)
        subscription, batch = self._subscription, self._make_batch(found.items)
        async with self._pool.acquire() as connection:
            delivery = await batch_repository.add_batch(connection, subscription.lease, batch)
        if delivery is None:
            raise LeaseEndedError
        # Everything up to there was sent or left out.
        return _NextBatch(replace(batch, delivery=delivery), found.next)

    def _make_batch(self, items: list[Item], identifier: UUID | None = None) -> MeasurementBatch:
        subscription = self._subscription
        identity, metrics = (subscription.id, subscription.organisation_id), subscription.filter.metrics
        if identifier is None:
            return MeasurementBatch.of(*identity, items, metrics, subscription.content_configuration)
        return MeasurementBatch(identifier, *identity, items, metrics)

    async def _record(self, sent: _NextBatch, outcome: AttemptOutcome, started_at: datetime) -> bool:
        """Record an attempt; returns whether another batch may follow."""
        subscription, batch = self._subscription, sent.batch
        if batch is None:
            raise RuntimeError("nothing was sent")
        sink = subscription.row["sink"]
        MEASUREMENT_BATCHES.labels(sink, outcome.reason).inc()
        MEASUREMENT_BATCH_SECONDS.observe(outcome.duration_ms / 1000)
        self._was_replay = sent.is_replay
        ended_at = started_at + timedelta(milliseconds=outcome.duration_ms)
        if outcome.status == _TOO_LARGE and batch.items:
            if len(batch.items) > 1 and not sent.is_replay:
                await self._halve(batch, outcome, started_at, ended_at)
                return True
            # It cannot be smaller.
            outcome = outcome._replace(reason=REJECTED)
        action = self._update_health(outcome, started_at, ended_at)
        is_rejected = outcome.reason == REJECTED
        state = "delivered" if outcome.delivered else "rejected" if is_rejected else "pending"
        identity, count = (subscription.id, subscription.lease), len(batch.items)
        attempt = AttemptEntry.of(outcome, started_at)
        async with self._pool.acquire() as connection:
            async with connection.transaction():
                await lease_repository.lock_leased(connection, *identity)
                noted = attempt._replace(detail=sent.note) if outcome.delivered else attempt
                await batch_repository.record_attempt(
                    connection, subscription.lease, batch.id, noted, state=state, count=count
                )
                if state != "pending":
                    # A replay leaves the cursor where it is, also after a rewind.
                    last = _NOWHERE if sent.is_replay else sent.last
                    confirmed = count if outcome.delivered else 0
                    await lease_repository.confirm_items(connection, *identity, last, confirmed)
                notice = await self._record_health(connection, action, attempt.detail)
            if notice is not None:
                await announce_notice(connection, notice)
        if state == "pending":
            self._note_failure(outcome, action, ended_at, is_replay=sent.is_replay)
            return sent.is_replay and action is None and self._wait_s == 0
        (MEASUREMENT_BATCH_ITEMS if outcome.delivered else MEASUREMENT_REJECTED_ITEMS).labels(sink).inc(count)
        if not sent.is_replay:
            subscription.cursor, subscription.waiting = sent.last, None
            if outcome.delivered:
                self._allow_more(count)
        self._wait_s = _wait_of(subscription.health.open_until, ended_at)
        return self._wait_s == 0

    async def _record_health(
        self, connection: RawConnection, action: HealthAction | None, detail: str | None
    ) -> OutboxRecord | None:
        """Write the health of the sink, and disable the subscription if that follows; returns the notice."""
        subscription = self._subscription
        identity = (subscription.id, subscription.lease)
        is_ours = await lease_repository.record_health(connection, *identity, subscription.health, detail)
        if not is_ours or action is None:
            return None
        if action is not HealthAction.WARN:
            await lease_repository.disable_subscription(connection, *identity, str(action))
        return await enqueue_notice(connection, subscription, str(action))

    async def _halve(
        self, batch: MeasurementBatch, outcome: AttemptOutcome, started_at: datetime, ended_at: datetime
    ) -> None:
        """Send the items of a batch that is too large for the receiver in smaller ones from now on."""
        subscription = self._subscription
        # The receiver works, so this is no failure that counts. Its answer is shown.
        subscription.health = subscription.health._replace(
            last_failure_at=ended_at, last_reason=outcome.reason, last_status=outcome.status
        )
        subscription.size_limit = max(1.0, len(batch.items) // 2)
        _log.warning(
            "measurement_batch_too_large",
            subscription=str(subscription.id),
            next_size=subscription.most_items,
        )
        async with self._pool.acquire() as connection, connection.transaction():
            identity = (subscription.id, subscription.lease)
            await lease_repository.lock_leased(connection, *identity)
            detail = AttemptEntry.of(outcome, started_at).detail
            await lease_repository.record_health(connection, *identity, subscription.health, detail)
            await batch_repository.delete_batch(connection, subscription.lease, batch.id)

    def _allow_more(self, confirmed: int) -> None:
        """Let batches grow slowly after a receiver has taken one as large as they may be."""
        subscription = self._subscription
        if subscription.size_limit is not None and confirmed >= subscription.most_items:
            larger = subscription.size_limit * _GROWTH
            subscription.size_limit = None if larger >= subscription.batch_size else larger

    def _update_health(
        self, outcome: AttemptOutcome, started_at: datetime, ended_at: datetime
    ) -> HealthAction | None:
        before = self._subscription.health
        is_rejected = outcome.reason == REJECTED
        health, action = update_health(
            before,
            outcome._replace(reason=DELIVERED) if is_rejected else outcome,
            started_at=started_at,
            ended_at=ended_at,
            limits=self._limits.health,
            chance=random.random(),  # noqa: S311 (spread, not secrecy)
        )
        if is_rejected:
            # The receiver works: no back-off. Its answer is shown.
            health = health._replace(
                last_success_at=before.last_success_at,
                last_failure_at=ended_at,
                last_reason=REJECTED,
                last_status=outcome.status,
            )
        self._subscription.health = health
        return action

    def _note_failure(
        self, outcome: AttemptOutcome, action: HealthAction | None, ended_at: datetime, *, is_replay: bool
    ) -> None:
        """Log a failure, and set the back-off: doubled each time, at least what the receiver asked for.

        A replay or test has a back-off of its own: new items go on, unless the receiver asked for a pause.
        """
        health = self._subscription.health
        longest = self._limits.health.breaker_max_s
        backoff_s = (
            0.0
            if is_replay
            else min(longest, _FIRST_BACKOFF_S * 2 ** min(health.consecutive_failures - 1, 10))
        )
        self._wait_s = max(backoff_s, _wait_of(health.open_until, ended_at))
        _log.warning(
            "measurement_batch_failed",
            subscription=str(self._subscription.id),
            sink=self._subscription.row["sink"],
            reason=outcome.reason,
            status=outcome.status,
            failures=health.consecutive_failures,
            action=None if action is None else str(action),
            wait_s=round(self._wait_s, 1),
        )


def _wait_of(open_until: datetime | None, now: datetime) -> float:
    return 0.0 if open_until is None else max(0.0, (open_until - now).total_seconds())
