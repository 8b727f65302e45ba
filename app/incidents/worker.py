"""Makes incidents of events: beside whatever else its process does, and in one process alone.

Owns that each version of an incident is told once. What events mean is computed in a thread, outside of any
transaction; then one transaction claims the events, sees that nobody has been there, and writes incidents,
history and outbox. Marks go with the last of what they ask for: whoever dies in between has done nothing that
is done again, and two do nothing twice.
"""

import asyncio
import time
from contextlib import suppress
from typing import Final
from uuid import UUID

import asyncpg

from app.incidents.air_assumptions import build_localisation_settings, estimate_temperature
from app.incidents.event_clustering import cluster_events
from app.incidents.incident_plan import StoredIncident, exclude_partial_incidents, plan_incidents
from app.incidents.incident_versions import compute_incident_columns
from app.incidents.time_slots import (
    MAX_SLOT_EVENTS,
    MAX_WINDOW_EVENTS,
    ClusteringWindow,
    find_clustering_windows,
    thin_events,
)
from app.incidents.updates_and_settling import enqueue_updates, has_due_work, settle_incidents
from app.incidents.worker_queries import (
    IncidentSite,
    MarkedSlots,
    StoredSoundEvent,
    find_gathering_sites,
    find_incident_site,
    find_stored_incidents,
    list_event_times,
    list_events_of_incidents,
    list_marked_slots,
    list_site_events,
    read_temperatures,
)
from app.incidents.worker_writes import ConcurrentChangeError, IncidentChangeSet, write_plan
from app.notifications.events.outbox import wake_dispatcher
from app.platform.config.incident_settings import IncidentSettings
from app.platform.db.database import DATABASE_ERRORS, Database, is_transient
from app.platform.observability.metrics_and_logs import (
    INCIDENT_EVENTS_SKIPPED,
    INCIDENT_SECONDS,
    INCIDENTS_TOLD,
    get_logger,
)
from app.platform.runtime.process_runner import ProcessContext

_log = get_logger(__name__)
_EVERY_S: Final = 0.5
_TURN_S: Final = 1.0
_AFTER_FAILURE_S: Final = 5.0
_STOP_S: Final = 5.0
_TRIES: Final = 5
_FORGET: Final = "DELETE FROM incident_marks WHERE id = ANY ($1::bigint[])"


