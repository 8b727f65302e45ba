"""Records the outcomes of delivery attempts in the database, many in one transaction.

One transaction writes attempts, deliveries, the states of their endpoints, and notices to the owners. It
never waits for a locked endpoint: the outcomes of that endpoint stay in the queue, and all others are
written.

    attempt ends ─▶ queue ─▶ one transaction: lock states │ attempts, deliveries │ states │ notices ─▶ notify
"""

import asyncio
import random
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import timedelta
from typing import Final, NamedTuple
from uuid import UUID

import asyncpg

from app.notifications.delivery import endpoint_state_repository
from app.notifications.delivery.attempt_repository import AttemptRecord, find_recorded_attempts
from app.notifications.delivery.attempt_repository import write_attempt_records as write_records
from app.notifications.delivery.endpoint_health import (
    GONE,
    QUOTA_EXCEEDED,
    EndpointHealth,
    HealthAction,
    HealthLimits,
    compute_next_attempt,
    compute_quiet_period_s,
    get_requested_wait_s,
    update_health,
)
from app.notifications.delivery.endpoint_state_repository import LockedEndpoint
from app.notifications.delivery.transport_types import AttemptOutcome
from app.notifications.events.event_types import NOTICES
from app.notifications.events.outbox import OutboxRecord, enqueue_events, wake_dispatcher
from app.notifications.prometheus_metrics import ENDPOINT_NOTICES, RECORD_BATCH
from app.notifications.settings import WebhookSettings
from app.platform.db.database import RawConnection, is_transient
from app.platform.db.notification_listener import LISTEN_ERRORS, wait_for_event
from app.platform.observability.metrics_and_logs import get_logger

MAX_BATCH: Final = 500
_MOST_REMEMBERED: Final = 20_000
_FIRST_WAIT_S: Final = 0.05
_LONGEST_WAIT_S: Final = 5.0
_LOCK_RETRY_S: Final = 0.03  # until a locked endpoint is tried again
_log = get_logger(__name__)


class QueuedAttempt(NamedTuple):
    """An attempt that waits to be recorded.

    Attributes:
        record: The record to write.
        deadline: The end of retries (`time.monotonic`): the lease expires and the delivery is sent again.
    """

    record: AttemptRecord
    deadline: float


class _Written(NamedTuple):
    """The result of a transaction.

    Attributes:
        numbers: Delivery → number of its attempt.
        skipped: Endpoints locked by another transaction, whose outcomes were not written.
    """

    numbers: Mapping[UUID, int]
    skipped: Collection[UUID]


class RecordingResult(NamedTuple):
    """A record with its attempt's number; None if it was not written."""

    ended: QueuedAttempt
    number: int | None


def build_health_limits(settings: WebhookSettings) -> HealthLimits:
    """Build the limits of endpoint health from the settings."""
    plain = {name: getattr(settings, name) for name in HealthLimits._fields if name != "quiet_s"}
    quiet_s = compute_quiet_period_s(settings.schedule_s, settings.retry_after_max_s, settings.jitter)
    return HealthLimits(**plain, quiet_s=quiet_s)


def schedule_retry(ended: AttemptRecord, settings: WebhookSettings, limits: HealthLimits) -> AttemptRecord:
    """Set the next due time of a failed attempt: the schedule's, or later if the receiver requested it.

    A delivery that waits for a quota stays at its position in the schedule.
    """
    if ended.outcome.delivered or ended.outcome.reason == GONE:
        return ended
    wait = get_requested_wait_s(ended.outcome, limits)
    if ended.outcome.reason == QUOTA_EXCEEDED:
        return ended._replace(due_at=ended.ended_at + timedelta(seconds=wait or 0.0))
    count = ended.claimed.attempt_count + 1
    due_at = compute_next_attempt(settings.schedule_s, count, ended.ended_at, settings.jitter, random.random)
    if due_at is not None and wait is not None:
        due_at = max(due_at, ended.ended_at + timedelta(seconds=wait))
    return ended._replace(due_at=due_at)


