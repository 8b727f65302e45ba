"""Runs the edge process: drains one broker into the message log, and keeps accounts and configurations there.

It works without the database, with its last copy of the registry. Only what concerns the database waits then:
reports, accounts and configurations.
"""

import asyncio
from contextlib import suppress
from dataclasses import replace
from functools import partial

import asyncpg

from app import all_metrics  # noqa: F401 (the process exports all metrics)
from app.edge.account_keeper import keep_accounts
from app.edge.box_partitions import FIRST_COPY_WAIT_S, BoxPartitions
from app.edge.broker_drain import BrokerDrain
from app.edge.configuration_publisher import ConfigurationPublisher
from app.edge.database_loop import repeat_with_database
from app.edge.edge_reporter import EVERY_S, EdgeReporter
from app.edge.log_appender import LogAppender
from app.ingest.sources.mqtt5_source import Mqtt5Source
from app.ingest.sources.source_factory import build_mqtt_options
from app.message_log.log_ownership import check_log_settings
from app.message_log.message_log import MessageLog
from app.message_log.message_log_factory import make_message_log
from app.message_log.settings import MessageLogSettings
from app.notifications.events.broker_drop_reporter import BrokerDropReporter
from app.platform.broker.dropped_message_monitor import BrokerDropMonitor
from app.platform.config.platform_settings import BrokerSettings
from app.platform.observability.metrics_and_logs import get_logger
from app.platform.runtime.process_runner import ProcessContext
from app.processes.ingest import tune_garbage_collector
from app.settings import VigieSettings

_log = get_logger(__name__)


async def run_edge(settings: VigieSettings, process: ProcessContext) -> None:
    """Run `vigie edge` until a stop request."""
    tune_garbage_collector()
    name = settings.edge.resolve_name()
    await drain_edge(settings, process, make_message_log(settings.message_log, client=f"edge-{name}"))


async def drain_edge(
    settings: VigieSettings,
    process: ProcessContext,
    log: MessageLog,
    *,
    first_copy_wait_s: float = FIRST_COPY_WAIT_S,
) -> None:
    """Run an edge on a message log, which it closes.

    Args:
        settings: The settings.
        process: The process.
        log: The log, not open yet.
        first_copy_wait_s: How long to wait for the first copy of the registry, in seconds.
    """
    name, partitions = settings.edge.resolve_name(), settings.message_log.partitions
    options = replace(
        build_mqtt_options(settings.ingest, settings.broker),
        batch_delay_s=settings.edge.batch_delay_ms / 1000,
    )
    source, appender, boxes = Mqtt5Source(options), LogAppender(log), BoxPartitions(partitions)
    drain = BrokerDrain(process, source, appender, boxes, edge=name, partitions=partitions)
    monitor = BrokerDropMonitor(settings.broker)
    reporter = EdgeReporter(
        process, source, drain, appender, monitor, name=name, address=find_address(settings)
    )
    drops = BrokerDropReporter(monitor, name)
    database = process.database
    repeat = partial(repeat_with_database, database)
    try:
        async with asyncio.TaskGroup() as tasks:
            background = [
                tasks.create_task(
                    repeat("registry", partial(_refresh, boxes, settings.message_log), every_s=1.0)
                ),
                tasks.create_task(repeat("report", reporter.report, every_s=EVERY_S, timeout_s=5.0)),
                tasks.create_task(repeat("drops", drops.report, every_s=1.0, timeout_s=5.0)),
                tasks.create_task(_observe(reporter)),
                tasks.create_task(keep_accounts(database, settings.broker)),
                tasks.create_task(ConfigurationPublisher(database, settings.broker, name).run()),
            ]
            await _wait_for_copy(process, boxes, first_copy_wait_s)
            await drain.run()
            for task in background:
                task.cancel()
    finally:
        await monitor.stop()
        await log.close()


def find_address(settings: VigieSettings) -> tuple[str, int]:
    """Return host and port at which other machines reach the broker of the edge."""
    broker: BrokerSettings = settings.broker
    return settings.edge.host or broker.host, settings.edge.port or broker.port


async def _refresh(boxes: BoxPartitions, log: MessageLogSettings, connection: asyncpg.Connection) -> None:
    # Each time: the first worker may have started another log meanwhile.
    await check_log_settings(connection, log)
    await boxes.refresh(connection)


async def _observe(reporter: EdgeReporter) -> None:
    while True:
        reporter.observe()
        await asyncio.sleep(EVERY_S)


async def _wait_for_copy(process: ProcessContext, boxes: BoxPartitions, patience_s: float) -> None:
    """Wait for the first copy of the registry, for a while, or until a stop."""
    with suppress(TimeoutError):
        async with asyncio.timeout(patience_s):
            while not boxes.is_loaded and not process.stop.is_set():
                await process.pause(0.05)
    if not boxes.is_loaded:
        _log.warning("edge_has_no_registry", waited_s=patience_s)