class IncidentWorker:
    """Call `tick` now and then; `stop` before the process ends."""

    def __init__(self, settings: IncidentSettings) -> None:
        self._settings = settings
        self._working: asyncio.Task[None] | None = None
        self._failing: dict[tuple[UUID, int], float] = {}

    async def tick(self, role: ProcessContext, _: asyncpg.Connection) -> None:
        """See that the work goes on. Does not wait for it: what takes long holds up nobody."""
        if self._working is None or self._working.done():
            self._working = asyncio.create_task(self._work(role.database))

    async def stop(self) -> None:
        """End soon; what was not committed is done by the next one."""
        if self._working is not None and not self._working.done():
            self._working.cancel()
            with suppress(TimeoutError, asyncio.CancelledError):
                await asyncio.wait_for(self._working, _STOP_S)

    async def _work(self, database: Database) -> None:
        """Go on until stopped, or until something fails: the next tick begins anew."""
        connection: asyncpg.Connection | None = None
        try:
            connection = await database.connect()
            while True:
                if not await self.turn(connection):
                    await asyncio.sleep(_EVERY_S)
        except DATABASE_ERRORS as error:
            _log.warning("incidents_interrupted", error=repr(error))
        except Exception:  # noqa: BLE001 (whatever it is, the role goes on)
            _log.exception("incidents_failed")
        finally:
            if connection is not None:
                connection.terminate()

    async def turn(self, connection: asyncpg.Connection) -> bool:
        """Do a piece of what is due for each site; returns whether more could be done now."""
        if not await has_due_work(connection, self._settings):
            return False
        told = 0
        done = False
        until = time.monotonic() + _TURN_S
        coming = await find_gathering_sites(connection, self._settings.gather_s)
        for work in await list_marked_slots(connection):
            if work.site_id in coming:
                continue
            if self._failing.get(_place(work), 0.0) > time.monotonic():
                continue
            if done and time.monotonic() > until:
                # What has come since has its turn too.
                break
            done = True
            told += await self._try(connection, work)
            if told:
                # Soon: with many sites there is much to do before the end.
                await wake_dispatcher(connection)
        told_now = await enqueue_updates(connection, self._settings) + await settle_incidents(
            connection, self._settings
        )
        if told_now:
            await wake_dispatcher(connection)
        return done

    async def _try(self, connection: asyncpg.Connection, work: MarkedSlots) -> int:
        """Do a piece of work; one that fails waits a little, and keeps no other waiting, not of its site."""
        try:
            for _ in range(_TRIES):
                with suppress(ConcurrentChangeError):
                    return await self._do(connection, work)
        except Exception as error:
            if is_transient(error):
                raise
            _log.exception("incidents_of_site_failed", site_id=str(work.site_id))
        now = time.monotonic()
        self._failing = {place: until for place, until in self._failing.items() if until > now}
        self._failing[_place(work)] = now + _AFTER_FAILURE_S
        return 0

    async def _do(self, connection: asyncpg.Connection, work: MarkedSlots) -> int:
        """Look at marked slots of a site; returns how many events were put into the outbox.

        Raises:
            MovedError: somebody was there; what was committed stands, and is found by who looks again.
        """
        site = await find_incident_site(connection, work.site_id)
        wanted = (
            []
            if site is None
            else find_clustering_windows(await list_event_times(connection, work), work.slots)
        )
        told = 0
        for stretch in wanted:
            assert site is not None  # noqa: S101 (or nothing is wanted)
            told += await self._look(connection, site, stretch)
        await connection.execute(_FORGET, work.marks)
        return told

    async def _look(
        self, connection: asyncpg.Connection, site: IncidentSite, stretch: ClusteringWindow
    ) -> int:
        began = time.perf_counter()
        events, known = await _read(connection, site.id, stretch)
        if not events:
            return 0
        boxes = {event.box_key for event in events}
        measured = await read_temperatures(connection, site.id, stretch.last_us, boxes)
        temperature = estimate_temperature(measured, site.kind, self._settings)
        assumptions = build_localisation_settings(temperature, site.kind, self._settings)
        heard = [event.heard for event in events]
        found = await asyncio.to_thread(cluster_events, heard, assumptions, crowded=stretch.crowded)
        plan = plan_incidents(found, known, self._settings.opening_probability)
        case = IncidentChangeSet(
            site,
            known,
            plan,
            lambda each: compute_incident_columns(each, assumptions, temperature),
            {event.heard.id: event.box_key for event in events},
        )
        entries = await write_plan(connection, case, self._settings.moved_m)
        INCIDENT_SECONDS.observe(time.perf_counter() - began)
        for entry in entries:
            INCIDENTS_TOLD.labels(entry.kind).inc()
        return len(entries)


def _place(work: MarkedSlots) -> tuple[UUID, int]:
    """By what a piece of work is known again: its site, and where it begins."""
    return work.site_id, work.slots[0]


async def _read(
    connection: asyncpg.Connection, site_id: UUID, stretch: ClusteringWindow
) -> tuple[list[StoredSoundEvent], list[StoredIncident]]:
    """The events of a stretch, as many as are looked at, and the incidents that they are of."""
    events = await list_site_events(connection, site_id, stretch.first_us, stretch.last_us)
    most = MAX_SLOT_EVENTS if stretch.crowded else MAX_WINDOW_EVENTS
    chosen = thin_events(events, lambda event: event.heard.box, most)
    if len(chosen) < len(events):
        INCIDENT_EVENTS_SKIPPED.inc(len(events) - len(chosen))
        _log.warning(
            "incident_events_skipped", site_id=str(site_id), events=len(events), looked_at=len(chosen)
        )
    concerned = {event.incident_id for event in chosen if event.incident_id is not None}
    if not concerned:
        return chosen, []
    all_of_them = await list_events_of_incidents(connection, concerned)
    known = await find_stored_incidents(connection, all_of_them)
    if stretch.crowded:
        heard, known = exclude_partial_incidents([event.heard for event in chosen], known)
        left = {each.id for each in heard}
        return [event for event in chosen if event.heard.id in left], known
    there = {event.heard.id for event in chosen}
    return [*chosen, *(event for event in all_of_them if event.heard.id not in there)], known