class OutcomeRecorder:
    """Records outcomes; `run` it as a task.

    Args:
        settings: Retry schedule and limits.
        pool: Provides one connection at a time.
        on_recorded: Called with each batch that was written or given up.
    """

    def __init__(
        self,
        settings: WebhookSettings,
        pool: asyncpg.Pool,
        on_recorded: Callable[[Sequence[RecordingResult]], None],
    ) -> None:
        self._settings = settings
        self._limits = build_health_limits(settings)
        # Created at 0: Prometheus sees no increase in a series that begins at 1.
        for type_ in NOTICES:
            ENDPOINT_NOTICES.labels(type_)
        self._pool = pool
        self._on_recorded = on_recorded
        self._waiting: list[QueuedAttempt] = []
        # Outcomes of locked endpoints, and the time of their retry (`time.monotonic`).
        self._postponed: list[QueuedAttempt] = []
        self._retry_at = 0.0
        # Endpoints that are known to have a row of state.
        self._has_state: set[UUID] = set()
        self._has_work = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    def put(self, record: AttemptRecord, deadline: float) -> None:
        """Queue an attempt to be recorded."""
        self._waiting.append(QueuedAttempt(schedule_retry(record, self._settings, self._limits), deadline))
        self._idle.clear()
        self._has_work.set()

    async def empty(self) -> None:
        """Wait until all queued attempts are written or given up."""
        await self._idle.wait()

    async def run(self) -> None:
        """Record until cancelled."""
        while True:
            await self._has_work.wait()
            self._has_work.clear()
            while self._waiting or self._postponed:
                await self._requeue_postponed()
                batch, self._waiting = _split_batch(self._waiting)
                await self._write(batch)
            self._idle.set()

    async def _requeue_postponed(self) -> None:
        """Queue the outcomes of locked endpoints again once their retry is due; wait for it if idle."""
        if not self._postponed:
            return
        pause = self._retry_at - time.monotonic()
        if not self._waiting and pause > 0:
            self._has_work.clear()
            await wait_for_event(self._has_work, pause)
        if time.monotonic() >= self._retry_at:
            self._waiting += self._postponed
            self._postponed = []

    def _postpone(self, batch: Sequence[QueuedAttempt]) -> None:
        """Postpone the outcomes of locked endpoints, as long as their leases last."""
        if not batch:
            return
        if not self._postponed:
            self._retry_at = time.monotonic() + _LOCK_RETRY_S
        late = [ended for ended in batch if ended.deadline < self._retry_at]
        self._on_recorded([RecordingResult(ended, None) for ended in late])
        self._postponed += [ended for ended in batch if ended.deadline >= self._retry_at]

    async def _write(self, batch: list[QueuedAttempt]) -> None:
        """Write a batch; retry while the leases last, and one by one if a record causes the error."""
        wait = _FIRST_WAIT_S
        while batch:
            try:
                written = await self._record([ended.record for ended in batch])
            except LISTEN_ERRORS as error:
                _log.warning("record_failed", records=len(batch), error=str(error) or type(error).__name__)
                if not is_transient(error) and not isinstance(error, asyncpg.UniqueViolationError):
                    if len(batch) > 1:
                        for ended in batch:
                            await self._write([ended])
                        return
                    batch = [_plain(batch[0])]
            else:
                self._done(batch, written)
                return
            # When a lease expires, the delivery is sent again; receivers recognise it by its id.
            limit = time.monotonic() + wait
            late = [ended for ended in batch if ended.deadline < limit]
            self._on_recorded([RecordingResult(ended, None) for ended in late])
            batch = [ended for ended in batch if ended.deadline >= limit]
            if batch:
                await asyncio.sleep(wait)
            wait = min(wait * 2, _LONGEST_WAIT_S)

    def _done(self, batch: Sequence[QueuedAttempt], written: _Written) -> None:
        out = [ended for ended in batch if ended.record.claimed.endpoint_id in written.skipped]
        done = [ended for ended in batch if ended.record.claimed.endpoint_id not in written.skipped]
        self._postpone(out)
        if done:
            RECORD_BATCH.observe(len(done))
            self._on_recorded(
                [RecordingResult(ended, written.numbers.get(ended.record.claimed.id)) for ended in done]
            )

    async def _record(self, records: Sequence[AttemptRecord]) -> _Written:
        async with self._pool.acquire() as connection:
            async with connection.transaction():
                locked, skipped = await self._lock(connection, records)
                free = [each for each in records if each.claimed.endpoint_id not in skipped]
                numbers = await write_records(connection, free) if free else {}
                # Records that were committed before (with an unknown outcome) have no further effect.
                repeated = await find_recorded_attempts(
                    connection, [each for each in free if each.claimed.id not in numbers]
                )
                fresh = [each for each in free if each.id not in repeated]
                notices = await self._evaluate(connection, locked, _by_endpoint(fresh))
                await enqueue_events(connection, notices)
            self._has_state.update(known.id for known in locked)
            if notices:
                await _notify(connection, notices)
        return _Written(numbers, skipped)

    async def _lock(
        self, connection: RawConnection, records: Sequence[AttemptRecord]
    ) -> tuple[list[LockedEndpoint], set[UUID]]:
        """Lock the records' endpoints; return the locked ones, and those that others have locked."""
        ids = {each.claimed.endpoint_id for each in records}
        if len(self._has_state) > _MOST_REMEMBERED:
            self._has_state.clear()
        if new := ids - self._has_state:
            await endpoint_state_repository.create_missing_states(connection, new)
        failed = any(not each.outcome.delivered for each in records)
        locked = await endpoint_state_repository.lock_endpoints(connection, ids, whole=failed)
        skipped = await endpoint_state_repository.find_existing_endpoints(
            connection, ids - {known.id for known in locked}
        )
        self._has_state -= skipped
        return locked, skipped

    async def _evaluate(
        self,
        connection: RawConnection,
        locked: Sequence[LockedEndpoint],
        by_endpoint: Mapping[UUID, Sequence[AttemptRecord]],
    ) -> list[OutboxRecord]:
        """Update the endpoints' states, disable endpoints where that follows, and return the notices."""
        changed: list[tuple[UUID, EndpointHealth]] = []
        notices: list[OutboxRecord] = []
        for known in locked:
            if known.id not in by_endpoint:
                continue
            health, actions = self._apply_outcomes(known.health, by_endpoint[known.id])
            changed.append((known.id, health))
            # A disabled endpoint needs no notice.
            for action in actions if known.enabled else []:
                ended_at = by_endpoint[known.id][-1].ended_at
                notices.append(
                    await endpoint_state_repository.apply_health_action(
                        connection, known, health, action, ended_at
                    )
                )
        await endpoint_state_repository.write_states(connection, changed)
        return notices

    def _apply_outcomes(
        self, health: EndpointHealth, records: Sequence[AttemptRecord]
    ) -> tuple[EndpointHealth, list[HealthAction]]:
        """Apply several attempts to a state, in order of their ends; nothing follows after a disabling."""
        actions: list[HealthAction] = []
        for each in records:
            health, action = update_health(
                health,
                each.outcome,
                started_at=each.started_at,
                ended_at=each.ended_at,
                limits=self._limits,
                chance=random.random(),  # noqa: S311 (spread, not secrecy)
            )
            final = bool(actions) and actions[-1] is not HealthAction.WARN
            if action is not None and not final:
                actions.append(action)
        return health, actions


