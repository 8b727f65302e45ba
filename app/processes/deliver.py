"""Runs the delivery process: notifications, mails of invitations and accounts, and the measurement stream."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack

from app import all_metrics  # noqa: F401 (the process exports all metrics)
from app.measurement_stream.sequencer import run_sequencer
from app.measurement_stream.subscriptions.worker import run_subscriptions
from app.notifications.delivery.dispatcher import run_dispatcher
from app.notifications.mqtt.edges_transport import EdgesTransport
from app.notifications.mqtt.mqtt_transport import MqttTransport
from app.people.invitation_mailer import run_invitation_mailer
from app.platform.observability.metrics_and_logs import get_logger
from app.platform.runtime.process_runner import ProcessContext
from app.platform.runtime.stored_settings import InstallationSettings, stop_tasks
from app.platform.secrets.sealing import SecretSealer
from app.settings import VigieSettings

_log = get_logger(__name__)


async def run_deliver(settings: VigieSettings, process: ProcessContext) -> None:
    """Run `vigie deliver` until a stop request, or until one of its tasks fails, whose error it raises."""
    process.state = "delivering"
    sealer = SecretSealer.of(settings.encryption)
    installation = await InstallationSettings.of(settings, sealer, process.database)
    has_edges = settings.message_log.engine != "none"
    async with AsyncExitStack() as opened:
        measurements: EdgesTransport | MqttTransport = (
            EdgesTransport(settings.broker, process.database) if has_edges else MqttTransport(settings.broker)
        )
        await opened.enter_async_context(measurements)
        tasks = (
            asyncio.create_task(installation.follow(process.database, process.stop), name="settings"),
            asyncio.create_task(
                run_invitation_mailer(process.database, installation, sealer, process.stop),
                name="invitations",
            ),
            asyncio.create_task(run_sequencer(process.database, process.stop), name="sequencer"),
            asyncio.create_task(
                run_subscriptions(settings.webhooks, process.database, sealer, measurements, process.stop),
                name="subscriptions",
            ),
        )
        failures = _stop_at_failure(tasks, process.stop)
        opened.push_async_callback(stop_tasks, tasks)
        opened.callback(process.stop.set)
        await run_dispatcher(
            settings,
            settings.webhooks,
            process.database,
            process.stop,
            installation,
            edges=EdgesTransport(settings.broker, process.database) if has_edges else None,
            on_round=process.mark_progress,
        )
    if failures:
        raise failures[0]


def _stop_at_failure(tasks: Sequence[asyncio.Task[None]], stop: asyncio.Event) -> list[BaseException]:
    """Set `stop` when a task fails: the dispatcher drains. Returns the list to which its error is added."""
    failures: list[BaseException] = []

    def on_end(task: asyncio.Task[None]) -> None:
        if not stop.is_set() and not task.cancelled() and (error := task.exception()) is not None:
            _log.error("delivery_task_failed", task=task.get_name(), exc_info=error)
            failures.append(error)
            stop.set()

    for task in tasks:
        task.add_done_callback(on_end)
    return failures
