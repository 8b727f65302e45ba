"""Clusters new sound events into incidents in the background, and publishes each change once.

Clustering runs in a thread, outside of any transaction. Then one transaction claims the events, checks that
no other worker changed them, and writes incidents, history and outbox. A mark is deleted after its last
window. So the work is idempotent: after a crash it is repeated, and concurrent workers do no harm.
"""

import asyncio
import time
from contextlib import suppress
from typing import Final
from uuid import UUID

import asyncpg

from app.notifications.events.outbox import wake_dispatcher
from app.platform.db.database import DATABASE_ERRORS, Database, is_transient
from app.platform.observability.metrics_and_logs import get_logger
from app.sound_incidents.clustering_queries import (
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
from app.sound_incidents.event_clustering import cluster_events
from app.sound_incidents.incident_planner import (
    StoredIncident,
    exclude_partial_incidents,
    plan_incidents,
)
from app.sound_incidents.incident_updates_and_settling import (
    enqueue_updates,
    has_due_work,
    settle_incidents,
)
from app.sound_incidents.incident_values import compute_incident_columns
from app.sound_incidents.incident_writer import ConcurrentChangeError, IncidentChangeSet, write_plan
from app.sound_incidents.localisation_assumptions import (
    build_localisation_settings,
    estimate_temperature,
)
from app.sound_incidents.prometheus_metrics import (
    INCIDENT_EVENTS_SKIPPED,
    INCIDENT_SECONDS,
    INCIDENTS_TOLD,
)
from app.sound_incidents.settings import IncidentSettings
from app.sound_incidents.sound_event_windows import (
    MAX_SLOT_EVENTS,
    MAX_WINDOW_EVENTS,
    ClusteringWindow,
    find_clustering_windows,
    thin_events,
)

_log = get_logger(__name__)
_POLL_S: Final = 0.5
_SLICE_S: Final = 1.0
_RETRY_AFTER_S: Final = 5.0
_STOP_S: Final = 5.0
_MAX_ATTEMPTS: Final = 5
_DELETE_MARKS: Final = "DELETE FROM incident_marks WHERE id = ANY ($1::bigint[])"


class IncidentWorker:
    """Clusters in a background task. Call `tick` periodically, and `stop` before the process ends."""

    def __init__(self, settings: IncidentSettings) -> None:
        self._settings = settings
        self._task: asyncio.Task[None] | None = None
        self._retry_at: dict[tuple[UUID, int], float] = {}

    async def tick(self, database: Database, _: asyncpg.Connection) -> None:
        """Start the background task if it does not run. Does not wait for it: other jobs must not block."""
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(database))

    async def stop(self) -> None:
        """Cancel the background task. The next worker repeats uncommitted work."""
        if self._task is not None and not self._task.done():
            self._task.cancel()
            with suppress(TimeoutError, asyncio.CancelledError):
                await asyncio.wait_for(self._task, _STOP_S)

    async def _run(self, database: Database) -> None:
        """Work until cancelled or until an error; the next tick starts again."""
        connection: asyncpg.Connection | None = None
        try:
            connection = await database.connect()
            while True:
                if not await self.run_once(connection):
                    await asyncio.sleep(_POLL_S)
        except DATABASE_ERRORS as error:
            _log.warning("incidents_interrupted", error=repr(error))
        except Exception:  # noqa: BLE001 (no error may end the process)
            _log.exception("incidents_failed")
        finally:
            if connection is not None:
                connection.terminate()

    async def run_once(self, connection: asyncpg.Connection) -> bool:
        """Process due marks of all sites for about a second; returns whether there may be more to do now."""
        if not await has_due_work(connection, self._settings):
            return False
        event_count = 0
        done = False
        until = time.monotonic() + _SLICE_S
        gathering = await find_gathering_sites(connection, self._settings.gather_s)
        for work in await list_marked_slots(connection):
            if work.site_id in gathering:
                continue
            if self._retry_at.get(_retry_key(work), 0.0) > time.monotonic():
                continue
            if done and time.monotonic() > until:
                # Newer marks must not wait for all older ones.
                break
            done = True
            event_count += await self._process_with_retries(connection, work)
            if event_count:
                # Before the end of the loop: many sites can take long.
                await wake_dispatcher(connection)
        update_count = await enqueue_updates(connection, self._settings) + await settle_incidents(
            connection, self._settings
        )
        if update_count:
            await wake_dispatcher(connection)
        return done

    async def _process_with_retries(self, connection: asyncpg.Connection, work: MarkedSlots) -> int:
        """Process marked slots. After a failure they are retried later, and other slots are not delayed."""
        try:
            for _ in range(_MAX_ATTEMPTS):
                with suppress(ConcurrentChangeError):
                    return await self._process(connection, work)
        except Exception as error:
            if is_transient(error):
                raise
            _log.exception("incidents_of_site_failed", site_id=str(work.site_id))
        now = time.monotonic()
        self._retry_at = {key: until for key, until in self._retry_at.items() if until > now}
        self._retry_at[_retry_key(work)] = now + _RETRY_AFTER_S
        return 0

    async def _process(self, connection: asyncpg.Connection, work: MarkedSlots) -> int:
        """Process the windows of marked slots, and delete the marks; returns the number of outbox events.

        Raises:
            ConcurrentChangeError: another worker was faster. Committed windows stay; a retry finds them.
        """
        site = await find_incident_site(connection, work.site_id)
        windows = (
            []
            if site is None
            else find_clustering_windows(await list_event_times(connection, work), work.slots)
        )
        event_count = 0
        for window in windows:
            assert site is not None  # noqa: S101 (else there are no windows)
            event_count += await self._process_window(connection, site, window)
        await connection.execute(_DELETE_MARKS, work.marks)
        return event_count

    async def _process_window(
        self, connection: asyncpg.Connection, site: IncidentSite, window: ClusteringWindow
    ) -> int:
        began = time.perf_counter()
        events, known = await _read_window(connection, site.id, window)
        if not events:
            return 0
        boxes = {event.box_key for event in events}
        measured = await read_temperatures(connection, site.id, window.last_us, boxes)
        temperature = estimate_temperature(measured, site.kind, self._settings)
        assumptions = build_localisation_settings(temperature, site.kind, self._settings)
        heard = [event.heard for event in events]
        found = await asyncio.to_thread(cluster_events, heard, assumptions, crowded=window.crowded)
        plan = plan_incidents(found, known, self._settings.opening_probability)
        change_set = IncidentChangeSet(
            site,
            known,
            plan,
            lambda each: compute_incident_columns(each, assumptions, temperature),
            {event.heard.id: event.box_key for event in events},
        )
        entries = await write_plan(connection, change_set, self._settings.moved_m)
        INCIDENT_SECONDS.observe(time.perf_counter() - began)
        for entry in entries:
            INCIDENTS_TOLD.labels(entry.kind).inc()
        return len(entries)


