"""What happens to alerts because time passes: silences begin and end, nobody acknowledges, reminders are due.

Owns all that no sample causes. Works by the database's clock, in short transactions of its own, each of which
finds what is due by what is stored: one that is interrupted is done again, and nothing is done twice. An
alert that somebody else is changing is left for the next time.

Organisations are looked at together, in parts of so many alerts. One that takes long or fails is looked at on
its own from then on, and more rarely: the others do not wait for it.
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

from app.alerts import alert_bulk_repository
from app.alerts.alert_bulk_repository import AlertRow
from app.alerts.alert_events import REASON_SAMPLES, REASON_UNACKNOWLEDGED, AlertEventType, build_alert_event
from app.alerts.alert_timeline import NewTimelineEntry, TimelineKind, write_timeline
from app.alerts.alert_transitions import restart_due_times
from app.alerts.muting_queries import find_alerts_to_check, find_due_alerts, find_muted
from app.alerts.muting_service import find_next_window
from app.notifications.events.outbox import OutboxRecord, enqueue_events, wake_dispatcher
from app.platform.db.database import RawConnection
from app.platform.observability.metrics_and_logs import SWEEP_FAILURES, SWEEP_SECONDS, get_logger
from app.rules.definitions.severity import find_highest_severity, rank_severity

_log = get_logger(__name__)
_BATCH: Final = 500
# What more there is to tell waits for the next turn: other work of the same process has to be done too.
_MOST: Final = 10 * _BATCH
# Alerts that one statement looks at: it is to end in time also where there are as many silences as may be.
_PART: Final = 1000
_PATIENCE: Final = "SET LOCAL statement_timeout = '10s'"
# In company a statement is soon given up, and each looked at alone.
_LITTLE_PATIENCE: Final = "SET LOCAL statement_timeout = '2s'"
# What is slow, and how often it may be.
_SLOW_S: Final = 1.0
_REST: Final = 5
# How long whoever was in company when that was slow or failed is looked at alone, to find out who it is.
_ALONE_S: Final = 60.0
# What is wrong with one organisation's alerts: all else is wrong with the connection, or with the program.
_ITS_OWN: Final = (asyncpg.PostgresError, LookupError, TypeError, ValueError)

_LOCK: Final = f"""
SELECT {alert_bulk_repository.SELECTED_COLUMNS}, r.name AS rule_name, now() AS clock
FROM alerts a JOIN rules r ON r.id = a.rule_id
WHERE a.id = ANY ($1::uuid[]) AND a.state = 'firing' AND NOT a.dry_run
ORDER BY a.id
FOR UPDATE OF a SKIP LOCKED
"""  # noqa: S608 (column names of ours)
_PASSED: Final = """
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
    """Take one turn (see `AlertTimerRunner`)."""
    return await AlertTimerRunner().turn(connection)


class AlertTimerRunner:
    """Does what is due, turn by turn, and remembers which organisations take long."""

    def __init__(self) -> None:
        self._alone: dict[UUID, float] = {}
        self._rests: dict[UUID, float] = {}

    async def turn(self, connection: RawConnection) -> int:
        """Do what is due, and wake the dispatcher if anything was told.

        Args:
            connection: outside a transaction.

        Returns:
            How many outbox events were written.
        """
        with SWEEP_SECONDS.time():
            await _roll_windows(connection)
            told = 0
            for part in self._parts(await find_alerts_to_check(connection)):
                told += await self._look(connection, part)
                if told >= _MOST:
                    break
            return told

    def _parts(self, concerned: Iterable[tuple[UUID, UUID]]) -> Iterator[dict[UUID, list[UUID]]]:
        """Put the alerts of organisations together into parts, each organisation's in as few as may be."""
        now = time.monotonic()
        self._alone = {owner: until for owner, until in self._alone.items() if until > now}
        self._rests = {owner: until for owner, until in self._rests.items() if until > now}
        part: dict[UUID, list[UUID]] = {}
        apart: list[dict[UUID, list[UUID]]] = []
        for owner, group in groupby(concerned, itemgetter(0)):
            if owner in self._rests:
                continue
            alerts = [alert for _, alert in group]
            if owner in self._alone or len(alerts) > _PART:
                apart.append({owner: alerts})
                continue
            if sum(map(len, part.values())) + len(alerts) > _PART:
                yield part
                part = {}
            part[owner] = alerts
        if part:
            yield part
        yield from apart

    async def _look(self, connection: RawConnection, part: dict[UUID, list[UUID]]) -> int:
        """Do what is due of some organisations; of each on its own, where that fails."""
        began = time.monotonic()
        told = 0
        patience = _PATIENCE if len(part) == 1 else _LITTLE_PATIENCE
        try:
            for alerts in batched((alert for group in part.values() for alert in group), _PART):
                told += await _do(connection, alerts, patience)
        except _ITS_OWN as error:
            if connection.is_closed():
                raise
            if len(part) > 1:
                self._keep_apart(part)
                fewest_first = sorted(part, key=lambda owner: len(part[owner]))
                return told + sum([await self._look(connection, {one: part[one]}) for one in fewest_first])
            self._fail(next(iter(part)), error, time.monotonic() - began)
            return told
        took = time.monotonic() - began
        if took > _SLOW_S:
            self._keep_apart(part)
            if len(part) == 1:
                self._rests[next(iter(part))] = time.monotonic() + _REST * took
        return told

    def _keep_apart(self, owners: Iterable[UUID]) -> None:
        self._alone |= dict.fromkeys(owners, time.monotonic() + _ALONE_S)

    def _fail(self, owner: UUID, error: Exception, took: float) -> None:
        SWEEP_FAILURES.labels(type(error).__name__).inc()
        _log.warning("sweep_failed", organisation_id=str(owner), error=repr(error), took_s=round(took, 2))
        self._keep_apart([owner])
        self._rests[owner] = time.monotonic() + max(_REST * took, _ALONE_S / 2)


