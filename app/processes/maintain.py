"""The maintain role: what has to be done now and then, and by one process only.

It does to alerts what time does to them (silences end, nobody acknowledges), repeats to Alertmanager what
fires, shows how many fire, keeps the broker's accounts in step with the database, watches what the broker
drops, judges rules on indices when periods are over, makes incidents of what boxes heard, tries rules on
stored samples, summarises hours and days, removes what sites keep no longer and what is to be erased, and
what is no longer needed: the samples of deleted boxes, old deliveries and outbox entries, answers that are
kept no longer, sign-ins and invitations that have ended, people who belong nowhere, heartbeats of processes
that are gone. What doors have counted of refusals it sums up by day; of people's requests it tells those that
are overdue. Secrets it seals under the newest key. The heads of audit logs it writes to its own log, for
whoever keeps that elsewhere.
"""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import asyncpg

from app.alerts.alert_timers import Sweeper
from app.alerts.alertmanager_repeats import repeat_alerts
from app.alerts.indicator_worker import IndexWorker
from app.audit.head_witness import Witness
from app.incidents.worker import IncidentWorker
from app.notifications.delivery import endpoint_states
from app.notifications.delivery.delivery_leases import count_pending
from app.notifications.delivery.retention import forget, forget_former_secrets
from app.notifications.events.operator_events import announce_dropped, last_dropped, prune
from app.notifications.events.quota_notices import forget_usage, tell_quotas
from app.people.retention import forget_people
from app.platform.broker.drop_monitor import RECENT_S, BrokerWatch
from app.platform.db.advisory_locks import MAINTAINER
from app.platform.db.database import TRANSIENT
from app.platform.http.contract import idempotency_keys
from app.platform.observability.metrics_and_logs import (
    ALERTS_FIRING,
    ALERTS_MUTED,
    ENDPOINTS_TROUBLED,
    GROUPS_OLDEST,
    GROUPS_WAITING,
    OUTBOX_PENDING,
    get_logger,
)
from app.platform.runtime.heartbeat import BROKER, WAITING, say
from app.platform.runtime.process_runner import Role
from app.platform.runtime.stored_settings import Installation
from app.platform.secrets.resealing import Resealer
from app.platform.secrets.sealing import Sealer
from app.privacy_requests.worker import look_after_requests
from app.quarantine.entry_writer import purge_quarantine
from app.registry.box_configurations import publish_due
from app.registry.broker_password_file import sync
from app.registry.refusal_counts import fold_door_refusals
from app.rules.backtests.worker import BacktestWorker
from app.timeseries.erasure.worker import ErasureWorker
from app.timeseries.retention.worker import RetentionWorker
from app.timeseries.rollups.worker import RollupWorker

_log = get_logger(__name__)
_TICK_S = 1.0
_PATIENCE_S = 5.0
_SLICE = 50_000
_BOXES: Final = 20
# How long boxes are removed before others have their turn: alerts are to be raised, silences to end.
_PURGE_S: Final = 1.0
# However much is dropped, its operators are told once a minute.
_ANNOUNCE_EVERY_S: Final = 60.0


@dataclass(slots=True)
class _Job:
    """Something done every so often. `due` counts down in ticks.

    What leaves some of its work for the next tick, so that the others have their turn, says so (True).
    """

    name: str
    every_s: float
    work: Callable[[Role, asyncpg.Connection], Awaitable[bool | None]]
    due: float = 0.0


_FIRING: Final = """
SELECT count(*) AS firing, count(*) FILTER (WHERE suppressed -> 'silences' <> '[]') AS silence,
    count(*) FILTER (WHERE suppressed -> 'inhibited_by' <> '[]') AS inhibition
FROM alerts WHERE state = 'firing' AND NOT dry_run
"""
# What is held back waits for as long as it is muted, and is no delay.
_GROUPS: Final = """
SELECT count(*) AS groups, coalesce(extract(epoch FROM now() - min((
    SELECT min(e.created_at) FROM group_events e WHERE e.group_id = g.id AND NOT e.held
)))::float8, 0) AS oldest
FROM delivery_groups g WHERE g.due_at IS NOT NULL AND NOT g.held
"""


async def _show_counts(_: Role, connection: asyncpg.Connection) -> None:
    (alerts,) = await connection.fetch(_FIRING)
    ALERTS_FIRING.set(alerts["firing"])
    for by in ("silence", "inhibition"):
        ALERTS_MUTED.labels(by).set(alerts[by])
    (groups,) = await connection.fetch(_GROUPS)
    GROUPS_WAITING.set(groups["groups"])
    GROUPS_OLDEST.set(max(groups["oldest"], 0))
    OUTBOX_PENDING.set(await count_pending(connection))
    troubled = await endpoint_states.count(connection)
    for state, number in troubled._asdict().items():
        ENDPOINTS_TROUBLED.labels(state).set(number)


