"""The deliver role: what is sent to clients, and the mails of invitations."""

import asyncio

from app.core.installation import Installation, end_soon
from app.core.role import Role
from app.core.sealing import Sealer
from app.people.invitation_mails import mail_invitations
from app.webhooks import dispatcher


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
