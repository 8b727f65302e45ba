"""The role that delivers: wakes, fans out, sends groups on their way, claims, attempts, records.

Owns the loop and the attempts under way in this process. Several may run at once: leases in the database keep
them apart. A process that dies after a POST and before its record leaves a lease that runs out: the same
message goes out again under the same `webhook-id`. Must not know SQL (`claims`, `fanout`, `groups`), nor how
anything is sent (`transports`), nor what an outcome means (`recorder`).

    woken ─▶ round: fan out │ groups │ give back │ claim ─▶ lanes ─▶ attempts ─▶ recorder ─▶ woken
"""

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, Final

import asyncpg

from app.notifications.delivery import delivery_leases, replay_worker, waiting_groups
from app.notifications.delivery.delivery_slots import SLOW_S, DeliverySlots, HeldLease
from app.notifications.delivery.fanout import AdaptiveFanOut, FanOutResult
from app.notifications.delivery.outbox_listener import DATABASE_ERRORS, listen_for_wakeups
from app.notifications.delivery.outcome_recorder import OutcomeRecorder, RecordingResult
from app.notifications.delivery.outcome_sql import AttemptRecord
from app.notifications.delivery.transport_types import AttemptOutcome, DeliveryTransport, LeasedDelivery
from app.notifications.delivery.transports import CAPACITY, TransportRegistry
from app.platform.config.settings import VigieSettings, WebhookSettings
from app.platform.db.database import Database, RawConnection
from app.platform.kernel.ids import new_id
from app.platform.observability.metrics_and_logs import (
    DELIVERIES,
    DELIVERIES_LEASED,
    DELIVERIES_RUNNING,
    DELIVERY_DELAY,
    DELIVERY_SECONDS,
    OUTBOX_PENDING,
    get_logger,
)
from app.platform.runtime.stored_settings import InstallationSettings
from app.platform.secrets.sealing import SecretSealer

DRAIN_S: Final = 4.0
"""How long a stop waits for the attempts under way, in seconds."""

END_S: Final = 6.0
"""How long a stop takes in all, in seconds, also where the database hangs: `vigie up` waits for 7."""

_POOL_SIZE: Final = 4
_LEASES: Final = 4  # for each place: what is next, and what is being recorded, has a lease too
_FIRST_WAIT_S: Final = 0.2
_LONGEST_WAIT_S: Final = 5.0
_COUNT_EVERY_S: Final = 5.0
_GROUPS_EVERY_S: Final = 0.1  # while there is no end of other things to do
_SOON_S: Final = 0.05  # after a claim: what it was not given may be there by then
_NOT_AT_ONCE_S: Final = 0.02  # what is due and cannot be claimed (locked, say) is asked for again
_PATIENCE_S: Final = 1.0  # with the database, for each of what is left to do at the end
_CUT_S: Final = 0.5  # for what is cancelled
_log = get_logger(__name__)


async def run_dispatcher(
    settings: VigieSettings,
    database: Database,
    stop: asyncio.Event,
    installation: InstallationSettings | None = None,
) -> None:
    """Deliver until `stop` is set, then let the attempts under way end.

    A database that is down is waited for, at the start and later.
    """
    pool = await _open_pool(database, stop)
    if pool is None:
        return
    try:
        installation = installation or InstallationSettings(settings, SecretSealer.of(settings.encryption))
        async with TransportRegistry(settings, installation) as transports:
            await DeliveryDispatcher(settings.webhooks, pool, transports, installation).run(database, stop)
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


