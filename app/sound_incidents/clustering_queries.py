"""Reads the incident worker's input: time slots to process, sound events, incidents, temperatures."""

from bisect import bisect_left
from collections.abc import Collection, Sequence
from datetime import timedelta
from itertools import zip_longest
from typing import Any, Final, NamedTuple
from uuid import UUID

import msgspec

from app.acoustics.classification_pooling import ClassCandidate
from app.platform.db.database import RawConnection
from app.platform.kernel.instants import from_datetime, to_datetime
from app.registry.cross_tenant_repository import read_sites
from app.sound_incidents.event_clustering import HEARD_TYPES, HeardEvent
from app.sound_incidents.incident_planner import StoredIncident
from app.sound_incidents.sound_event_windows import find_first_run, search_range_us
from app.timeseries.storage.newest_samples import read_newest_values

_MARKS: Final = 2_000
_RUNS: Final = 50
_OLDEST: Final = "SELECT id, site_id, slot FROM incident_marks ORDER BY id LIMIT $1"
_NEWEST: Final = "SELECT id, site_id, slot FROM incident_marks ORDER BY id DESC LIMIT $1"
# After a box moved to another site, its earlier events stay with the incidents of the former site.
_AT_SITE: Final = """
FROM timeseries_events e JOIN registry_boxes b ON b.key = e.box_key
LEFT JOIN incident_events ie ON ie.event_id = e.id
LEFT JOIN incidents i ON i.id = ie.incident_id
WHERE b.site_id = $1 AND e.time >= $2 AND e.time < $3 AND e.type = ANY ($4::text[])
    AND (i.id IS NULL OR i.site_id = $1)
"""
_TIMES: Final = f"""
SELECT coalesce(array_agg(round(extract(epoch FROM e.time) * 1000000)::bigint ORDER BY e.time), '{{}}')
{_AT_SITE}
"""  # noqa: S608 (constants)
_COLUMNS: Final = """
SELECT e.id, e.box_key, b.id AS box, e.time, e.type, e.candidates::text AS candidates, e.level_db,
    e.clock_error_ms, coalesce(ie.longitude, b.longitude) AS longitude,
    coalesce(ie.latitude, b.latitude) AS latitude, ie.incident_id, ie.role
"""
_EVENTS: Final = f"{_COLUMNS} {_AT_SITE} ORDER BY e.time, b.id, e.id"
_MORE: Final = f"""
{_COLUMNS} FROM incident_events ie JOIN timeseries_events e ON e.id = ie.event_id
JOIN registry_boxes b ON b.key = e.box_key
WHERE ie.incident_id = ANY ($1::uuid[]) ORDER BY e.time, b.id, e.id
"""
_INCIDENTS: Final = "SELECT * FROM incidents WHERE id = ANY ($1::uuid[]) ORDER BY id"
_TEMPERATURE_BOXES: Final = """
SELECT key FROM registry_boxes WHERE site_id = $1 AND deleted_at IS NULL
ORDER BY key = ANY ($2::int[]) DESC, key LIMIT 50
"""
_TEMPERATURE_AGE: Final = timedelta(hours=1)
_GATHERING: Final = """
SELECT site_id FROM incident_marks GROUP BY site_id
HAVING max(made_at) > clock_timestamp() - $1::interval AND min(made_at) > clock_timestamp() - 3 * $1::interval
"""


class MarkedSlots(NamedTuple):
    """Marked slots of a site that are processed together, with the ids of their marks."""

    site_id: UUID
    slots: list[int]
    marks: list[int]


class IncidentSite(NamedTuple):
    """A site with its organisation and its kind."""

    id: UUID
    organisation_id: UUID
    kind: str


class _Candidate(msgspec.Struct, rename={"class_": "class"}):
    class_: str
    confidence: float
    model: str | None = None


class StoredSoundEvent(NamedTuple):
    """A stored event, with its current incident and role."""

    heard: HeardEvent
    box_key: int
    incident_id: UUID | None
    role: str | None


_candidates: Final = msgspec.json.Decoder(list[_Candidate]).decode


async def find_gathering_sites(connection: RawConnection, gather_s: float) -> frozenset[UUID]:
    """Find the sites that are still receiving events of the current sounds.

    Args:
        connection: a connection of the maintain process.
        gather_s: the wait after the last mark, s. It ends three times as long after the first mark, so that
            continuous events do not delay processing for ever.
    """
    return frozenset(
        row["site_id"] for row in await connection.fetch(_GATHERING, timedelta(seconds=gather_s))
    )


