"""The deliver role: what is sent to clients, and the mails of invitations."""

import asyncio

from app.notifications.delivery import dispatcher
from app.people.invitation_mailer import mail_invitations
from app.platform.runtime.process_runner import Role
from app.platform.runtime.stored_settings import Installation, end_soon
from app.platform.secrets.sealing import Sealer


async def deliver(role: Role) -> None:
    """The work of `vigie deliver`, until it is to end."""
    role.state = "delivering"
    sealer = Sealer.of(role.settings.encryption)
    installation = await Installation.of(role.settings, sealer, role.database)
    beside = (
        asyncio.create_task(installation.follow(role.database, role.stop), name="settings"),
        asyncio.create_task(
            mail_invitations(role.database, installation, sealer, role.stop), name="invitations"
        ),
    )
    try:
        await dispatcher.run(role.settings, role.database, role.stop, installation)
    finally:
        role.stop.set()
        await end_soon(beside)
