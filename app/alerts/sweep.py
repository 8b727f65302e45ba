"""What happens to alerts because time passes: silences begin and end, nobody acknowledges, reminders are due.

Owns all that no sample causes. Works by the database's clock, in short transactions of its own, each of which
finds what is due by what is stored: one that is interrupted is done again, and nothing is done twice. An
alert that somebody else is changing is left for the next time.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from itertools import batched
from typing import Any, Final

import msgspec

from app.alerts import rows
from app.alerts.events import SAMPLES, UNACKNOWLEDGED, EventType, event
from app.alerts.life import restart
from app.alerts.muting import CANDIDATES, find_muted
from app.alerts.rows import Row
from app.alerts.timeline import Entry, Kind, write
from app.alerts.windows import next_window
from app.core.database import RawConnection
from app.rules.severity import highest, rank
from app.webhooks.outbox import OutboxRecord, enqueue, wake

_BATCH: Final = 500
# What more there is waits for the next turn: other work of the same process has to be done too.
_MOST: Final = 10 * _BATCH

_LOCK: Final = f"""
SELECT {rows.SELECTED}, r.name AS rule_name, now() AS clock
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


async def sweep(connection: RawConnection) -> int:
    """Do what is due, and wake the dispatcher if anything was told.

    Args:
        connection: outside a transaction.

    Returns:
        How many outbox events were written.
    """
    await _roll_windows(connection)
    told = 0
    found = [row["id"] for row in await connection.fetch(CANDIDATES, _MOST)]
    for batch in batched(found, _BATCH):
        async with connection.transaction():
            events = await _attend(connection, batch)
        if events:
            await wake(connection)
        told += events
    return told


async def _roll_windows(connection: RawConnection) -> None:
    """Find the next window of each schedule whose present one is over."""
    async with connection.transaction():
        passed = await connection.fetch(_PASSED, _BATCH)
        if not passed:
            return
        windows = [
            next_window(msgspec.json.decode(row["schedule"]), row["timezone"], row["clock"]) for row in passed
        ]
        await connection.execute(
            _ROLL,
            [row["id"] for row in passed],
            [window.start for window in windows],
            [window.end for window in windows],
        )


async def _attend(connection: RawConnection, found: Sequence[Any]) -> int:
    """Lock alerts, see what holds for them now, and do it."""
    held = [rows.of_record(row) for row in await connection.fetch(_LOCK, found)]
    if not held:
        return 0
    muted = await find_muted(connection, [row["id"] for row in held])
    turn = _Turn(held[0]["clock"])
    for row in held:
        turn.attend(row, muted.get(row["id"]))
    await rows.update(connection, turn.changed, turn.clock)
    await write(connection, turn.entries)
    await enqueue(connection, turn.events)
    return len(turn.events)


class _Turn:
    """What one transaction does, at one time of the database's clock."""

    def __init__(self, clock: datetime) -> None:
        self.clock = clock
        self.changed: list[Row] = []
        self.entries: list[Entry] = []
        self.events: list[OutboxRecord] = []

    def attend(self, row: Row, muted: dict[str, Any] | None) -> None:
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

    def _unmute(self, row: Row, before: dict[str, Any]) -> None:
        told = row["told_severity"]
        self._enter(row, "unsuppressed", before)
        if told is None:
            # Those who can acknowledge it hear of it only now.
            restart(row, self.clock)
            self._tell(row, "alert.firing")
        elif told != row["severity"]:
            up = rank(row["severity"]) > rank(told)
            # Of what is muted, time changes nothing.
            more = {"reason": SAMPLES, "previous_severity": told}
            self._tell(row, "alert.escalated" if up else "alert.deescalated", more)

    def _escalate(self, row: Row) -> None:
        """Raise the severity by the steps that are due, of which the last one counts."""
        before, steps = row["severity"], row["escalations"]
        after = 0
        while row["escalate_at"] is not None and row["escalate_at"] <= self.clock:
            (after, severity), *steps = steps
            row["escalated_to"] = highest(filter(None, (severity, row["escalated_to"])))
            row["severity"] = highest((severity, row["severity"]))
            row["escalate_at"] = (
                row["escalate_at"] + timedelta(microseconds=steps[0][0] - after) if steps else None
            )
        row["escalations"] = steps
        if row["severity"] == before:
            return
        row["highest_severity"] = highest((row["severity"], row["highest_severity"]))
        row["escalated_at"] = self.clock
        why = {"reason": UNACKNOWLEDGED, "previous_severity": before}
        self._enter(row, "escalated", {**why, "after_s": after / 1_000_000})
        self._tell(row, "alert.escalated", why)

    def _remind(self, row: Row) -> None:
        if row["remind_at"] is None or row["remind_at"] > self.clock:
            return
        # From now on, not from when it was due: what was missed while nothing ran is not made up for.
        row["remind_at"] = self.clock + timedelta(microseconds=row["remind_us"])
        self._enter(row, "reminded")
        self._tell(row, "alert.reminder")

    def _enter(self, row: Row, kind: Kind, data: dict[str, Any] | None = None) -> None:
        self.entries.append(
            Entry(row["id"], row["organisation_id"], kind, self.clock, row["severity"], data=data)
        )

    def _tell(self, row: Row, kind: EventType, more: Mapping[str, Any] | None = None) -> None:
        row["sequence"] += 1
        row["told_severity"] = row["severity"]
        self.events.append(event(kind, row, row["rule_name"], self.clock, more))
