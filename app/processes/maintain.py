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

from app.alerts.alert_timers import AlertTimerRunner
from app.alerts.alertmanager_repeats import repeat_alerts
from app.alerts.indicator_rule_worker import IndicatorRuleWorker
from app.audit.verification import HeadLogger
from app.incidents.worker import IncidentWorker
from app.notifications.delivery import endpoint_states
from app.notifications.delivery.delivery_leases import count_pending_deliveries
from app.notifications.delivery.retention import delete_expired_secrets, delete_old_deliveries
from app.notifications.events.operator_events import notify_dropped_messages, prune_outbox, read_last_dropped
from app.notifications.events.quota_notices import delete_old_usage, notify_quota_usage
from app.people.repository import purge_people_data
from app.platform.broker.drop_monitor import RECENT_S, BrokerDropMonitor
from app.platform.db.advisory_locks import MAINTAINER
from app.platform.db.database import DATABASE_ERRORS
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
from app.platform.runtime.heartbeat import BROKER_MONITOR, WAITING, write_heartbeat
from app.platform.runtime.process_runner import ProcessContext
from app.platform.runtime.stored_settings import InstallationSettings
from app.platform.secrets.resealing import SecretResealer
from app.platform.secrets.sealing import SecretSealer
from app.privacy_requests.worker import process_overdue_requests
from app.quarantine.entry_writer import purge_quarantine
from app.registry.box_configurations import publish_due_configs
from app.registry.broker_password_file import sync_password_file
from app.registry.refusal_counts import fold_refusal_counts
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
    work: Callable[[ProcessContext, asyncpg.Connection], Awaitable[bool | None]]
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


async def _show_counts(_: ProcessContext, connection: asyncpg.Connection) -> None:
    (alerts,) = await connection.fetch(_FIRING)
    ALERTS_FIRING.set(alerts["firing"])
    for by in ("silence", "inhibition"):
        ALERTS_MUTED.labels(by).set(alerts[by])
    (groups,) = await connection.fetch(_GROUPS)
    GROUPS_WAITING.set(groups["groups"])
    GROUPS_OLDEST.set(max(groups["oldest"], 0))
    OUTBOX_PENDING.set(await count_pending_deliveries(connection))
    troubled = await endpoint_states.count_endpoint_states(connection)
    for state, number in troubled._asdict().items():
        ENDPOINTS_TROUBLED.labels(state).set(number)


async def _keep_accounts(role: ProcessContext, _: asyncpg.Connection) -> None:
    await sync_password_file(role.database, role.settings.broker, only_if_stale=True)


async def _publish_configs(role: ProcessContext, _: asyncpg.Connection) -> None:
    await publish_due_configs(role.database, role.settings.broker)


async def _purge_boxes(_: ProcessContext, connection: asyncpg.Connection) -> bool:
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


async def _purge_quarantine(role: ProcessContext, connection: asyncpg.Connection) -> None:
    removed = await purge_quarantine(connection, keep_days=role.settings.quarantine.keep_days)
    if removed:
        _log.info("quarantine_purged", entries=removed)


async def _forget_deliveries(role: ProcessContext, connection: asyncpg.Connection) -> None:
    await delete_old_deliveries(connection, keep_days=role.settings.webhooks.keep_days)


async def _forget_people(role: ProcessContext, connection: asyncpg.Connection) -> None:
    await purge_people_data(connection, role.settings.sessions)


async def _look_after_requests(role: ProcessContext, connection: asyncpg.Connection) -> None:
    await process_overdue_requests(connection, role.settings.rights)


async def _prune(role: ProcessContext, connection: asyncpg.Connection) -> None:
    await prune_outbox(connection, keep_days=role.settings.webhooks.keep_events_days)
    await connection.execute("DELETE FROM heartbeats WHERE at < now() - interval '5 minutes'")
    await connection.execute("DELETE FROM claim_attempts WHERE until < now()")
    await idempotency_keys.delete_expired_keys(connection)
    await delete_old_usage(connection, datetime.now(UTC))
    await fold_refusal_counts(connection, datetime.now(UTC))


async def _tell_quotas(role: ProcessContext, connection: asyncpg.Connection) -> None:
    await notify_quota_usage(connection, role.settings.quotas, datetime.now(UTC))