async def _keep_accounts(role: Role, _: asyncpg.Connection) -> None:
    await sync(role.database, role.settings.broker, only_if_stale=True)


async def _publish_configs(role: Role, _: asyncpg.Connection) -> None:
    await publish_due(role.database, role.settings.broker)


async def _purge_boxes(_: Role, connection: asyncpg.Connection) -> bool:
    """Remove deleted boxes and their samples. Returns whether more are left than there was time for."""
    until = time.monotonic() + _PURGE_S
    keys = await connection.fetch(
        "SELECT key FROM boxes WHERE deleted_at < now() - interval '1 minute' ORDER BY deleted_at LIMIT $1",
        _BOXES,
    )
    for (key,) in keys:
        while await _remove_samples(connection, key):
            if time.monotonic() >= until:
                return True
        for table in ("rollup_marks", "hourly", "daily"):
            await connection.execute(f"DELETE FROM {table} WHERE box_key = $1", key)  # noqa: S608 (constants)
        await connection.execute("DELETE FROM boxes WHERE key = $1", key)
        _log.info("box_purged", box_key=key)
        if time.monotonic() >= until:
            return True
    return len(keys) == _BOXES


async def _remove_samples(connection: asyncpg.Connection, key: int) -> bool:
    """Remove a slice of a box's samples: no lock is held for long. Returns whether it was a full one."""
    tag = await connection.execute(
        "DELETE FROM samples WHERE box_key = $1 AND time IN "
        "(SELECT time FROM samples WHERE box_key = $1 ORDER BY time LIMIT $2)",
        key,
        _SLICE,
    )
    return int(tag.rpartition(" ")[2]) == _SLICE


async def _purge_quarantine(role: Role, connection: asyncpg.Connection) -> None:
    removed = await purge_quarantine(connection, keep_days=role.settings.quarantine.keep_days)
    if removed:
        _log.info("quarantine_purged", entries=removed)


async def _forget_deliveries(role: Role, connection: asyncpg.Connection) -> None:
    await forget(connection, keep_days=role.settings.webhooks.keep_days)


async def _forget_people(role: Role, connection: asyncpg.Connection) -> None:
    await forget_people(connection, role.settings.sessions)


async def _look_after_requests(role: Role, connection: asyncpg.Connection) -> None:
    await look_after_requests(connection, role.settings.rights)


async def _prune(role: Role, connection: asyncpg.Connection) -> None:
    await prune(connection, keep_days=role.settings.webhooks.keep_events_days)
    await connection.execute("DELETE FROM heartbeats WHERE at < now() - interval '5 minutes'")
    await connection.execute("DELETE FROM claim_attempts WHERE until < now()")
    await idempotency_keys.purge(connection)
    await forget_usage(connection, datetime.now(UTC))
    await fold_door_refusals(connection, datetime.now(UTC))


async def _tell_quotas(role: Role, connection: asyncpg.Connection) -> None:
    await tell_quotas(connection, role.settings.quotas, datetime.now(UTC))


class _Warden:
    """Tells others what the watch of the broker finds: the operators' endpoints, and `/readyz`.

    The watch itself goes on while the database is away, which is when a broker's queues fill.
    """

    def __init__(self, watch: BrokerWatch) -> None:
        self.watch = watch
        self._announced = -_ANNOUNCE_EVERY_S

    async def tell(self, _: Role, connection: asyncpg.Connection) -> None:
        """Announce what was dropped, and say in a heartbeat how the broker does."""
        watch = self.watch
        if not watch.running:
            watch.start(await last_dropped(connection))
        dropped, started_at = watch.unannounced, watch.tally.started_at
        if dropped and started_at and time.monotonic() - self._announced >= _ANNOUNCE_EVERY_S:
            total = watch.tally.total
            now = datetime.now(UTC)
            if await announce_dropped(
                connection, dropped=dropped, total=total, started_at=started_at, now=now
            ):
                watch.unannounced -= dropped
                self._announced = time.monotonic()
        recent = watch.recent()
        word = f"dropped {recent} messages in the last {RECENT_S / 60:g} minutes" if recent else ""
        await say(connection, BROKER, word)


