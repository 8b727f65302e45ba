"""The deliver role: what is sent to clients, and the mails of invitations."""

import asyncio

from app.notifications.delivery import dispatcher
from app.people.invitation_mailer import run_invitation_mailer
from app.platform.runtime.process_runner import ProcessContext
from app.platform.runtime.stored_settings import InstallationSettings, stop_tasks
from app.platform.secrets.sealing import SecretSealer


async def run_deliver(role: ProcessContext) -> None:
    """The work of `vigie deliver`, until it is to end."""
    role.state = "delivering"
    sealer = SecretSealer.of(role.settings.encryption)
    installation = await InstallationSettings.of(role.settings, sealer, role.database)
    beside = (
        asyncio.create_task(installation.follow(role.database, role.stop), name="settings"),
        asyncio.create_task(
            run_invitation_mailer(role.database, installation, sealer, role.stop), name="invitations"
        ),
    )
    try:
        await dispatcher.run_dispatcher(role.settings, role.database, role.stop, installation)
    finally:
        role.stop.set()
        await stop_tasks(beside)