async def list_marked_slots(connection: RawConnection) -> list[MarkedSlots]:
    """List marked slots round-robin by site; of each site first the newest mark, then the oldest ones.

    So neither old data that arrive late nor another site delay current events.
    """
    by_site: dict[UUID, list[tuple[int, int]]] = {}
    rows = [*await connection.fetch(_OLDEST, _MARKS), *await connection.fetch(_NEWEST, _MARKS)]
    for mark, site_id, slot in sorted({(row["id"], row["site_id"], row["slot"]) for row in rows}):
        by_site.setdefault(site_id, []).append((mark, slot))
    queues = [_runs(site_id, marks) for site_id, marks in by_site.items()]
    return [work for slots in zip_longest(*queues) for work in slots if work is not None]


def _runs(site_id: UUID, marks: list[tuple[int, int]]) -> list[MarkedSlots]:
    """Group the marks of a site into runs of close slots."""
    by_slot: dict[int, list[int]] = {}
    for mark, slot in marks:
        by_slot.setdefault(slot, []).append(mark)
    left = sorted(by_slot)
    works: list[MarkedSlots] = []
    begin = marks[-1][1]
    while left and len(works) < _RUNS:
        run = find_first_run(left[bisect_left(left, begin) :])
        works.append(MarkedSlots(site_id, run, [mark for slot in run for mark in by_slot[slot]]))
        left = [slot for slot in left if slot not in run]
        begin = left[0] if left else 0
    return works


async def find_incident_site(connection: RawConnection, site_id: UUID) -> IncidentSite | None:
    """Read a site's organisation and kind; None if the site was deleted."""
    rows = await read_sites(connection, [site_id])
    return IncidentSite(site_id, rows[0]["organisation_id"], rows[0]["kind"]) if rows else None


async def list_event_times(connection: RawConnection, work: MarkedSlots) -> list[int]:
    """List the times of events around marked slots, ascending, µs."""
    first, last = (to_datetime(edge) for edge in search_range_us(work.slots))
    times: list[int] = await connection.fetchval(_TIMES, work.site_id, first, last, HEARD_TYPES)
    return times


async def list_site_events(
    connection: RawConnection, site_id: UUID, first_us: int, last_us: int
) -> list[StoredSoundEvent]:
    """List the events of a site in a time range.

    Args:
        connection: a connection of the maintain process.
        site_id: the site.
        first_us: the first instant, included, µs since the epoch.
        last_us: the last instant, included, µs since the epoch.
    """
    rows = await connection.fetch(
        _EVENTS, site_id, to_datetime(first_us), to_datetime(last_us + 1), HEARD_TYPES
    )
    return [_event(row) for row in rows]


async def list_events_of_incidents(
    connection: RawConnection, incidents: Collection[UUID]
) -> list[StoredSoundEvent]:
    """List the events of incidents, also those of boxes that have moved to another site."""
    return [_event(row) for row in await connection.fetch(_MORE, list(incidents))]


def _event(row: Any) -> StoredSoundEvent:  # noqa: ANN401 (a record)
    position = None if row["longitude"] is None else (row["longitude"], row["latitude"])
    candidates = tuple(
        ClassCandidate(each.class_, min(max(each.confidence, 0.0), 1.0), each.model)
        for each in _candidates(row["candidates"])
    )
    heard = HeardEvent(
        str(row["id"]),
        row["box"],
        from_datetime(row["time"]),
        row["type"],
        candidates,
        row["level_db"],
        row["clock_error_ms"],
        position,
    )
    return StoredSoundEvent(heard, row["box_key"], row["incident_id"], row["role"])


async def find_stored_incidents(
    connection: RawConnection, events: Sequence[StoredSoundEvent]
) -> list[StoredIncident]:
    """Find the incidents of events, with all their events, including those after a review."""
    by_incident: dict[UUID, set[str]] = {}
    for event in events:
        if event.incident_id is not None:
            by_incident.setdefault(event.incident_id, set()).add(event.heard.id)
    if not by_incident:
        return []
    rows = await connection.fetch(_INCIDENTS, list(by_incident))
    return [StoredIncident(decode_incident(row), frozenset(by_incident[row["id"]])) for row in rows]


_JSON: Final = ("ellipse", "branch", "alternative", "classes", "models", "temperature", "method", "told")


def decode_incident(row: Any) -> dict[str, Any]:  # noqa: ANN401 (a record)
    """Decode the JSON columns of an incident's row."""
    found = dict(row)
    for name in _JSON:
        if isinstance(found[name], str):
            found[name] = msgspec.json.decode(found[name])
    return found


async def read_temperatures(
    connection: RawConnection, site_id: UUID, at_us: int, heard_by: Collection[int]
) -> list[float]:
    """Read the newest temperature of each box of a site in the hour before an instant, °C.

    Args:
        connection: a connection of the maintain process.
        site_id: the site.
        at_us: the instant, µs since the epoch.
        heard_by: the keys of boxes to prefer; at most 50 boxes are read.
    """
    keys = [key for (key,) in await connection.fetch(_TEMPERATURE_BOXES, site_id, list(heard_by))]
    at = to_datetime(at_us)
    return await read_newest_values(connection, keys, "temperature", at - _TEMPERATURE_AGE, at)
