"""Stores an `IncidentPlan`: incidents, their sound events, history and outbox, in one transaction.

Lock order, to avoid deadlocks: rows of `incident_events` by event id, then incidents by id. After a
concurrent change nothing is written (`ConcurrentChangeError`).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import asyncpg
import msgspec

from app.notifications.events.outbox import OutboxRecord, enqueue_events
from app.platform.db.database import RawConnection
from app.platform.kernel.ids import new_id
from app.platform.kernel.instants import to_datetime
from app.sound_incidents.clustering_queries import IncidentSite, decode_incident
from app.sound_incidents.event_clustering import EventCluster, IncidentPart
from app.sound_incidents.incident_outbox_events import IncidentEventKind, build_incident_event
from app.sound_incidents.incident_planner import IncidentPlan, StoredIncident
from app.sound_incidents.incident_values import COMPUTED_COLUMNS, find_changes, summarise_incident

_JSON: Final = frozenset({"ellipse", "branch", "alternative", "classes", "models", "temperature", "method"})
_PLACEHOLDERS: Final = ", ".join(
    f"${number}{'::text::jsonb' if name in _JSON else ''}"
    for number, name in enumerate(COMPUTED_COLUMNS, start=5)
)
_SUMMARY: Final = f"${len(COMPUTED_COLUMNS) + 5}::text::jsonb"
_INSERT: Final = f"""
INSERT INTO incidents
    (id, organisation_id, site_id, detected_at, updated_at, told_at, {", ".join(COMPUTED_COLUMNS)}, told)
VALUES ($1, $2, $3, $4, $4, $4, {_PLACEHOLDERS}, {_SUMMARY})
RETURNING *
"""  # noqa: S608 (column names of ours)
_SET: Final = ", ".join(
    f"{name} = ${number}{'::text::jsonb' if name in _JSON else ''}"
    for number, name in enumerate(COMPUTED_COLUMNS, start=4)
)
_UPDATE: Final = f"""
UPDATE incidents SET updated_at = $2, untold = $3, settled_at = NULL, erased_at = NULL, {_SET} WHERE id = $1
"""  # noqa: S608 (column names of ours)
_LOCK: Final = """
SELECT id, state, sequence, updated_at FROM incidents WHERE id = ANY ($1::uuid[]) ORDER BY id FOR UPDATE
"""
_CLAIM: Final = """
INSERT INTO incident_events AS ie (event_id, incident_id, box_key, box, time, role, round, verdict,
    residual_ms, longitude, latitude)
SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::int[], $4::text[], $5::timestamptz[], $6::text[], $7::int[],
    $8::text[], $9::float8[], $10::float8[], $11::float8[]) AS g (event_id)
ORDER BY g.event_id
ON CONFLICT (event_id) DO UPDATE SET incident_id = excluded.incident_id, role = excluded.role,
    round = excluded.round, verdict = excluded.verdict, residual_ms = excluded.residual_ms
WHERE ie.incident_id = ANY ($12::uuid[])
RETURNING 1
"""
_RELEASE: Final = """
DELETE FROM incident_events WHERE incident_id = ANY ($1::uuid[]) AND event_id <> ALL ($2::uuid[])
"""
_SUPERSEDE: Final = """
UPDATE incidents SET state = 'dismissed', outcome = 'superseded', reviewed_kind = 'system',
    reviewed_at = $2, superseded_by = $3, sequence = sequence + 1, untold = false, updated_at = $2
WHERE id = $1 RETURNING *
"""
_HISTORY: Final = """
INSERT INTO incident_history (id, incident_id, kind, at, sequence, data)
SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::timestamptz[], $5::int[], $6::text[]::jsonb[])
"""


class ConcurrentChangeError(Exception):
    """Events or incidents were changed concurrently: read them again and retry."""


class IncidentHistoryEntry:
    """An entry of an incident's history, and its outbox event."""

    def __init__(
        self, kind: IncidentEventKind, row: Mapping[str, Any], now: datetime, changes: Sequence[str] = ()
    ) -> None:
        self.kind = kind
        self.row = row
        self.now = now
        self.changes = list(changes)

    def to_outbox_record(self) -> OutboxRecord:
        """Build the outbox record of the entry."""
        return build_incident_event(self.kind, self.row, self.now, self.changes)


@dataclass(frozen=True, slots=True)
class IncidentChangeSet:
    """The changes of one window, which are written together.

    Attributes:
        site: the site.
        known: the stored incidents that were read.
        plan: the planned changes.
        content: computes the columns of a cluster.
        keys: the box key of each event, by event id.
    """

    site: IncidentSite
    known: Sequence[StoredIncident]
    plan: IncidentPlan
    content: Callable[[EventCluster], dict[str, Any]]
    keys: Mapping[str, int]


