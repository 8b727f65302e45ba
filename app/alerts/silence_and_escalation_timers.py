"""Runs the timers of alerts: begins and ends of silences, escalations and reminders.

Uses the database's clock and short transactions. Each finds due work from stored state, so an interrupted one
is repeated and nothing happens twice. Alerts that another transaction has locked are skipped until next time.

Organisations are processed together, in chunks of alerts. An organisation that is slow or fails is isolated
for a while and processed less often, so that it does not delay others.
"""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import batched, groupby
from operator import itemgetter
from typing import Any, Final
from uuid import UUID

import asyncpg
import msgspec

from app.alerts import alert_row_writer
from app.alerts.alert_events import REASON_SAMPLES, REASON_UNACKNOWLEDGED, AlertEventType, build_alert_event
from app.alerts.alert_row_writer import AlertRow
from app.alerts.muting_queries import find_alerts_to_check, find_due_alerts, find_muted
from app.alerts.prometheus_metrics import SWEEP_FAILURES, SWEEP_SECONDS
from app.alerts.silence_times import find_next_window
from app.alerts.timeline_writer import NewTimelineEntry, TimelineKind, write_timeline
from app.alerts.transition_applier import restart_due_times
from app.notifications.events.outbox import OutboxRecord, enqueue_events, wake_dispatcher
from app.platform.db.database import RawConnection
from app.platform.kernel.instants import US_PER_S
from app.platform.observability.metrics_and_logs import get_logger
from app.rules.definitions.severity import find_highest_severity, rank_severity

_log = get_logger(__name__)
_BATCH: Final = 500
# Events of one run; more wait for the next one, so that other jobs of the process are not delayed.
_MAX_EVENTS: Final = 10 * _BATCH
# Alerts in one statement: with the most silences allowed, it still ends before its timeout.
_CHUNK: Final = 1000
_TIMEOUT: Final = "SET LOCAL statement_timeout = '10s'"
# A chunk of several organisations times out earlier; then each organisation is processed separately.
_SHARED_TIMEOUT: Final = "SET LOCAL statement_timeout = '2s'"
_SLOW_S: Final = 1.0
# A slow organisation is skipped for this multiple of its duration.
_SKIP_FACTOR: Final = 5
# How long the organisations of a slow or failed chunk are processed separately, to find the cause.
_ISOLATION_S: Final = 60.0
# Errors that the data of one organisation can cause. Others concern the connection or the program.
_TENANT_ERRORS: Final = (asyncpg.PostgresError, LookupError, TypeError, ValueError)

_LOCK: Final = f"""
SELECT {alert_row_writer.SELECTED_COLUMNS}, r.name AS rule_name, now() AS clock
FROM alerts a JOIN rules_definitions r ON r.id = a.rule_id
WHERE a.id = ANY ($1::uuid[]) AND a.state = 'firing' AND NOT a.dry_run
ORDER BY a.id
FOR UPDATE OF a SKIP LOCKED
"""  # noqa: S608 (column names of ours)
_ENDED_WINDOWS: Final = """
SELECT id, schedule::text AS schedule, timezone, now() AS clock FROM silences
WHERE schedule IS NOT NULL AND window_end <= now() AND coalesce(ends_at, 'infinity') > now()
ORDER BY id LIMIT $1
FOR UPDATE SKIP LOCKED
"""
_ROLL: Final = """
UPDATE silences s SET window_start = t.window_start, window_end = t.window_end
FROM unnest($1::uuid[], $2::timestamptz[], $3::timestamptz[]) AS t (id, window_start, window_end)
WHERE s.id = t.id
"""


async def run_alert_timers(connection: RawConnection) -> int:
    """Run the timers once (see `AlertTimerRunner`)."""
    return await AlertTimerRunner().run_once(connection)


