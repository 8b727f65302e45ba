"""The role that delivers: wakes, fans out, sends groups on their way, claims, attempts, records.

Owns the loop and what is under way in this process. Several may run at once: leases in the database keep
them apart. A process that dies after a POST and before its record leaves a lease that runs out: the same
message goes out again under the same `webhook-id`. Must not know SQL (`claims`, `fanout`,
`groups`) nor HTTP (`attempt`).
"""

import asyncio
import random
import time
from collections import Counter
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import asyncpg

from app.core.database import Database, RawConnection
from app.core.observability import (
    DELIVERIES,
    DELIVERY_DELAY,
    DELIVERY_SECONDS,
    OUTBOX_PENDING,
    get_logger,
)
from app.core.sealing import Sealer
from app.core.settings import Settings, WebhookSettings
from app.webhooks import claims, fanout, groups
from app.webhooks.attempt import Sender
from app.webhooks.listener import DATABASE_ERRORS, listen
from app.webhooks.schedule import next_due
from app.webhooks.transport import Claim, Outcome

DRAIN_S: Final = 10.0
"""How long a stop waits for the attempts under way."""

_POOL_SIZE: Final = 4
_FIRST_WAIT_S: Final = 0.2
_LONGEST_WAIT_S: Final = 5.0
_COUNT_EVERY_S: Final = 5.0
_PATIENCE_S: Final = 2.0  # with the database, when it is time to end
_log = get_logger(__name__)


async def run(settings: Settings, database: Database, stop: asyncio.Event) -> None:
    """Deliver until `stop` is set, then let the attempts under way end.

    A database that is down is waited for, at the start and later.
    """
    pool = await _open_pool(database, stop)
    if pool is None:
        return
    try:
        async with Sender(settings.webhooks, Sealer.of(settings.encryption)) as sender:
            await Dispatcher(settings.webhooks, pool, sender).run(database, stop)
    finally:
        try:
            async with asyncio.timeout(_PATIENCE_S):
                await pool.close()
        except DATABASE_ERRORS:
            pool.terminate()


async def _open_pool(database: Database, stop: asyncio.Event) -> asyncpg.Pool | None:
    wait = _FIRST_WAIT_S
    while not stop.is_set():
        try:
            return await database.pool(size=_POOL_SIZE)
        except DATABASE_ERRORS as error:
            _log.warning("database_unavailable", error=str(error) or type(error).__name__)
        await _wait_for(stop, wait)
        wait = min(wait * 2, _LONGEST_WAIT_S)
    return None


async def _wait_for(event: asyncio.Event, seconds: float) -> bool:
    """Wait for an event, for some seconds at most; tell whether it came."""
    try:
        async with asyncio.timeout(seconds):
            return await event.wait()
    except TimeoutError:
        return False