async def write_plan(
    connection: RawConnection, change_set: IncidentChangeSet, moved_m: float
) -> list[IncidentHistoryEntry]:
    """Write a plan with its history and outbox events in one transaction; returns the history entries.

    Args:
        connection: outside a transaction.
        change_set: the changes.
        moved_m: a position counts as moved beyond this distance, m.

    Raises:
        ConcurrentChangeError: events or incidents were changed concurrently; nothing was written.
    """
    plan = change_set.plan
    entries: list[IncidentHistoryEntry] = []
    async with connection.transaction():
        now: datetime = await connection.fetchval("SELECT clock_timestamp()")
        claims: list[tuple[UUID, str, Sequence[IncidentPart]]] = []
        for each in plan.opened:
            row = await insert_incident(connection, change_set.site, change_set.content(each), now)
            entries.append(IncidentHistoryEntry("detected", row, now))
            claims.append((row["id"], "", each.parts))
        claims += [(before.id, "", each.parts) for before, each in plan.continued]
        claims += [(before.id, "after_review", parts) for before, parts in plan.late]
        claimed = await claim_events(connection, claims, change_set)
        await lock_incidents(connection, change_set.known)
        open_ids = [each.id for each in change_set.known if not each.reviewed]
        await release_events(connection, open_ids, claimed)
        for before, each in plan.continued:
            content = change_set.content(each)
            if any(before.row[name] != content[name] for name in COMPUTED_COLUMNS):
                changes = find_changes(before.row["told"], summarise_incident(content), moved_m)
                await update_incident(connection, before.id, content, now, untold=bool(changes))
        for before, by in plan.superseded:
            entries.append(
                IncidentHistoryEntry(
                    "dismissed", await supersede_incident(connection, before.id, by, now), now
                )
            )
        await write_history(connection, entries)
        await enqueue_events(connection, [entry.to_outbox_record() for entry in entries])
    return entries


async def claim_events(
    connection: RawConnection,
    claims: Iterable[tuple[UUID, str, Sequence[IncidentPart]]],
    change_set: IncidentChangeSet,
) -> list[UUID]:
    """Assign events to incidents.

    Args:
        connection: in the caller's transaction.
        claims: for each incident its id, a role that replaces that of the events (or ""), and the events.
        change_set: the changes, with the incidents that may lose events to others.

    Returns:
        The ids of the claimed events.

    Raises:
        ConcurrentChangeError: an event was deleted, or belongs to another incident now.
    """
    rows = [
        (
            UUID(part.heard.id),
            incident,
            change_set.keys[part.heard.id],
            part.heard.box,
            to_datetime(part.heard.time_us),
            role or part.role,
            part.round,
            part.verdict,
            part.residual_ms,
            *(part.heard.position or (None, None)),
        )
        for incident, role, parts in claims
        for part in parts
    ]
    if not rows:
        return []
    try:
        done = await connection.fetch(
            _CLAIM, *map(list, zip(*rows, strict=True)), [each.id for each in change_set.known]
        )
    except asyncpg.ForeignKeyViolationError as error:
        raise ConcurrentChangeError from error
    if len(done) != len(rows):
        raise ConcurrentChangeError
    return [row[0] for row in rows]


async def lock_incidents(connection: RawConnection, known: Sequence[StoredIncident]) -> None:
    """Lock incidents, and check that they are unchanged since they were read (ConcurrentChangeError)."""
    rows = await connection.fetch(_LOCK, [each.id for each in known])
    read = {each.id: each.row for each in known}
    unchanged = all(
        (row["state"], row["sequence"], row["updated_at"])
        == (read[row["id"]]["state"], read[row["id"]]["sequence"], read[row["id"]]["updated_at"])
        for row in rows
    )
    if len(rows) != len(known) or not unchanged:
        raise ConcurrentChangeError


async def release_events(
    connection: RawConnection, incidents: Iterable[UUID], claimed: Sequence[UUID]
) -> None:
    """Remove events from incidents, except for the claimed ones."""
    await connection.execute(_RELEASE, list(incidents), claimed)


def _values(content: Mapping[str, Any]) -> list[Any]:
    return [_json(content[name]) if name in _JSON else content[name] for name in COMPUTED_COLUMNS]


def _json(value: object) -> str | None:
    return None if value is None else msgspec.json.encode(value).decode()


async def insert_incident(
    connection: RawConnection, site: IncidentSite, content: Mapping[str, Any], now: datetime
) -> dict[str, Any]:
    """Insert an incident; returns its row.

    Args:
        connection: in the caller's transaction.
        site: the site of the incident.
        content: the computed columns.
        now: the time of detection, aware.
    """
    summary = _json(summarise_incident(content))
    ids = new_id(), site.organisation_id, site.id
    return decode_incident(await connection.fetchrow(_INSERT, *ids, now, *_values(content), summary))


async def update_incident(
    connection: RawConnection, identifier: UUID, content: Mapping[str, Any], now: datetime, *, untold: bool
) -> None:
    """Update the computed columns of an incident.

    Args:
        connection: in the caller's transaction.
        identifier: the id of the incident.
        content: the computed columns.
        now: the time of the change, aware.
        untold: whether an `incident.updated` becomes due.
    """
    await connection.execute(_UPDATE, identifier, now, untold, *_values(content))


async def supersede_incident(
    connection: RawConnection, incident: UUID, by: UUID, now: datetime
) -> dict[str, Any]:
    """Dismiss an incident that became part of another one; returns its row.

    Args:
        connection: in the caller's transaction.
        incident: the id of the incident.
        by: the id of the other incident.
        now: the time of the change, aware.
    """
    return decode_incident(await connection.fetchrow(_SUPERSEDE, incident, now, by))


async def write_history(connection: RawConnection, entries: Sequence[IncidentHistoryEntry]) -> None:
    """Write entries of the history of incidents."""
    if not entries:
        return
    rows = [
        (
            new_id(),
            entry.row["id"],
            entry.kind,
            entry.now,
            entry.row["sequence"],
            _json({**summarise_incident(entry.row), "changes": entry.changes}),
        )
        for entry in entries
    ]
    await connection.execute(_HISTORY, *map(list, zip(*rows, strict=True)))
