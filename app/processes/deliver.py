"""Runs the delivery process: the dispatcher of notifications, and the mails of invitations and accounts."""

import asyncio
from contextlib import AsyncExitStack

from app import all_metrics  # noqa: F401 (the process exports all metrics)
from app.notifications.delivery.dispatcher import run_dispatcher
from app.notifications.mqtt.edges_transport import EdgesTransport
from app.people.invitation_mailer import run_invitation_mailer
from app.platform.runtime.process_runner import ProcessContext
from app.platform.runtime.stored_settings import InstallationSettings, stop_tasks
from app.platform.secrets.sealing import SecretSealer
from app.settings import VigieSettings


async def run_deliver(settings: VigieSettings, process: ProcessContext) -> None:
    """Run `vigie deliver` until a stop request."""
    process.state = "delivering"
    sealer = SecretSealer.of(settings.encryption)
    installation = await InstallationSettings.of(settings, sealer, process.database)
    async with AsyncExitStack() as opened:
        tasks = (
            asyncio.create_task(installation.follow(process.database, process.stop), name="settings"),
            asyncio.create_task(
                run_invitation_mailer(process.database, installation, sealer, process.stop),
                name="invitations",
            ),
        )
        opened.push_async_callback(stop_tasks, tasks)
        opened.callback(process.stop.set)
        await run_dispatcher(
            settings,
            settings.webhooks,
            process.database,
            process.stop,
            installation,
            edges=None
            if settings.message_log.engine == "none"
            else EdgesTransport(settings.broker, process.database),
            on_round=process.mark_progress,
        )