class _Warden:
    """Tells others what the watch of the broker finds: the operators' endpoints, and `/readyz`.

    The watch itself goes on while the database is away, which is when a broker's queues fill.
    """

    def __init__(self, watch: BrokerDropMonitor) -> None:
        self.watch = watch
        self._announced = -_ANNOUNCE_EVERY_S

    async def tell(self, _: ProcessContext, connection: asyncpg.Connection) -> None:
        """Announce what was dropped, and say in a heartbeat how the broker does."""
        watch = self.watch
        if not watch.running:
            watch.start(await read_last_dropped(connection))
        dropped, started_at = watch.unannounced, watch.tally.started_at
        if dropped and started_at and time.monotonic() - self._announced >= _ANNOUNCE_EVERY_S:
            total = watch.tally.total
            now = datetime.now(UTC)
            if await notify_dropped_messages(
                connection, dropped=dropped, total=total, started_at=started_at, now=now
            ):
                watch.unannounced -= dropped
                self._announced = time.monotonic()
        recent = watch.recent()
        word = f"dropped {recent} messages in the last {RECENT_S / 60:g} minutes" if recent else ""
        await write_heartbeat(connection, BROKER_MONITOR, word)


class _Repeater:
    """Repeats to Alertmanager what fires, with links to where clients reach the API now."""

    def __init__(self, installation: InstallationSettings) -> None:
        self._installation = installation

    async def tell(self, role: ProcessContext, connection: asyncpg.Connection) -> None:
        """Make the repeats that are due."""
        await self._installation.refresh(role.database)
        await repeat_alerts(connection, role.settings.webhooks, self._installation.base_url)


def _jobs(
    warden: _Warden,
    *,
    backtests: BacktestWorker,
    indices: IndicatorRuleWorker,
    incidents: IncidentWorker,
    resealer: SecretResealer,
    repeater: _Repeater,
) -> list[_Job]:
    sweeper = AlertTimerRunner()

    async def seal_anew(_: ProcessContext, connection: asyncpg.Connection) -> None:
        await delete_expired_secrets(connection)
        await resealer.turn(connection)

    async def sweep_alerts(_: ProcessContext, connection: asyncpg.Connection) -> None:
        await sweeper.run_once(connection)

    async def try_rules(role: ProcessContext, connection: asyncpg.Connection) -> None:
        await backtests.tick(role.database, connection)

    async def judge_indices(role: ProcessContext, connection: asyncpg.Connection) -> None:
        await indices.tick(role.database, connection)

    rollups = RollupWorker()

    async def roll_up(_: ProcessContext, connection: asyncpg.Connection) -> bool:
        return await rollups.turn(connection)

    async def show_rollups(_: ProcessContext, connection: asyncpg.Connection) -> None:
        await rollups.show(connection)

    retention = RetentionWorker()

    async def remove_old(_: ProcessContext, connection: asyncpg.Connection) -> bool:
        return await retention.turn(connection)

    erasures = ErasureWorker()

    async def erase(_: ProcessContext, connection: asyncpg.Connection) -> bool:
        return await erasures.turn(connection)

    witness = HeadLogger()

    async def tell_heads(_: ProcessContext, connection: asyncpg.Connection) -> None:
        await witness.log_changed(connection)

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


async def _hold_and_work(
    role: ProcessContext, warden: _Warden, resealer: SecretResealer, repeater: _Repeater
) -> None:
    connection = await role.database.connect()
    backtests, indices = BacktestWorker(), IndicatorRuleWorker()
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


async def _work(role: ProcessContext, connection: asyncpg.Connection, jobs: list[_Job]) -> None:
    for job in jobs:
        job.due -= _TICK_S
        if job.due > 0:
            continue
        job.due = job.every_s
        try:
            if await job.work(role, connection):
                job.due = 0.0
        except DATABASE_ERRORS as error:
            # A job that fails (a file that cannot be written, say) must not keep the others from their turn.
            _log.warning("maintenance_failed", job=job.name, error=repr(error))
            # After a time-out or a broken stream nobody knows in which state the connection is.
            await connection.fetchval("SELECT 1", timeout=_PATIENCE_S)


async def run_maintain(role: ProcessContext) -> None:
    """The work of `vigie maintain`."""
    warden = _Warden(BrokerDropMonitor(role.settings.broker))
    sealer = SecretSealer.of(role.settings.encryption)
    resealer, repeater = SecretResealer(sealer), _Repeater(InstallationSettings(role.settings, sealer))
    try:
        while not role.stop.is_set():
            try:
                await _hold_and_work(role, warden, resealer, repeater)
            except DATABASE_ERRORS as error:
                role.state = f"{WAITING}: {type(error).__name__}"
                _log.warning("maintenance_interrupted", error=repr(error))
                await role.pause(2.0)
    finally:
        await warden.watch.stop()
