"""Runs the maintenance process: the periodic jobs that only one process may do.

- alerts: timers of silences and escalations, repeats to Alertmanager, gauges
- broker: its accounts, configurations for boxes, monitoring of dropped messages (with several brokers, their
  edges do these)
- data: roll-ups, incidents, rules on indices, back-tests, scheduled reports, retention, erasure
- clean-up: deleted boxes, quarantine, old deliveries, outbox entries, the commit log, sessions,
  invitations, heartbeats
- notices: quotas, overdue privacy requests, heads of the audit log (in the log of the process)
- secrets: re-encryption with the newest key
- backups: metrics, the sealed recovery bundle
- several machines: gauges of edges, log and database hosts

An advisory lock selects the process; others stand by. A process that hangs loses it after ten seconds.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Final, NamedTuple

import asyncpg

from app import all_metrics  # noqa: F401 (the process exports all metrics)
from app.alerts.alertmanager_repeats import repeat_alerts
from app.alerts.index_rule_worker import IndexRuleWorker
from app.alerts.muting_queries import count_firing_alerts
from app.alerts.prometheus_metrics import ALERTS_FIRING, ALERTS_MUTED
from app.alerts.silence_and_escalation_timers import AlertTimerRunner
from app.audit.verification import HeadLogger
from app.backups.worker import BackupMaintenance
from app.cluster_status.gauges import EVERY_S as CLUSTER_EVERY_S
from app.cluster_status.gauges import ClusterGauges
from app.grants.worker import maintain_grants
from app.measurement_stream.prometheus_metrics import MEASUREMENT_COMMITS_OLDEST, MEASUREMENT_COMMITS_WAITING
from app.notifications.delivery import endpoint_state_repository
from app.notifications.delivery.delivery_lag import measure_delivery_lag
from app.notifications.delivery.delivery_leases import count_pending_deliveries
from app.notifications.delivery.retention import delete_expired_secrets, delete_old_deliveries
from app.notifications.delivery.waiting_groups import measure_waiting_groups
from app.notifications.events.broker_drop_reporter import BrokerDropReporter
from app.notifications.events.operator_events import prune_outbox
from app.notifications.events.quota_notices import delete_old_usage, notify_quota_usage
from app.notifications.prometheus_metrics import (
    DELIVERIES_OLDEST_DUE,
    ENDPOINTS_TROUBLED,
    GROUPS_OLDEST,
    GROUPS_WAITING,
    OUTBOX_OLDEST,
    OUTBOX_PENDING,
)
from app.people.repository import purge_people_data
from app.platform.broker.dropped_message_monitor import BrokerDropMonitor
from app.platform.db.advisory_lock_keys import MAINTAINER
from app.platform.db.database import DATABASE_ERRORS, Database
from app.platform.db.notification_listener import listen_for_wakeups
from app.platform.db.process_lock import ProcessLock
from app.platform.http.contract import idempotency_keys
from app.platform.identity.attempt_limiter import delete_expired_attempts
from app.platform.observability.metrics_and_logs import get_logger
from app.platform.runtime.heartbeat import WAITING, delete_old_heartbeats
from app.platform.runtime.process_runner import ProcessContext
from app.platform.runtime.stored_settings import InstallationSettings
from app.platform.secrets.resealing import SecretResealer
from app.platform.secrets.sealing import SecretSealer
from app.privacy_requests.worker import process_overdue_requests
from app.quarantine.entry_writer import purge_quarantine
from app.registry.box_configurations import publish_due_configs
from app.registry.broker_password_file import ACCOUNTS_CHANNEL, sync_password_file
from app.registry.cross_tenant_repository import delete_box_row, list_deleted_boxes
from app.registry.privacy_refusal_counts import fold_refusal_counts
from app.reports.schedule_worker import ReportScheduleWorker
from app.rules.backtests.worker import BacktestWorker
from app.settings import VigieSettings
from app.sound_incidents.sound_clustering_worker import IncidentWorker
from app.timeseries.commit_log.stream_positions import measure_position_lag, prune_commits
from app.timeseries.erasure.box_data_removal import (
    remove_box_rollups,
    remove_event_slice,
    remove_sample_slice,
)
from app.timeseries.erasure.worker import ErasureWorker
from app.timeseries.retention.worker import RetentionWorker
from app.timeseries.rollups.worker import RollupWorker

_log = get_logger(__name__)
_TICK_S = 1.0
_TIMEOUT_S = 5.0
_SLICE = 50_000
_EVENT_SLICE: Final = 10_000
_BOXES: Final = 20
# Time limit of box removal per tick (s), so that alert timers are not delayed.
_PURGE_S: Final = 1.0


@dataclass(slots=True)
class _Job:
    """A periodic job. `due` counts down in ticks.

    A job that returns True has more work for the next tick, so that other jobs can run first.
    """

    name: str
    every_s: float
    work: Callable[[asyncpg.Connection], Awaitable[object]]
    due: float = 0.0


async def _update_gauges(connection: asyncpg.Connection) -> None:
    alerts = await count_firing_alerts(connection)
    ALERTS_FIRING.set(alerts["firing"])
    for by in ("silence", "inhibition"):
        ALERTS_MUTED.labels(by).set(alerts[by])
    groups, oldest_s = await measure_waiting_groups(connection)
    GROUPS_WAITING.set(groups)
    GROUPS_OLDEST.set(oldest_s)
    OUTBOX_PENDING.set(await count_pending_deliveries(connection))
    lag = await measure_delivery_lag(connection)
    OUTBOX_OLDEST.set(lag.event_s)
    DELIVERIES_OLDEST_DUE.set(lag.due_s)
    behind = await measure_position_lag(connection)
    MEASUREMENT_COMMITS_WAITING.set(behind.waiting)
    MEASUREMENT_COMMITS_OLDEST.set(behind.oldest_s)
    troubled = await endpoint_state_repository.count_endpoint_states(connection)
    for state, number in troubled._asdict().items():
        ENDPOINTS_TROUBLED.labels(state).set(number)


async def _purge_boxes(connection: asyncpg.Connection, *, has_edges: bool = False) -> bool:
    """Remove deleted boxes, their samples and events within a time limit; returns whether some are left.

    With one broker, a box waits until the broker has removed its configuration. Edges find by themselves
    which configurations are to be removed.
    """
    until = time.monotonic() + _PURGE_S
    keys = await list_deleted_boxes(connection, _BOXES, only_unconfigured=not has_edges)
    for key in keys:
        for remove, most in ((remove_sample_slice, _SLICE), (remove_event_slice, _EVENT_SLICE)):
            while await remove(connection, key, most):
                if time.monotonic() >= until:
                    return True
        await remove_box_rollups(connection, key)
        await delete_box_row(connection, key)
        _log.info("box_purged", box_key=key)
        if time.monotonic() >= until:
            return True
    return len(keys) == _BOXES


async def _purge_quarantine(keep_days: int, connection: asyncpg.Connection) -> None:
    removed = await purge_quarantine(connection, keep_days=keep_days)
    if removed:
        _log.info("quarantine_purged", entries=removed)


async def _prune(keep_events_days: int, connection: asyncpg.Connection) -> None:
    await prune_outbox(connection, keep_days=keep_events_days)
    await delete_old_heartbeats(connection)
    await delete_expired_attempts(connection)
    await idempotency_keys.delete_expired_keys(connection)
    await delete_old_usage(connection, datetime.now(UTC))
    await fold_refusal_counts(connection, datetime.now(UTC))


async def _reseal_secrets(resealer: SecretResealer, connection: asyncpg.Connection) -> None:
    await delete_expired_secrets(connection)
    await resealer.reseal_due(connection)


class _Workers(NamedTuple):
    """What the jobs use beside the connection.

    Attributes:
        drop_reporter: Reports messages that the broker dropped.
        resealer: Re-encrypts secrets.
        installation: The public address, for links.
        backtests: Runs back-tests in the background.
        indices: Evaluates rules on indices in the background.
        incidents: Clusters sound events in the background.
        reports: Mails scheduled reports in the background.
        backups: Seals the recovery bundle, and opens values for verifications.
        cluster: Sets the gauges of all machines.
    """

    drop_reporter: BrokerDropReporter
    resealer: SecretResealer
    installation: InstallationSettings
    backtests: BacktestWorker
    indices: IndexRuleWorker
    incidents: IncidentWorker
    reports: ReportScheduleWorker
    backups: BackupMaintenance
    cluster: ClusterGauges


def _make_jobs(settings: VigieSettings, database: Database, workers: _Workers) -> list[_Job]:
    webhooks, rollups = settings.webhooks, RollupWorker()

    async def repeat(connection: asyncpg.Connection) -> None:
        # The links in repeats have the current public address.
        await workers.installation.refresh(database)
        await repeat_alerts(connection, webhooks, workers.installation.base_url)

    async def publish_configs(_: asyncpg.Connection) -> None:
        # Its result does not say that there is more to do now.
        await publish_due_configs(database, settings.broker)

    has_edges = settings.message_log.engine != "none"
    # With several brokers, the edge of each of them does these.
    broker_jobs = [
        _Job("broker", 1.0, workers.drop_reporter.report),
        _Job("accounts", 60.0, lambda _: sync_password_file(database, settings.broker, only_if_stale=True)),
        _Job("configs", 5.0, publish_configs),
    ]
    return [
        *(() if has_edges else broker_jobs),
        *((_Job("cluster", CLUSTER_EVERY_S, workers.cluster.tick),) if workers.cluster.is_needed else ()),
        _Job("alerts", 2.0, AlertTimerRunner().run_once),
        _Job("repeats", 30.0, repeat),
        _Job("counts", 2.0, _update_gauges),
        _Job("backtests", 1.0, partial(workers.backtests.tick, database)),
        _Job("indices", 5.0, partial(workers.indices.tick, database)),
        _Job("incidents", 1.0, partial(workers.incidents.tick, database)),
        _Job("reports", 5.0, partial(workers.reports.tick, database)),
        _Job("quotas", 5.0, lambda each: notify_quota_usage(each, settings.quotas, datetime.now(UTC))),
        _Job("rollups", 5.0, rollups.run_once),
        _Job("rollup-figures", 15.0, rollups.update_metrics),
        _Job("erasures", 2.0, ErasureWorker().run_once),
        _Job("retention", 60.0, RetentionWorker().run_once),
        _Job("purge", 30.0, partial(_purge_boxes, has_edges=has_edges)),
        _Job("commits", 300.0, partial(prune_commits, keep_days=settings.measurement_stream.keep_days)),
        _Job("prune", 300.0, partial(_prune, webhooks.keep_events_days)),
        _Job("quarantine", 300.0, partial(_purge_quarantine, settings.quarantine.keep_days)),
        _Job("secrets", 60.0, partial(_reseal_secrets, workers.resealer)),
        _Job("deliveries", 300.0, partial(delete_old_deliveries, keep_days=webhooks.keep_days)),
        _Job("people", 300.0, lambda each: purge_people_data(each, settings.sessions)),
        _Job("grants", 30.0, lambda each: maintain_grants(each, settings.grants)),
        _Job("rights", 30.0, lambda each: process_overdue_requests(each, settings.rights)),
        _Job("backups", 10.0, workers.backups.run_once),
        _Job("audit", 3600.0, HeadLogger().log_changed),
    ]


async def _run_with_lock(
    settings: VigieSettings,
    process: ProcessContext,
    drop_reporter: BrokerDropReporter,
    sealer: SecretSealer,
) -> None:
    resealer, installation = SecretResealer(sealer), InstallationSettings(settings, sealer)
    backups = BackupMaintenance(settings, settings.backup, sealer)
    async with AsyncExitStack() as opened:
        connection = await process.database.connect()
        opened.callback(connection.terminate)
        # A process that hung notices by the end of both sessions that another one works now.
        lock = await ProcessLock.open(process.database, MAINTAINER, on_lost=connection.terminate)
        opened.push_async_callback(lock.close)
        background = (
            BacktestWorker(),
            IndexRuleWorker(),
            IncidentWorker(settings.incidents),
            ReportScheduleWorker(installation),
        )
        for worker in background:
            opened.push_async_callback(worker.stop)
        cluster = ClusterGauges(settings.message_log, settings.database.url)
        opened.push_async_callback(cluster.close)
        workers = _Workers(drop_reporter, resealer, installation, *background, backups, cluster)
        jobs = _make_jobs(settings, process.database, workers)
        if settings.broker.password_file is not None and settings.message_log.engine == "none":
            await opened.enter_async_context(_account_changes(process.database, jobs))
        while not process.stop.is_set():
            # Held until the session ends: otherwise two processes would alternate and do all work twice.
            has_lock = await lock.try_acquire()
            process.state = "working" if has_lock else "standby"
            if has_lock:
                await _run_due_jobs(connection, jobs, process.mark_progress)
            else:
                # Another process monitors the broker now: two would count everything twice.
                await drop_reporter.monitor.stop()
            await process.pause(_TICK_S)


@asynccontextmanager
async def _account_changes(database: Database, jobs: list[_Job]) -> AsyncIterator[None]:
    """Make the job `accounts` due when a process without a password file has changed accounts."""
    accounts = next(job for job in jobs if job.name == "accounts")

    def on_change() -> None:
        accounts.due = 0.0

    listening = asyncio.create_task(listen_for_wakeups(database, on_change, channel=ACCOUNTS_CHANNEL))
    try:
        yield
    finally:
        listening.cancel()
        await asyncio.wait((listening,))


async def _run_due_jobs(
    connection: asyncpg.Connection, jobs: list[_Job], mark_progress: Callable[[], None]
) -> None:
    for job in jobs:
        mark_progress()
        job.due -= _TICK_S
        if job.due > 0:
            continue
        job.due = job.every_s
        try:
            if await job.work(connection) is True:
                job.due = 0.0
        except DATABASE_ERRORS as error:
            # A failing job, for example with a read-only file, must not block the others.
            _log.warning("maintenance_failed", job=job.name, error=repr(error))
            # After a timeout or a broken stream the state of the connection is unknown: check it.
            await connection.fetchval("SELECT 1", timeout=_TIMEOUT_S)


async def run_maintain(settings: VigieSettings, process: ProcessContext) -> None:
    """Run `vigie maintain` until a stop request."""
    async with AsyncExitStack() as opened:
        monitor = BrokerDropMonitor(settings.broker)
        opened.push_async_callback(monitor.stop)
        drop_reporter, sealer = BrokerDropReporter(monitor), SecretSealer.of(settings.encryption)
        while not process.stop.is_set():
            try:
                await _run_with_lock(settings, process, drop_reporter, sealer)
            except DATABASE_ERRORS as error:
                process.state = f"{WAITING}: {type(error).__name__}"
                _log.warning("maintenance_interrupted", error=repr(error))
                await process.pause(2.0)