class Dispatcher:
    """One process's deliveries.

    Args:
        settings: Concurrency, schedule, leases.
        pool: For claims and records.
        sender: Open.
    """

    def __init__(self, settings: WebhookSettings, pool: asyncpg.Pool, sender: Sender) -> None:
        self._settings = settings
        self._pool = pool
        self._sender = sender
        self._wake = asyncio.Event()
        self._news = True
        self._running: dict[asyncio.Task[None], Claim] = {}
        self._busy: Counter[UUID] = Counter()
        # Of the database's clock, read off with our monotonic one in between.
        self._clock: tuple[datetime, float] | None = None
        self._counted = 0.0
        # One that hangs cannot take every place.
        self._share = max(1, settings.concurrency // 4)

    async def run(self, database: Database, stop: asyncio.Event) -> None:
        """Deliver until `stop` is set; then drain."""
        listening = asyncio.create_task(listen(database, self._heard), name="listen")
        rounds = asyncio.create_task(self._rounds(stop), name="rounds")
        stopped = asyncio.create_task(stop.wait(), name="stop")
        try:
            await asyncio.wait((rounds, stopped), return_when=asyncio.FIRST_COMPLETED)
            self._wake.set()
            # A claim that is cut leaves leases that run out: only where the database hangs.
            await asyncio.wait((rounds,), timeout=_PATIENCE_S)
        finally:
            helpers = (listening, rounds, stopped)
            for helper in helpers:
                helper.cancel()
            ends = await asyncio.gather(*helpers, return_exceptions=True)
            await self._drain()
        for end in ends:
            if isinstance(end, Exception):
                raise end

    def _heard(self) -> None:
        self._news = True
        self._wake.set()

    async def _rounds(self, stop: asyncio.Event) -> None:
        wait = _FIRST_WAIT_S
        while not stop.is_set():
            self._wake.clear()
            try:
                pause = await self._round()
            except DATABASE_ERRORS as error:
                _log.warning("round_failed", error=str(error) or type(error).__name__, wait_s=wait)
                self._news = True
                await _wait_for(stop, wait)
                wait = min(wait * 2, _LONGEST_WAIT_S)
                continue
            wait = _FIRST_WAIT_S
            if pause > 0 and not await _wait_for(self._wake, pause):
                # The poll: for wake-ups that were lost.
                self._news = True

    async def _round(self) -> float:
        """Fan out what waits, start what is due; return how long nothing will be due (seconds)."""
        async with self._pool.acquire() as connection:
            if self._news:
                self._news = False
                # One batch, then what is due: a flood of events does not hold up what is ready.
                self._news = await fanout.fan_out(connection, self._settings) == fanout.BATCH
            more = await groups.send_due(connection, self._settings)
            free = self._settings.concurrency - len(self._running)
            claimed = 0
            if free > 0:
                claimed = await self._claim(connection, free)
            await self._count(connection)
            if self._news or more:
                return 0.0
            if claimed == free:
                # No place is left: the next one that ends wakes us.
                return self._settings.poll_s
            due_in = await claims.next_due_in(connection)
        return self._settings.poll_s if due_in is None else min(max(due_in, 0.001), self._settings.poll_s)

    async def _claim(self, connection: RawConnection, free: int) -> int:
        taken = await claims.claim(
            connection,
            places=free,
            share=self._share,
            busy=self._busy,
            lease_s=self._settings.lease_s,
        )
        for claimed in taken:
            self._clock = (claimed.now, time.monotonic())
            self._busy[claimed.endpoint_id] += 1
            task = asyncio.create_task(self._deliver(claimed), name=f"deliver {claimed.id}")
            self._running[task] = claimed
            task.add_done_callback(self._ended)
        return len(taken)

    def _ended(self, task: asyncio.Task[None]) -> None:
        claimed = self._running.pop(task)
        self._busy[claimed.endpoint_id] -= 1
        if not self._busy[claimed.endpoint_id]:
            del self._busy[claimed.endpoint_id]
        self._wake.set()

    def _now(self) -> datetime:
        """The database's time: our own clock may be wrong, or jump."""
        if self._clock is None:
            raise RuntimeError("nothing was claimed yet")
        then, mark = self._clock
        return then + timedelta(seconds=time.monotonic() - mark)

    async def _deliver(self, claimed: Claim) -> None:
        deadline = time.monotonic() + self._settings.lease_s
        log = _log.bind(
            delivery_id=str(claimed.id), endpoint_id=str(claimed.endpoint_id), event_id=str(claimed.event_id)
        )
        started_at = self._now()
        try:
            outcome = await self._sender.send(claimed, started_at)
        except Exception:
            # Recorded like any failure: left to its lease it would come back at once and for ever.
            log.exception("attempt_failed")
            outcome = Outcome("internal_error", None, None, 0.0)
        DELIVERIES.labels(outcome=outcome.reason).inc()
        DELIVERY_SECONDS.observe(outcome.duration_ms / 1000)
        number = await self._record(claimed, outcome, started_at, deadline)
        if number == 1:
            DELIVERY_DELAY.observe(max(0.0, (started_at - claimed.created_at).total_seconds()))
        log.info(
            "attempted",
            reason=outcome.reason,
            status=outcome.status,
            duration_ms=round(outcome.duration_ms, 1),
            number=number,
        )

    async def _record(
        self, claimed: Claim, outcome: Outcome, started_at: datetime, deadline: float
    ) -> int | None:
        """Record an attempt; try again while the lease lasts. Returns its number, None if there is none."""
        ended_at = self._now()
        due_at = next_due(
            self._settings.schedule_s,
            claimed.attempt_count + 1,
            ended_at,
            self._settings.jitter,
            random.random,
        )
        wait = 0.05
        while True:
            try:
                async with self._pool.acquire() as connection:
                    return await claims.record(
                        connection, claimed, outcome, started_at=started_at, ended_at=ended_at, due_at=due_at
                    )
            except DATABASE_ERRORS as error:
                _log.warning(
                    "record_failed",
                    delivery_id=str(claimed.id),
                    error=str(error) or type(error).__name__,
                )
                if time.monotonic() + wait > deadline:
                    # Its lease has run out: it is sent again, which receivers know by the id.
                    return None
            await asyncio.sleep(wait)
            wait = min(wait * 2, _LONGEST_WAIT_S)

    async def _count(self, connection: RawConnection) -> None:
        if time.monotonic() - self._counted >= _COUNT_EVERY_S:
            self._counted = time.monotonic()
            OUTBOX_PENDING.set(await claims.count_pending(connection))

    async def _drain(self) -> None:
        """Let what is under way end; what does not in time is cut, and free for another process at once."""
        if not self._running:
            return
        _log.info("draining", attempts=len(self._running))
        _, cut = await asyncio.wait(list(self._running), timeout=DRAIN_S)
        left = [self._running[task] for task in cut]
        for task in cut:
            task.cancel()
        await asyncio.gather(*cut, return_exceptions=True)
        if not left:
            return
        _log.warning("cut_short", attempts=len(left))
        try:
            async with asyncio.timeout(_PATIENCE_S), self._pool.acquire() as connection:
                await claims.release(connection, left)
        except DATABASE_ERRORS as error:
            _log.warning("release_failed", error=str(error) or type(error).__name__)
