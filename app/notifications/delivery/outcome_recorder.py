"""Writes down what came of attempts, many at once: whatever ended while the last ones were being written.

Owns the queue of outcomes and the transaction that records them: attempts, deliveries, the states of their
endpoints, and the notices to the owners. Must not send anything, and must not wait for an endpoint that
somebody else has locked: what was attempted there is written later, and all else at once.

    attempt ends ─▶ queue ─▶ one transaction: states locked │ attempts, deliveries │ states │ notices ─▶ told
"""

import asyncio
import random
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Final, NamedTuple
from uuid import UUID

import asyncpg

from app.notifications.delivery import endpoint_states
from app.notifications.delivery.endpoint_health import (
    GONE,
    EndpointHealth,
    HealthAction,
    HealthLimits,
    compute_next_attempt,
    compute_quiet_period_s,
    get_requested_wait_s,
    update_health,
)
from app.notifications.delivery.endpoint_states import LockedEndpoint
from app.notifications.delivery.outbox_listener import DATABASE_ERRORS
from app.notifications.delivery.outcome_sql import AttemptRecord, find_recorded_attempts
from app.notifications.delivery.outcome_sql import write_attempt_records as write_records
from app.notifications.delivery.transport_types import AttemptOutcome
from app.notifications.events.event_types import NOTICES
from app.notifications.events.outbox import OutboxRecord, enqueue_events, wake_dispatcher
from app.platform.config.settings import WebhookSettings
from app.platform.db.database import RawConnection, is_transient
from app.platform.observability.metrics_and_logs import ENDPOINT_NOTICES, RECORD_BATCH, get_logger

MOST_AT_ONCE: Final = 500
_MOST_REMEMBERED: Final = 20_000
_FIRST_WAIT_S: Final = 0.05
_LONGEST_WAIT_S: Final = 5.0
_LOCKED_OUT_S: Final = 0.03  # an endpoint that is locked is asked for again
_log = get_logger(__name__)


class QueuedAttempt(NamedTuple):
    """An attempt that is to be recorded.

    Attributes:
        record: What is written.
        deadline: Until when it is tried (`time.monotonic`): when the lease runs out it is sent again.
    """

    record: AttemptRecord
    deadline: float


class _Written(NamedTuple):
    """What a transaction wrote.

    Attributes:
        numbers: Delivery → its attempt's number.
        locked_out: Endpoints that somebody else has locked: of these nothing was written.
    """

    numbers: Mapping[UUID, int]
    locked_out: Collection[UUID]


class RecordingResult(NamedTuple):
    """What became of a record: its attempt's number, None where it was not written."""

    ended: QueuedAttempt
    number: int | None


def build_health_limits(settings: WebhookSettings) -> HealthLimits:
    """The limits that the settings say."""
    plain = {name: getattr(settings, name) for name in HealthLimits._fields if name != "quiet_s"}
    quiet_s = compute_quiet_period_s(settings.schedule_s, settings.retry_after_max_s, settings.jitter)
    return HealthLimits(**plain, quiet_s=quiet_s)


def schedule_retry(ended: AttemptRecord, settings: WebhookSettings, limits: HealthLimits) -> AttemptRecord:
    """Give a failed attempt's next due time: the schedule's, or later where the receiver asked for it."""
    if ended.outcome.delivered or ended.outcome.reason == GONE:
        return ended
    count = ended.claimed.attempt_count + 1
    due_at = compute_next_attempt(settings.schedule_s, count, ended.ended_at, settings.jitter, random.random)
    wait = get_requested_wait_s(ended.outcome, limits)
    if due_at is not None and wait is not None:
        due_at = max(due_at, ended.ended_at + timedelta(seconds=wait))
    return ended._replace(due_at=due_at)