async def _wait_for(event: asyncio.Event, seconds: float) -> None:
    """Wait for an event, for some seconds at most."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


def _left(until: float) -> float:
    return max(0.0, until - time.monotonic())


class DeliveryDispatcher:
    """One process's deliveries.

    Args:
        settings: Concurrency, schedule, leases.
        pool: For claims and records.
        transport: Open.
        installation: Knows where links in what is sent lead; None: to where the API is by default.
        capacity: By kind of endpoint, how many attempts may be under way at once, where it is not all.
    """

    def __init__(
        self,
        settings: WebhookSettings,
        pool: asyncpg.Pool,
        transport: DeliveryTransport,
        installation: InstallationSettings | None = None,
        capacity: Mapping[str, int] = CAPACITY,
    ) -> None:
        self._settings = settings
        self._installation = installation
        self._pool = pool
        self._transport = transport
        self._fan_out = AdaptiveFanOut(settings)
        self._recorder = OutcomeRecorder(settings, pool, self._settled)
        self._lanes = DeliverySlots(settings.total_timeout_s, settings.concurrency, capacity)
        self._capacity = capacity
        self._most_leased = settings.concurrency * _LEASES
        self._wake = asyncio.Event()
        self._news = True
        self._stopping = False
        self._under_way: dict[asyncio.Task[None], LeasedDelivery] = {}
        # Of the database's clock, read off with our monotonic one in between.
        self._clock: tuple[datetime, float] | None = None
        self._looked: dict[str, float] = {}

    async def run(self, database: Database, stop: asyncio.Event) -> None:
        """Deliver until `stop` is set; then drain."""
        listening = asyncio.create_task(listen_for_wakeups(database, self._heard), name="listen")
        rounds = asyncio.create_task(self._rounds(stop), name="rounds")
        recording = asyncio.create_task(self._recorder.run(), name="record")
        stopped = asyncio.create_task(stop.wait(), name="stop")
        try:
            await asyncio.wait((rounds, stopped, recording), return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._stopping = True
            self._wake.set()
            began = time.monotonic()
            # A claim that is cut leaves leases that run out: only where the database hangs.
            await asyncio.wait((rounds,), timeout=_PATIENCE_S)
            rounds.cancel()
            tasks = (listening, rounds, stopped, recording, *await self._drain(recording, began))
            await self._end(tasks, began)
        for task in tasks:
            if task.done() and not task.cancelled() and (error := task.exception()):
                raise error

    async def _end(self, tasks: Sequence[asyncio.Task[Any]], began: float) -> None:
        """End what runs beside the attempts; where the database keeps it, without the database's leave."""
        for task in tasks:
            task.cancel()
        # asyncpg waits without a limit for the end of a statement that was cancelled, and half a minute for
        # a transaction's.
        _, left = await asyncio.wait(tasks, timeout=_left(began + END_S - _CUT_S))
        if left:
            _log.warning("database_left", tasks=sorted(task.get_name() for task in left))
            self._pool.terminate()
            await asyncio.wait(left, timeout=_CUT_S / 2)
            for task in left:
                # Whoever took the lost connection for a reason to try again.
                task.cancel()
            await asyncio.wait(left, timeout=_CUT_S / 2)

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
            if pause > 0:
                await _wait_for(self._wake, pause)

    async def _round(self) -> float:
        """Fan out what waits, start what is due; return how long nothing will be due (seconds)."""
        links = None if self._installation is None else self._installation.base_url
        async with self._pool.acquire() as connection:
            # The poll: for wake-ups that were lost.
            news = self._news or self._due("outbox", self._settings.poll_s)
            fanned = FanOutResult(0)
            if news:
                self._looked["outbox"] = time.monotonic()
                self._news = False
                # One batch, then what is due: a flood of events does not hold up what is ready.
                fanned = await self._fan_out.step(connection, links)
                # What was heard meanwhile stays heard.
                self._news = self._news or fanned.more or fanned.blocked
            more = False
            if news or not self._lanes.leased or self._due("groups", _GROUPS_EVERY_S):
                self._looked["groups"] = time.monotonic()
                more = await waiting_groups.send_due_groups(connection, self._settings, links)
                more = await replay_worker.replay_next_slice(connection) or more
            await self._give_back(connection, self._lanes.take_back(time.monotonic()))
            wanted, claimed = await self._claim(connection)
            await self._count(connection)
            # What is held by somebody else is asked for again, but not without a pause.
            waits = fanned.blocked and not fanned.more
            if (self._news and not waits) or more or claimed == wanted > 0:
                return 0.0
            if claimed or waits:
                return min(_SOON_S, self._settings.poll_s)
            return await self._pause(connection, asked=wanted > 0)

    def _due(self, what: str, every_s: float) -> bool:
        return time.monotonic() - self._looked.get(what, 0.0) >= every_s

    async def _pause(self, connection: RawConnection, *, asked: bool) -> float:
        """How long nothing can be claimed, as far as is known; the end of attempts wakes us earlier."""
        longest = self._settings.poll_s
        if self._lanes.leased:
            longest = min(longest, SLOW_S)  # then what waits for a slow endpoint is given back
        if not asked:
            return longest
        due_in = await delivery_leases.compute_next_due_s(
            connection,
            self._settings,
            suspects=self._suspects(),
            busy=self._lanes.busy(time.monotonic()),
            kinds=self._lanes.room(),
        )
        if due_in is None:
            return longest
        return min(max(due_in, 0.001) if due_in > 0 else _NOT_AT_ONCE_S, longest)

    def _suspects(self) -> int:
        """How many more may be leased for endpoints that fail or are new: half of all is for others."""
        return max(0, max(1, self._settings.concurrency // 2) - self._lanes.suspects())

    async def _claim(self, connection: RawConnection) -> tuple[int, int]:
        """Lease what is due and start it; how many were wanted, and how many there were."""
        wanted = self._most_leased - self._lanes.leased
        most_bytes = delivery_leases.MOST_BYTES - self._lanes.bytes
        if wanted <= 0 or most_bytes <= 0 or (wanted < self._most_leased // 8 and self._lanes.waiting):
            return 0, 0
        began = time.monotonic()
        leases = await delivery_leases.lease_due_deliveries(
            connection,
            self._settings,
            places=wanted,
            suspects=self._suspects(),
            busy=self._lanes.busy(began),
            kinds=self._lanes.room(),
            most_bytes=most_bytes,
        )
        if leases:
            self._clock = (leases[0].claimed.now, time.monotonic())
            self._lanes.add(leases, began + self._settings.lease_s)
            self._start()
        return wanted, len(leases)

    def _start(self) -> None:
        while self._lanes.waiting and not self._stopping:
            leased = self._lanes.next(time.monotonic())
            if leased is None:
                return
            task = asyncio.create_task(self._deliver(leased), name="deliver")
            self._under_way[task] = leased.lease.claimed
            task.add_done_callback(self._under_way.pop)

    def _now(self) -> datetime:
        """The database's time: our own clock may be wrong, or jump."""
        if self._clock is None:
            raise RuntimeError("nothing was claimed yet")
        then, mark = self._clock
        return then + timedelta(seconds=time.monotonic() - mark)

    async def _deliver(self, first: HeldLease) -> None:
        """Make an attempt after the other, as long as there are some whose turn it is."""
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("this runs as a task")
        leased: HeldLease | None = first
        while leased is not None:
            self._under_way[task] = leased.lease.claimed
            await self._attempt(leased)
            leased = None if self._stopping else self._lanes.next(time.monotonic())
            # An end can make room for two: of its kind, and of all.
            self._start()

    async def _attempt(self, leased: HeldLease) -> None:
        claimed = leased.lease.claimed
        started_at = self._now()
        try:
            outcome = await self._transport.send(claimed, started_at)
        except Exception:
            log = _log.bind(**_names(claimed))
            # Recorded like any failure: left to its lease it would come back at once and for ever.
            log.exception("attempt_failed")
            outcome = AttemptOutcome("internal_error", None, None, 0.0)
        DELIVERIES.labels(outcome=outcome.reason).inc()
        DELIVERY_SECONDS.observe(outcome.duration_ms / 1000)
        self._lanes.ended(claimed, delivered=outcome.delivered, now=time.monotonic())
        record = AttemptRecord(new_id(), claimed, outcome, started_at, self._now(), None)
        self._recorder.put(record, leased.deadline)

    def _settled(self, settled: Sequence[RecordingResult]) -> None:
        """Told by the recorder: these leases are no longer ours."""
        chatty = logging.getLogger(__name__).isEnabledFor(logging.DEBUG)
        self._lanes.settled(each.ended.record.claimed for each in settled)
        for each in settled:
            record = each.ended.record
            if each.number == 1:
                delay = record.started_at - record.claimed.created_at
                DELIVERY_DELAY.observe(max(0.0, delay.total_seconds()))
            # What succeeds is counted, and in the table of attempts: a line for each costs as much again.
            failed = each.number is None or not record.outcome.delivered
            if failed or chatty:
                outcome = record.outcome
                (_log.info if failed else _log.debug)(
                    "attempted",
                    **_names(record.claimed),
                    reason=outcome.reason,
                    status=outcome.status,
                    duration_ms=round(outcome.duration_ms, 1),
                    number=each.number,
                )
        # Of a kind with a capacity little is leased ahead.
        few = any(each.ended.record.claimed.kind in self._capacity for each in settled)
        if few or self._lanes.waiting <= len(self._under_way):
            self._wake.set()

    async def _count(self, connection: RawConnection) -> None:
        DELIVERIES_RUNNING.set(len(self._under_way))
        DELIVERIES_LEASED.set(self._lanes.leased)
        if self._due("counts", _COUNT_EVERY_S):
            self._looked["counts"] = time.monotonic()
            OUTBOX_PENDING.set(await delivery_leases.count_pending_deliveries(connection))

    async def _give_back(self, connection: RawConnection, back: Sequence[LeasedDelivery]) -> None:
        if not back:
            return
        try:
            await delivery_leases.release_leases(connection, back)
        finally:
            # What could not be released is free when its lease ends.
            self._lanes.settled(back)

    async def _drain(self, recording: asyncio.Task[None], began: float) -> list[asyncio.Task[None]]:
        """Let what is under way end; what does not in time is cut, and free for another process at once.

        Gives the tasks that this takes with the database: one that hangs keeps them.
        """
        left = self._lanes.take_back(time.monotonic(), everything=True)
        if self._under_way:
            _log.info("draining", attempts=len(self._under_way))
            _, cut = await asyncio.wait(list(self._under_way), timeout=_left(began + DRAIN_S))
            left += [self._under_way[task] for task in cut]
            if cut:
                _log.warning("cut_short", attempts=len(cut))
                for task in cut:
                    task.cancel()
                await asyncio.wait(cut, timeout=_CUT_S)
        last = [asyncio.create_task(self._release(left), name="release")] if left else []
        if not recording.done():
            last.append(asyncio.create_task(self._recorder.empty(), name="written"))
        if last:
            await asyncio.wait(last, timeout=_PATIENCE_S)
        return last

    async def _release(self, left: Sequence[LeasedDelivery]) -> None:
        try:
            async with self._pool.acquire() as connection:
                await delivery_leases.release_leases(connection, left)
        except DATABASE_ERRORS as error:
            _log.warning("release_failed", error=str(error) or type(error).__name__)


def _names(claimed: LeasedDelivery) -> dict[str, str]:
    return {
        "delivery_id": str(claimed.id),
        "endpoint_id": str(claimed.endpoint_id),
        "event_id": str(claimed.event_id),
    }