def _retry_key(work: MarkedSlots) -> tuple[UUID, int]:
    """Return the identity of marked slots across retries: the site and the first slot."""
    return work.site_id, work.slots[0]


async def _read_window(
    connection: asyncpg.Connection, site_id: UUID, window: ClusteringWindow
) -> tuple[list[StoredSoundEvent], list[StoredIncident]]:
    """Read the events of a window, up to the limit, and the incidents that they belong to."""
    events = await list_site_events(connection, site_id, window.first_us, window.last_us)
    most = MAX_SLOT_EVENTS if window.crowded else MAX_WINDOW_EVENTS
    chosen = thin_events(events, lambda event: event.heard.box, most)
    if len(chosen) < len(events):
        INCIDENT_EVENTS_SKIPPED.inc(len(events) - len(chosen))
        _log.warning(
            "incident_events_skipped", site_id=str(site_id), events=len(events), looked_at=len(chosen)
        )
    concerned = {event.incident_id for event in chosen if event.incident_id is not None}
    if not concerned:
        return chosen, []
    incident_events = await list_events_of_incidents(connection, concerned)
    known = await find_stored_incidents(connection, incident_events)
    if window.crowded:
        heard, known = exclude_partial_incidents([event.heard for event in chosen], known)
        remaining = {each.id for each in heard}
        return [event for event in chosen if event.heard.id in remaining], known
    chosen_ids = {event.heard.id for event in chosen}
    return [*chosen, *(event for event in incident_events if event.heard.id not in chosen_ids)], known
