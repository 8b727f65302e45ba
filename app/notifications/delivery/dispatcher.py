"""Runs the delivery loop: fans out events, leases due deliveries, attempts them and records the outcomes.

Several dispatchers may run concurrently: leases in the database keep them apart. If a process dies between a
POST and its record, the lease expires and the same message is sent again under the same `webhook-id`.

    woken ─▶ round: fan out │ groups │ release │ lease ─▶ slots ─▶ attempts ─▶ recorder ─▶ woken
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import asyncpg

from app.notifications.delivery import delivery_leases, replay_scheduling, waiting_groups
from app.notifications.delivery.attempt_repository import AttemptRecord
from app.notifications.delivery.delivery_tracing import describe_delivery, record_outcome, start_attempt_span
from app.notifications.delivery.fanout import AdaptiveFanOut, FanOutResult
from app.notifications.delivery.outcome_recorder import OutcomeRecorder, RecordingResult
from app.notifications.delivery.slot_scheduler import SLOW_S, DeliverySlots, HeldLease
from app.notifications.delivery.transport_registry import CAPACITY, TransportRegistry
from app.notifications.delivery.transport_types import AttemptOutcome, DeliveryTransport, LeasedDelivery
from app.notifications.events.outbox import CHANNEL
from app.notifications.mqtt.edges_transport import EdgesTransport
from app.notifications.prometheus_metrics import (
    DELIVERIES,
    DELIVERIES_LEASED,
    DELIVERIES_RUNNING,
    DELIVERY_DELAY,
    DELIVERY_SECONDS,
    OUTBOX_PENDING,
)
from app.notifications.settings import WebhookSettings
from app.platform.config.platform_settings import PlatformSettings
from app.platform.db.database import Database, RawConnection
from app.platform.db.notification_listener import LISTEN_ERRORS, listen_for_wakeups, wait_for_event
from app.platform.kernel.ids import new_id
from app.platform.observability.metrics_and_logs import get_logger
from app.platform.observability.tracing import use_span
from app.platform.runtime.stored_settings import InstallationSettings

DRAIN_S: Final = 4.0  # how long a stop waits for running attempts
END_S: Final = 6.0  # the longest that a stop takes, even if the database hangs: `vigie up` waits for 7
_POOL_SIZE: Final = 4
_LEASES: Final = 4  # per slot: waiting deliveries, and outcomes being recorded, have a lease too
_FIRST_WAIT_S: Final = 0.2
_LONGEST_WAIT_S: Final = 5.0
_COUNT_EVERY_S: Final = 5.0
_GROUPS_EVERY_S: Final = 0.1  # under constant load
_SOON_S: Final = 0.05  # after a claim: more deliveries may be free by then
_RETRY_S: Final = 0.02  # after a claim in which due deliveries were locked
_DATABASE_TIMEOUT_S: Final = 1.0  # for each of the last steps of a stop
_CANCEL_S: Final = 0.5  # for cancelled tasks to end
_log = get_logger(__name__)


async def run_dispatcher(
    settings: PlatformSettings,
    webhooks: WebhookSettings,
    database: Database,
    stop: asyncio.Event,
    installation: InstallationSettings,
    *,
    edges: EdgesTransport | None = None,
    on_round: Callable[[], None] = lambda: None,
) -> None:
    """Deliver until `stop` is set, then let running attempts end.

    If the database is down, at the start or later, retries with a back-off.

    Args:
        settings: The mail server, the broker and the encryption keys.
        webhooks: The settings of attempts and of the dispatcher.
        database: The database.
        stop: Ends the dispatcher.
        installation: The settings that administrators change by the API.
        edges: Publishes MQTT deliveries to several brokers; None: there is one, that of the settings.
        on_round: Called before each round.
    """
    pool = await _open_pool(database, stop)
    if pool is None:
        return
    try:
        async with TransportRegistry(settings, webhooks, installation, edges) as transports:
            dispatcher = DeliveryDispatcher(webhooks, pool, transports, installation)
            dispatcher.on_round = on_round
            await dispatcher.run(database, stop)
    finally:
        try:
            async with asyncio.timeout(_DATABASE_TIMEOUT_S):
                await pool.close()
        except LISTEN_ERRORS:
            pool.terminate()


async def _open_pool(database: Database, stop: asyncio.Event) -> asyncpg.Pool | None:
    wait = _FIRST_WAIT_S
    while not stop.is_set():
        try:
            return await database.pool(size=_POOL_SIZE, name="deliveries")
        except LISTEN_ERRORS as error:
            _log.warning("database_unavailable", error=str(error) or type(error).__name__)
        await wait_for_event(stop, wait)
        wait = min(wait * 2, _LONGEST_WAIT_S)
    return None


def _left(until: float) -> float:
    return max(0.0, until - time.monotonic())


class DeliveryDispatcher:
    """The delivery loop of one process.

    Args:
        settings: Concurrency, retry schedule, leases.
        pool: Connections for claims and records.
        transport: The open transport.
        installation: Has the base URL of links in messages; None: the API's default URL.
        capacity: By kind of endpoint, the most concurrent attempts; other kinds may use all slots.
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
        self.on_round: Callable[[], None] = lambda: None
        self._fan_out = AdaptiveFanOut(settings)
        self._recorder = OutcomeRecorder(settings, pool, self._on_recorded)
        self._slots = DeliverySlots(settings.total_timeout_s, settings.concurrency, capacity)
        self._capacity = capacity
        self._most_leased = settings.concurrency * _LEASES
        self._wake = asyncio.Event()
        self._may_have_events = True
        self._stopping = False
        self._running: dict[asyncio.Task[None], LeasedDelivery] = {}
        # The database's time, and the monotonic time at which it was read.
        self._clock: tuple[datetime, float] | None = None
        self._last_run: dict[str, float] = {}

    async def run(self, database: Database, stop: asyncio.Event) -> None:
        """Deliver until `stop` is set; then drain."""
        wakeups = listen_for_wakeups(database, self._on_wakeup, channel=CHANNEL)
        listening = asyncio.create_task(wakeups, name="listen")
        rounds = asyncio.create_task(self._rounds(stop), name="rounds")
        recording = asyncio.create_task(self._recorder.run(), name="record")
        stopped = asyncio.create_task(stop.wait(), name="stop")
        try:
            await asyncio.wait((rounds, stopped, recording), return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._stopping = True
            self._wake.set()
            began = time.monotonic()
            # Only if the database hangs is a claim cancelled; its leases expire.
            await asyncio.wait((rounds,), timeout=_DATABASE_TIMEOUT_S)
            rounds.cancel()
            tasks = (listening, rounds, stopped, recording, *await self._drain(recording, began))
            await self._end(tasks, began)
        for task in tasks:
            if task.done() and not task.cancelled() and (error := task.exception()):
                raise error

    async def _end(self, tasks: Sequence[asyncio.Task[Any]], began: float) -> None:
        """End the background tasks; if the database blocks them, terminate its connections."""
        for task in tasks:
            task.cancel()
        # asyncpg waits without a timeout for the end of a cancelled statement, and 30 s for a transaction's.
        _, left = await asyncio.wait(tasks, timeout=_left(began + END_S - _CANCEL_S))
        if left:
            _log.warning("database_left", tasks=sorted(task.get_name() for task in left))
            self._pool.terminate()
            await asyncio.wait(left, timeout=_CANCEL_S / 2)
            for task in left:
                task.cancel()  # it retries after the lost connection
            await asyncio.wait(left, timeout=_CANCEL_S / 2)

    def _on_wakeup(self) -> None:
        self._may_have_events = True
        self._wake.set()

    async def _rounds(self, stop: asyncio.Event) -> None:
        wait = _FIRST_WAIT_S
        while not stop.is_set():
            self.on_round()
            self._wake.clear()
            try:
                pause = await self._round()
            except LISTEN_ERRORS as error:
                _log.warning("round_failed", error=str(error) or type(error).__name__, wait_s=wait)
                self._may_have_events = True
                await wait_for_event(stop, wait)
                wait = min(wait * 2, _LONGEST_WAIT_S)
                continue
            wait = _FIRST_WAIT_S
            if pause > 0:
                await wait_for_event(self._wake, pause)

    async def _round(self) -> float:
        """Fan out events and start due deliveries; return the seconds until the next round."""
        links = None if self._installation is None else self._installation.base_url
        async with self._pool.acquire() as connection:
            # Polls too, in case a wake-up was lost.
            has_events = self._may_have_events or self._due("outbox", self._settings.poll_s)
            fanned = FanOutResult(0)
            if has_events:
                self._last_run["outbox"] = time.monotonic()
                self._may_have_events = False
                # One batch, then due deliveries: a flood of events does not delay them.
                fanned = await self._fan_out.step(connection, links)
                # A wake-up during the step stays set.
                self._may_have_events = self._may_have_events or fanned.more or fanned.blocked
            more = False
            if has_events or not self._slots.leased or self._due("groups", _GROUPS_EVERY_S):
                self._last_run["groups"] = time.monotonic()
                more = await waiting_groups.send_due_groups(connection, self._settings, links)
                more = await replay_scheduling.replay_next_slice(connection) or more
            await self._return_leases(connection, self._slots.collect_returned(time.monotonic()))
            requested, claimed = await self._claim(connection)
            await self._count(connection)
            # A fan-out that another process blocks is retried, but only after a pause.
            is_blocked = fanned.blocked and not fanned.more
            if (self._may_have_events and not is_blocked) or more or claimed == requested > 0:
                return 0.0
            if claimed or is_blocked:
                return min(_SOON_S, self._settings.poll_s)
            return await self._pause(connection, can_lease=requested > 0)

    def _due(self, what: str, every_s: float) -> bool:
        return time.monotonic() - self._last_run.get(what, 0.0) >= every_s

    async def _pause(self, connection: RawConnection, *, can_lease: bool) -> float:
        """Return the seconds until a delivery can be leased; the end of an attempt wakes the loop earlier."""
        longest = self._settings.poll_s
        if self._slots.leased:
            longest = min(longest, SLOW_S)  # then leases that wait for a slow endpoint are returned
        if not can_lease:
            return longest
        due_in = await delivery_leases.compute_next_due_s(
            connection,
            self._settings,
            suspects=self._suspects(),
            busy=self._slots.endpoint_loads(time.monotonic()),
            kinds=self._slots.free_capacities(),
        )
        if due_in is None:
            return longest
        return min(max(due_in, 0.001) if due_in > 0 else _RETRY_S, longest)

    def _suspects(self) -> int:
        """Return how many more leases suspect endpoints may have: at most half of the slots are for them."""
        return max(0, max(1, self._settings.concurrency // 2) - self._slots.count_suspect_leases())

    async def _claim(self, connection: RawConnection) -> tuple[int, int]:
        """Lease due deliveries and start them; return the numbers of requested and of leased ones."""
        limit = self._most_leased - self._slots.leased
        most_bytes = delivery_leases.MOST_BYTES - self._slots.bytes
        if limit <= 0 or most_bytes <= 0 or (limit < self._most_leased // 8 and self._slots.waiting):
            return 0, 0
        began = time.monotonic()
        leases = await delivery_leases.lease_due_deliveries(
            connection,
            self._settings,
            limit=limit,
            suspects=self._suspects(),
            busy=self._slots.endpoint_loads(began),
            kinds=self._slots.free_capacities(),
            most_bytes=most_bytes,
        )
        if leases:
            self._clock = (leases[0].claimed.now, time.monotonic())
            self._slots.add(leases, began + self._settings.lease_s)
            self._start()
        return limit, len(leases)

    def _start(self) -> None:
        while self._slots.waiting and not self._stopping:
            leased = self._slots.begin_next(time.monotonic())
            if leased is None:
                return
            task = asyncio.create_task(self._deliver(leased), name="deliver")
            self._running[task] = leased.lease.claimed
            task.add_done_callback(self._running.pop)

    def _now(self) -> datetime:
        """Return the database's time: this machine's clock may be wrong, or jump."""
        if self._clock is None:
            raise RuntimeError("nothing was claimed yet")
        then, mark = self._clock
        return then + timedelta(seconds=time.monotonic() - mark)

    async def _deliver(self, first: HeldLease) -> None:
        """Make one attempt after the other, as long as a lease and a slot are available."""
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("this runs as a task")
        leased: HeldLease | None = first
        while leased is not None:
            self._running[task] = leased.lease.claimed
            await self._attempt(leased)
            leased = None if self._stopping else self._slots.begin_next(time.monotonic())
            # The end of an attempt can free two slots: one of its kind, and one of all.
            self._start()

    async def _attempt(self, leased: HeldLease) -> None:
        claimed = leased.lease.claimed
        started_at = self._now()
        with use_span(start_attempt_span(claimed)) as span:
            try:
                outcome = await self._transport.send(claimed, started_at)
            except Exception:  # noqa: BLE001 (logged)
                # Recorded like any failure: otherwise the delivery would be retried without a back-off.
                _log.exception("attempt_failed", **describe_delivery(claimed))
                outcome = AttemptOutcome("internal_error", None, None, 0.0)
            record_outcome(span, outcome)
        DELIVERIES.labels(outcome=outcome.reason).inc()
        DELIVERY_SECONDS.observe(outcome.duration_ms / 1000)
        self._slots.finish(claimed, delivered=outcome.delivered, now=time.monotonic())
        record = AttemptRecord(new_id(), claimed, outcome, started_at, self._now(), None)
        self._recorder.put(record, leased.deadline)

    def _on_recorded(self, results: Sequence[RecordingResult]) -> None:
        """Release the leases of recorded attempts, and log them; the recorder calls this."""
        is_debug = logging.getLogger(__name__).isEnabledFor(logging.DEBUG)
        self._slots.release(each.ended.record.claimed for each in results)
        for each in results:
            record = each.ended.record
            if each.number == 1:
                delay = record.started_at - record.claimed.created_at
                DELIVERY_DELAY.observe(max(0.0, delay.total_seconds()))
            # Successes are in the metrics and the table of attempts; to log each would double the cost.
            failed = each.number is None or not record.outcome.delivered
            if failed or is_debug:
                (_log.info if failed else _log.debug)(
                    "attempted",
                    **describe_delivery(record.claimed),
                    reason=record.outcome.reason,
                    status=record.outcome.status,
                    duration_ms=round(record.outcome.duration_ms, 1),
                    number=each.number,
                )
        # Kinds with a capacity have few leases ahead.
        has_capacity = any(each.ended.record.claimed.kind in self._capacity for each in results)
        if has_capacity or self._slots.waiting <= len(self._running):
            self._wake.set()

    async def _count(self, connection: RawConnection) -> None:
        DELIVERIES_RUNNING.set(len(self._running))
        DELIVERIES_LEASED.set(self._slots.leased)
        if self._due("counts", _COUNT_EVERY_S):
            self._last_run["counts"] = time.monotonic()
            OUTBOX_PENDING.set(await delivery_leases.count_pending_deliveries(connection))

    async def _return_leases(self, connection: RawConnection, returned: Sequence[LeasedDelivery]) -> None:
        if not returned:
            return
        try:
            await delivery_leases.release_leases(connection, returned)
        finally:
            # A lease that could not be released expires.
            self._slots.release(returned)

    async def _drain(self, recording: asyncio.Task[None], began: float) -> list[asyncio.Task[None]]:
        """Let running attempts end; cancel those that take too long, and release their leases.

        Returns the database tasks of this: they do not end while the database hangs.
        """
        left = self._slots.collect_returned(time.monotonic(), everything=True)
        if self._running:
            _log.info("draining", attempts=len(self._running))
            _, cut = await asyncio.wait(list(self._running), timeout=_left(began + DRAIN_S))
            left += [self._running[task] for task in cut]
            if cut:
                _log.warning("cut_short", attempts=len(cut))
                for task in cut:
                    task.cancel()
                await asyncio.wait(cut, timeout=_CANCEL_S)
        last = [asyncio.create_task(self._release(left), name="release")] if left else []
        if not recording.done():
            last.append(asyncio.create_task(self._recorder.empty(), name="written"))
        if last:
            await asyncio.wait(last, timeout=_DATABASE_TIMEOUT_S)
        return last

    async def _release(self, left: Sequence[LeasedDelivery]) -> None:
        try:
            async with self._pool.acquire() as connection:
                await delivery_leases.release_leases(connection, left)
        except LISTEN_ERRORS as error:
            _log.warning("release_failed", error=str(error) or type(error).__name__)