class AlertTimerRunner:
    """Runs due timers of all organisations, and isolates slow and failing ones."""

    def __init__(self) -> None:
        self._isolated_until: dict[UUID, float] = {}
        self._skipped_until: dict[UUID, float] = {}

    async def run_once(self, connection: RawConnection) -> int:
        """Run due timers, and wake the dispatcher if there are events.

        Args:
            connection: outside a transaction.

        Returns:
            The number of outbox events.
        """
        with SWEEP_SECONDS.time():
            await _roll_windows(connection)
            event_count = 0
            for chunk in self._split_chunks(await find_alerts_to_check(connection)):
                event_count += await self._process_chunk(connection, chunk)
                if event_count >= _MAX_EVENTS:
                    break
            return event_count

    def _split_chunks(self, concerned: Iterable[tuple[UUID, UUID]]) -> Iterator[dict[UUID, list[UUID]]]:
        """Split alerts into chunks of whole organisations; isolated ones come last, each on its own."""
        now = time.monotonic()
        self._isolated_until = {key: until for key, until in self._isolated_until.items() if until > now}
        self._skipped_until = {key: until for key, until in self._skipped_until.items() if until > now}
        chunk: dict[UUID, list[UUID]] = {}
        isolated: list[dict[UUID, list[UUID]]] = []
        for owner, group in groupby(concerned, itemgetter(0)):
            if owner in self._skipped_until:
                continue
            alerts = [alert for _, alert in group]
            if owner in self._isolated_until or len(alerts) > _CHUNK:
                isolated.append({owner: alerts})
                continue
            if sum(map(len, chunk.values())) + len(alerts) > _CHUNK:
                yield chunk
                chunk = {}
            chunk[owner] = alerts
        if chunk:
            yield chunk
        yield from isolated

    async def _process_chunk(self, connection: RawConnection, chunk: dict[UUID, list[UUID]]) -> int:
        """Run due timers of some organisations; after an error, of each organisation separately."""
        began = time.monotonic()
        event_count = 0
        timeout = _TIMEOUT if len(chunk) == 1 else _SHARED_TIMEOUT
        try:
            for alerts in batched((alert for group in chunk.values() for alert in group), _CHUNK):
                event_count += await _process_alerts(connection, alerts, timeout)
        except _TENANT_ERRORS as error:
            if connection.is_closed():
                raise
            if len(chunk) > 1:
                self._isolate(chunk)
                fewest_first = sorted(chunk, key=lambda owner: len(chunk[owner]))
                return event_count + sum(
                    [await self._process_chunk(connection, {one: chunk[one]}) for one in fewest_first]
                )
            self._fail(next(iter(chunk)), error, time.monotonic() - began)
            return event_count
        took = time.monotonic() - began
        if took > _SLOW_S:
            self._isolate(chunk)
            if len(chunk) == 1:
                self._skipped_until[next(iter(chunk))] = time.monotonic() + _SKIP_FACTOR * took
        return event_count

    def _isolate(self, owners: Iterable[UUID]) -> None:
        self._isolated_until |= dict.fromkeys(owners, time.monotonic() + _ISOLATION_S)

    def _fail(self, owner: UUID, error: Exception, took: float) -> None:
        SWEEP_FAILURES.labels(type(error).__name__).inc()
        _log.warning("sweep_failed", organisation_id=str(owner), error=repr(error), took_s=round(took, 2))
        self._isolate([owner])
        self._skipped_until[owner] = time.monotonic() + max(_SKIP_FACTOR * took, _ISOLATION_S / 2)


async def _process_alerts(connection: RawConnection, alerts: Sequence[UUID], statement_timeout: str) -> int:
    """Run due timers of some alerts, in separate transactions."""
    async with connection.transaction(readonly=True):
        await connection.execute(statement_timeout)
        found = await find_due_alerts(connection, alerts)
    event_count = 0
    for batch in batched(found, _BATCH):
        async with connection.transaction():
            await connection.execute(statement_timeout)
            events = await _process_batch(connection, batch)
        if events:
            await wake_dispatcher(connection)
        event_count += events
    return event_count


async def _roll_windows(connection: RawConnection) -> None:
    """Set the next window of each schedule after its current one has ended."""
    async with connection.transaction():
        ended = await connection.fetch(_ENDED_WINDOWS, _BATCH)
        if not ended:
            return
        windows = [
            find_next_window(msgspec.json.decode(row["schedule"]), row["timezone"], row["clock"])
            for row in ended
        ]
        await connection.execute(
            _ROLL,
            [row["id"] for row in ended],
            [window.start for window in windows],
            [window.end for window in windows],
        )


