"""Runs the delivery process: the dispatcher of notifications, and the mails of invitations."""

import asyncio

from app.notifications.delivery import dispatcher
from app.people.invitation_mailer import run_invitation_mailer
from app.platform.runtime.process_runner import ProcessContext
from app.platform.runtime.stored_settings import InstallationSettings, stop_tasks
from app.platform.secrets.sealing import SecretSealer


async def run_deliver(process: ProcessContext) -> None:
    """Run `vigie deliver` until a stop request."""
    process.state = "delivering"
    sealer = SecretSealer.of(process.settings.encryption)
    installation = await InstallationSettings.of(process.settings, sealer, process.database)
    background = (
        asyncio.create_task(installation.follow(process.database, process.stop), name="settings"),
        asyncio.create_task(
            run_invitation_mailer(process.database, installation, sealer, process.stop), name="invitations"
        ),
    )
    try:
        await dispatcher.run_dispatcher(process.settings, process.database, process.stop, installation)
    finally:
        process.stop.set()
        await stop_tasks(background)