class OutcomeRecorder:
    """Records outcomes; `run` it as a task.

    Args:
        settings: Schedule and limits.
        pool: For one connection at a time.
        settled: Told of each batch that was written, or given up.
    """

    def __init__(
        self,
        settings: WebhookSettings,
        pool: asyncpg.Pool,
        settled: Callable[[Sequence[RecordingResult]], None],
    ) -> None:
        self._settings = settings
        self._limits = build_health_limits(settings)
        # From the start: of a series that is born at 1 Prometheus sees no increase.
        for type_ in NOTICES:
            ENDPOINT_NOTICES.labels(type_)
        self._pool = pool
        self._settled = settled
        self._waiting: list[QueuedAttempt] = []
        # Of endpoints that were locked by somebody else, until it is time to ask again (`time.monotonic`).
        self._locked_out: list[QueuedAttempt] = []
        self._again_at = 0.0
        # Endpoints that have a state: it need not be made.
        self._made: set[UUID] = set()
        self._come = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    def put(self, record: AttemptRecord, deadline: float) -> None:
        """Have an attempt recorded soon."""
        self._waiting.append(QueuedAttempt(schedule_retry(record, self._settings, self._limits), deadline))
        self._idle.clear()
        self._come.set()

    async def empty(self) -> None:
        """Wait until all is written that was put, or given up."""
        await self._idle.wait()

    async def run(self) -> None:
        """Record until cancelled."""
        while True:
            await self._come.wait()
            self._come.clear()
            while self._waiting or self._locked_out:
                await self._bring_back()
                batch, self._waiting = _batch(self._waiting)
                await self._write(batch)
            self._idle.set()

    async def _bring_back(self) -> None:
        """Take up again what was locked out, once it is time; until then only where there is nothing else."""
        if not self._locked_out:
            return
        pause = self._again_at - time.monotonic()
        if not self._waiting and pause > 0:
            self._come.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._come.wait()
        if time.monotonic() >= self._again_at:
            self._waiting += self._locked_out
            self._locked_out = []

    def _put_off(self, batch: Sequence[QueuedAttempt]) -> None:
        """Keep records of endpoints that are locked for a little later, as long as their leases last."""
        if not batch:
            return
        if not self._locked_out:
            self._again_at = time.monotonic() + _LOCKED_OUT_S
        late = [ended for ended in batch if ended.deadline < self._again_at]
        self._settled([RecordingResult(ended, None) for ended in late])
        self._locked_out += [ended for ended in batch if ended.deadline >= self._again_at]

    async def _write(self, batch: list[QueuedAttempt]) -> None:
        """Write a batch; try again while leases last, and each on its own where one of them is at fault."""
        wait = _FIRST_WAIT_S
        while batch:
            try:
                written = await self._record([ended.record for ended in batch])
            except DATABASE_ERRORS as error:
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
            # Of a lease that has run out the delivery is sent again, which receivers know by the id.
            limit = time.monotonic() + wait
            late = [ended for ended in batch if ended.deadline < limit]
            self._settled([RecordingResult(ended, None) for ended in late])
            batch = [ended for ended in batch if ended.deadline >= limit]
            if batch:
                await asyncio.sleep(wait)
            wait = min(wait * 2, _LONGEST_WAIT_S)

    def _done(self, batch: Sequence[QueuedAttempt], written: _Written) -> None:
        out = [ended for ended in batch if ended.record.claimed.endpoint_id in written.locked_out]
        done = [ended for ended in batch if ended.record.claimed.endpoint_id not in written.locked_out]
        self._put_off(out)
        if done:
            RECORD_BATCH.observe(len(done))
            self._settled(
                [RecordingResult(ended, written.numbers.get(ended.record.claimed.id)) for ended in done]
            )

    async def _record(self, records: Sequence[AttemptRecord]) -> _Written:
        async with self._pool.acquire() as connection:
            async with connection.transaction():
                locked, locked_out = await self._lock(connection, records)
                free = [each for each in records if each.claimed.endpoint_id not in locked_out]
                numbers = await write_records(connection, free) if free else {}
                # Of what is written a second time, its commit being unknown, nothing follows any more.
                repeated = await find_recorded_attempts(
                    connection, [each for each in free if each.claimed.id not in numbers]
                )
                fresh = [each for each in free if each.id not in repeated]
                notices = await self._judge(connection, locked, _by_endpoint(fresh))
                await enqueue_events(connection, notices)
            self._made.update(known.id for known in locked)
            if notices:
                await _tell(connection, notices)
        return _Written(numbers, locked_out)

    async def _lock(
        self, connection: RawConnection, records: Sequence[AttemptRecord]
    ) -> tuple[list[LockedEndpoint], set[UUID]]:
        """Lock the records' endpoints: those that it got, and those that somebody else has locked."""
        ids = {each.claimed.endpoint_id for each in records}
        if len(self._made) > _MOST_REMEMBERED:
            self._made.clear()
        if new := ids - self._made:
            await endpoint_states.create_missing_states(connection, new)
        failed = any(not each.outcome.delivered for each in records)
        locked = await endpoint_states.lock_endpoints(connection, ids, whole=failed)
        locked_out = await endpoint_states.find_existing_endpoints(
            connection, ids - {known.id for known in locked}
        )
        self._made -= locked_out
        return locked, locked_out

    async def _judge(
        self,
        connection: RawConnection,
        locked: Sequence[LockedEndpoint],
        by_endpoint: Mapping[UUID, Sequence[AttemptRecord]],
    ) -> list[OutboxRecord]:
        """Bring the endpoints' states up to date, and do what follows; gives the notices of it."""
        changed: list[tuple[UUID, EndpointHealth]] = []
        notices: list[OutboxRecord] = []
        for known in locked:
            if known.id not in by_endpoint:
                continue
            health, verdicts = self._judged(known.health, by_endpoint[known.id])
            changed.append((known.id, health))
            # Disabled already, or meanwhile by its owner: there is nothing to tell.
            for verdict in verdicts if known.enabled else []:
                ended_at = by_endpoint[known.id][-1].ended_at
                notices.append(
                    await endpoint_states.apply_health_action(connection, known, health, verdict, ended_at)
                )
        await endpoint_states.write_states(connection, changed)
        return notices

    def _judged(
        self, health: EndpointHealth, records: Sequence[AttemptRecord]
    ) -> tuple[EndpointHealth, list[HealthAction]]:
        """A state after several attempts, in the order of their ends; a disabling ends what they lead to."""
        verdicts: list[HealthAction] = []
        for each in records:
            health, verdict = update_health(
                health,
                each.outcome,
                started_at=each.started_at,
                ended_at=each.ended_at,
                limits=self._limits,
                chance=random.random(),  # noqa: S311 (spread, not secrecy)
            )
            final = bool(verdicts) and verdicts[-1] is not HealthAction.WARN
            if verdict is not None and not final:
                verdicts.append(verdict)
        return health, verdicts