def _by_endpoint(records: Sequence[AttemptRecord]) -> dict[UUID, list[AttemptRecord]]:
    """Group records by endpoint, in the order in which the attempts ended."""
    by_endpoint: dict[UUID, list[AttemptRecord]] = {}
    for each in sorted(records, key=lambda each: each.ended_at):
        by_endpoint.setdefault(each.claimed.endpoint_id, []).append(each)
    return by_endpoint


def _plain(ended: QueuedAttempt) -> QueuedAttempt:
    """Drop the receiver's response from a record that the database refused."""
    outcome = ended.record.outcome
    reason = outcome.reason if outcome.delivered else "internal_error"
    plain = ended.record._replace(outcome=AttemptOutcome(reason, None, None, outcome.duration_ms))
    return ended._replace(record=plain)


async def _notify(connection: RawConnection, notices: Sequence[OutboxRecord]) -> None:
    """Log committed notices and wake the dispatcher; a failed wake-up does no harm."""
    for notice in notices:
        ENDPOINT_NOTICES.labels(notice.type).inc()
        data = notice.payload
        _log.warning(
            "endpoint_notice", type=notice.type, endpoint_id=str(data["endpoint_id"]), reason=data["reason"]
        )
    try:
        await wake_dispatcher(connection)
    except LISTEN_ERRORS as error:
        _log.warning("wake_failed", error=str(error) or type(error).__name__)


def _split_batch(waiting: Sequence[QueuedAttempt]) -> tuple[list[QueuedAttempt], list[QueuedAttempt]]:
    """Split the queue into the next batch and the rest; a batch has at most one record of a delivery."""
    chosen: dict[UUID, QueuedAttempt] = {}
    later: list[QueuedAttempt] = []
    for ended in waiting:
        known = ended.record.claimed.id
        if len(chosen) < MAX_BATCH and known not in chosen:
            chosen[known] = ended
        else:
            later.append(ended)
    return list(chosen.values()), later