class _Repeater:
    """Repeats to Alertmanager what fires, with links to where clients reach the API now."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation

    async def tell(self, role: Role, connection: asyncpg.Connection) -> None:
        """Make the repeats that are due."""
        await self._installation.refresh(role.database)
        await repeat_alerts(connection, role.settings.webhooks, self._installation.base_url)


def _jobs(
    warden: _Warden,
    *,
    backtests: BacktestWorker,
    indices: IndexWorker,
    incidents: IncidentWorker,
    resealer: Resealer,
    repeater: _Repeater,
) -> list[_Job]:
    sweeper = Sweeper()

    async def seal_anew(_: Role, connection: asyncpg.Connection) -> None:
        await forget_former_secrets(connection)
        await resealer.turn(connection)

    async def sweep_alerts(_: Role, connection: asyncpg.Connection) -> None:
        await sweeper.turn(connection)

    async def try_rules(role: Role, connection: asyncpg.Connection) -> None:
        await backtests.tick(role.database, connection)

    async def judge_indices(role: Role, connection: asyncpg.Connection) -> None:
        await indices.tick(role.database, connection)

    rollups = RollupWorker()

    async def roll_up(_: Role, connection: asyncpg.Connection) -> bool:
        return await rollups.turn(connection)

    async def show_rollups(_: Role, connection: asyncpg.Connection) -> None:
        await rollups.show(connection)

    retention = RetentionWorker()

    async def remove_old(_: Role, connection: asyncpg.Connection) -> bool:
        return await retention.turn(connection)

    erasures = ErasureWorker()

    async def erase(_: Role, connection: asyncpg.Connection) -> bool:
        return await erasures.turn(connection)

    witness = Witness()

    async def tell_heads(_: Role, connection: asyncpg.Connection) -> None:
        await witness.tell(connection)

    return [
        _Job("broker", 1.0, warden.tell),
        _Job("alerts", 2.0, sweep_alerts),
        _Job("repeats", 30.0, repeater.tell),
        _Job("counts", 2.0, _show_counts),
        _Job("accounts", 60.0, _keep_accounts),
        _Job("configs", 5.0, _publish_configs),
        _Job("backtests", 1.0, try_rules),
        _Job("indices", 5.0, judge_indices),
        _Job("incidents", 1.0, incidents.tick),
        _Job("quotas", 5.0, _tell_quotas),
        _Job("rollups", 5.0, roll_up),
        _Job("rollup-figures", 15.0, show_rollups),
        _Job("erasures", 2.0, erase),
        _Job("retention", 60.0, remove_old),
        _Job("purge", 30.0, _purge_boxes),
        _Job("prune", 300.0, _prune),
        _Job("quarantine", 300.0, _purge_quarantine),
        _Job("secrets", 60.0, seal_anew),
        _Job("deliveries", 300.0, _forget_deliveries),
        _Job("people", 300.0, _forget_people),
        _Job("rights", 30.0, _look_after_requests),
        _Job("audit", 3600.0, tell_heads),
    ]


async def _hold_and_work(role: Role, warden: _Warden, resealer: Resealer, repeater: _Repeater) -> None:
    connection = await role.database.connect()
    backtests, indices = BacktestWorker(), IndexWorker()
    incidents = IncidentWorker(role.settings.incidents)
    jobs = _jobs(
        warden,
        backtests=backtests,
        indices=indices,
        incidents=incidents,
        resealer=resealer,
        repeater=repeater,
    )
    held = False
    try:
        while not role.stop.is_set():
            # Kept until the connection ends: otherwise two maintainers would take turns, and do all twice.
            held = held or await connection.fetchval("SELECT pg_try_advisory_lock($1)", MAINTAINER)
            role.state = "working" if held else "standby"
            if held:
                await _work(role, connection, jobs)
            else:
                # Another one watches by now: two would count everything twice.
                await warden.watch.stop()
            await role.pause(_TICK_S)
    finally:
        await incidents.stop()
        await indices.stop()
        await backtests.stop()
        connection.terminate()


async def _work(role: Role, connection: asyncpg.Connection, jobs: list[_Job]) -> None:
    for job in jobs:
        job.due -= _TICK_S
        if job.due > 0:
            continue
        job.due = job.every_s
        try:
            if await job.work(role, connection):
                job.due = 0.0
        except TRANSIENT as error:
            # A job that fails (a file that cannot be written, say) must not keep the others from their turn.
            _log.warning("maintenance_failed", job=job.name, error=repr(error))
            # After a time-out or a broken stream nobody knows in which state the connection is.
            await connection.fetchval("SELECT 1", timeout=_PATIENCE_S)


async def maintain(role: Role) -> None:
    """The work of `vigie maintain`."""
    warden = _Warden(BrokerWatch(role.settings.broker))
    sealer = Sealer.of(role.settings.encryption)
    resealer, repeater = Resealer(sealer), _Repeater(Installation(role.settings, sealer))
    try:
        while not role.stop.is_set():
            try:
                await _hold_and_work(role, warden, resealer, repeater)
            except TRANSIENT as error:
                role.state = f"{WAITING}: {type(error).__name__}"
                _log.warning("maintenance_interrupted", error=repr(error))
                await role.pause(2.0)
    finally:
        await warden.watch.stop()