async def _do(connection: RawConnection, alerts: Sequence[UUID], patience: str) -> int:
    """Do what is due of some alerts, in transactions of its own."""
    async with connection.transaction(readonly=True):
        await connection.execute(patience)
        found = await find_due_alerts(connection, alerts)
    told = 0
    for batch in batched(found, _BATCH):
        async with connection.transaction():
            await connection.execute(patience)
            events = await _attend(connection, batch)
        if events:
            await wake_dispatcher(connection)
        told += events
    return told


async def _roll_windows(connection: RawConnection) -> None:
    """Find the next window of each schedule whose present one is over."""
    async with connection.transaction():
        passed = await connection.fetch(_PASSED, _BATCH)
        if not passed:
            return
        windows = [
            find_next_window(msgspec.json.decode(row["schedule"]), row["timezone"], row["clock"])
            for row in passed
        ]
        await connection.execute(
            _ROLL,
            [row["id"] for row in passed],
            [window.start for window in windows],
            [window.end for window in windows],
        )


async def _attend(connection: RawConnection, found: Sequence[Any]) -> int:
    """Lock alerts, see what holds for them now, and do it."""
    held = [alert_bulk_repository.decode_alert_row(row) for row in await connection.fetch(_LOCK, found)]
    if not held:
        return 0
    muted = await find_muted(connection, [row["id"] for row in held])
    turn = _Turn(held[0]["clock"])
    for row in held:
        turn.attend(row, muted.get(row["id"]))
    await alert_bulk_repository.update_alerts(connection, turn.changed, turn.clock)
    await write_timeline(connection, turn.entries)
    await enqueue_events(connection, turn.events)
    return len(turn.events)


class _Turn:
    """What one transaction does, at one time of the database's clock."""

    def __init__(self, clock: datetime) -> None:
        self.clock = clock
        self.changed: list[AlertRow] = []
        self.entries: list[NewTimelineEntry] = []
        self.events: list[OutboxRecord] = []

    def attend(self, row: AlertRow, muted: dict[str, Any] | None) -> None:
        """Do what is due of one alert, which is firing."""
        before = dict(row)
        row["suppressed"] = muted
        if muted is None:
            if before["suppressed"] is not None:
                self._unmute(row, before["suppressed"])
            if row["acknowledged_at"] is None:
                self._escalate(row)
                self._remind(row)
        elif before["suppressed"] is None:
            self._enter(row, "suppressed", muted)
        if row != before:
            self.changed.append(row)

    def _unmute(self, row: AlertRow, before: dict[str, Any]) -> None:
        told = row["told_severity"]
        self._enter(row, "unsuppressed", before)
        if told is None:
            # Those who can acknowledge it hear of it only now.
            restart_due_times(row, self.clock)
            self._tell(row, "alert.firing")
        elif told != row["severity"]:
            up = rank_severity(row["severity"]) > rank_severity(told)
            # Of what is muted, time changes nothing.
            more = {"reason": REASON_SAMPLES, "previous_severity": told}
            self._tell(row, "alert.escalated" if up else "alert.deescalated", more)

    def _escalate(self, row: AlertRow) -> None:
        """Raise the severity by the steps that are due, of which the last one counts."""
        before, steps = row["severity"], row["escalations"]
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
        why = {"reason": REASON_UNACKNOWLEDGED, "previous_severity": before}
        self._enter(row, "escalated", {**why, "after_s": after / 1_000_000})
        self._tell(row, "alert.escalated", why)

    def _remind(self, row: AlertRow) -> None:
        if row["remind_at"] is None or row["remind_at"] > self.clock:
            return
        # From now on, not from when it was due: what was missed while nothing ran is not made up for.
        row["remind_at"] = self.clock + timedelta(microseconds=row["remind_us"])
        self._enter(row, "reminded")
        self._tell(row, "alert.reminder")

    def _enter(self, row: AlertRow, kind: TimelineKind, data: dict[str, Any] | None = None) -> None:
        self.entries.append(
            NewTimelineEntry(row["id"], row["organisation_id"], kind, self.clock, row["severity"], data=data)
        )

    def _tell(self, row: AlertRow, kind: AlertEventType, more: Mapping[str, Any] | None = None) -> None:
        row["sequence"] += 1
        row["told_severity"] = row["severity"]
        self.events.append(build_alert_event(kind, row, row["rule_name"], self.clock, more))