def _by_endpoint(records: Sequence[AttemptRecord]) -> dict[UUID, list[AttemptRecord]]:
    """Each endpoint's, in the order in which they ended."""
    by_endpoint: dict[UUID, list[AttemptRecord]] = {}
    for each in sorted(records, key=lambda each: each.ended_at):
        by_endpoint.setdefault(each.claimed.endpoint_id, []).append(each)
    return by_endpoint


def _plain(ended: QueuedAttempt) -> QueuedAttempt:
    """The same without what the receiver said: the database did not take it."""
    outcome = ended.record.outcome
    reason = outcome.reason if outcome.delivered else "internal_error"
    plain = ended.record._replace(outcome=AttemptOutcome(reason, None, None, outcome.duration_ms))
    return ended._replace(record=plain)


async def _tell(connection: RawConnection, notices: Sequence[OutboxRecord]) -> None:
    """Wake whoever fans out; what was committed stands, whether that succeeds or not."""
    for notice in notices:
        ENDPOINT_NOTICES.labels(notice.type).inc()
        data = notice.payload
        _log.warning(
            "endpoint_notice", type=notice.type, endpoint_id=str(data["endpoint_id"]), reason=data["reason"]
        )
    try:
        await wake_dispatcher(connection)
    except DATABASE_ERRORS as error:
        _log.warning("wake_failed", error=str(error) or type(error).__name__)


def _batch(waiting: Sequence[QueuedAttempt]) -> tuple[list[QueuedAttempt], list[QueuedAttempt]]:
    """What is written next, and what after it: of a delivery there is one record at most in a batch."""
    chosen: dict[UUID, QueuedAttempt] = {}
    later: list[QueuedAttempt] = []
    for ended in waiting:
        known = ended.record.claimed.id
        if len(chosen) < MOST_AT_ONCE and known not in chosen:
            chosen[known] = ended
        else:
            later.append(ended)
    return list(chosen.values()), later