async def _process_batch(connection: RawConnection, found: Sequence[Any]) -> int:
    """Lock alerts, evaluate their timers, and write the changes; returns the number of events."""
    locked = [alert_row_writer.decode_alert_row(row) for row in await connection.fetch(_LOCK, found)]
    if not locked:
        return 0
    muted = await find_muted(connection, [row["id"] for row in locked])
    changes = _TimerChanges(locked[0]["clock"])
    for row in locked:
        changes.apply(row, muted.get(row["id"]))
    await alert_row_writer.update_alerts(connection, changes.changed, changes.clock)
    await write_timeline(connection, changes.entries)
    await enqueue_events(connection, changes.events)
    return len(changes.events)


class _TimerChanges:
    """The changes of one transaction, at one time of the database's clock."""

    def __init__(self, clock: datetime) -> None:
        self.clock = clock
        self.changed: list[AlertRow] = []
        self.entries: list[NewTimelineEntry] = []
        self.events: list[OutboxRecord] = []

    def apply(self, row: AlertRow, muted: dict[str, Any] | None) -> None:
        """Apply due timers to one firing alert."""
        before = dict(row)
        row["suppressed"] = muted
        if muted is None:
            if before["suppressed"] is not None:
                self._unmute(row, before["suppressed"])
            if row["acknowledged_at"] is None:
                self._escalate(row)
                self._remind(row)
        elif before["suppressed"] is None:
            self._add_entry(row, "suppressed", muted)
        if row != before:
            self.changed.append(row)

    def _unmute(self, row: AlertRow, before: dict[str, Any]) -> None:
        notified_severity = row["told_severity"]
        self._add_entry(row, "unsuppressed", before)
        if notified_severity is None:
            # No notification was sent before, so escalations and reminders count from now.
            restart_due_times(row, self.clock)
            self._add_event(row, "alert.firing")
        elif notified_severity != row["severity"]:
            up = rank_severity(row["severity"]) > rank_severity(notified_severity)
            # Timers do not escalate muted alerts, so samples changed the severity.
            more = {"reason": REASON_SAMPLES, "previous_severity": notified_severity}
            if up:
                # Nothing says how much of the stored highest severity was reached while it was muted.
                self._add_event(row, "alert.escalated", more | {"previous_highest_severity": None})
            else:
                self._add_event(row, "alert.deescalated", more)

    def _escalate(self, row: AlertRow) -> None:
        """Raise the severity by all due steps; the event names the last one."""
        before, highest, steps = row["severity"], row["highest_severity"], row["escalations"]
        after = 0
        while row["escalate_at"] is not None and row["escalate_at"] <= self.clock:
            (after, severity), *steps = steps
            row["escalated_to"] = find_highest_severity(filter(None, (severity, row["escalated_to"])))
            row["severity"] = find_highest_severity((severity, row["severity"]))
            row["escalate_at"] = (
                row["escalate_at"] + timedelta(microseconds=steps[0][0] - after) if steps else None
            )
        row["escalations"] = steps
        if row["severity"] == before:
            return
        row["highest_severity"] = find_highest_severity((row["severity"], row["highest_severity"]))
        row["escalated_at"] = self.clock
        cause = {"reason": REASON_UNACKNOWLEDGED, "previous_severity": before}
        self._add_entry(row, "escalated", {**cause, "after_s": after / US_PER_S})
        self._add_event(row, "alert.escalated", {**cause, "previous_highest_severity": highest})

    def _remind(self, row: AlertRow) -> None:
        if row["remind_at"] is None or row["remind_at"] > self.clock:
            return
        # From now, not from the due time: reminders that were missed during a downtime are not repeated.
        row["remind_at"] = self.clock + timedelta(microseconds=row["remind_us"])
        self._add_entry(row, "reminded")
        self._add_event(row, "alert.reminder")

    def _add_entry(self, row: AlertRow, kind: TimelineKind, data: dict[str, Any] | None = None) -> None:
        self.entries.append(
            NewTimelineEntry(row["id"], row["organisation_id"], kind, self.clock, row["severity"], data=data)
        )

    def _add_event(self, row: AlertRow, kind: AlertEventType, more: Mapping[str, Any] | None = None) -> None:
        row["sequence"] += 1
        row["told_severity"] = row["severity"]
        self.events.append(build_alert_event(kind, row, row["rule_name"], self.clock, more))
