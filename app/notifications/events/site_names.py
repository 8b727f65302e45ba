"""The names and time zones of sites, for mails. Owns this one look at another room's table."""

from collections.abc import Collection
from typing import Final
from uuid import UUID

from app.notifications.email.mail_rendering import SiteName
from app.platform.db.database import RawConnection

_NAMES: Final = "SELECT id, name, timezone FROM sites WHERE id = ANY ($1::uuid[])"


async def read_site_names(connection: RawConnection, site_ids: Collection[UUID]) -> dict[str, SiteName]:
    """Give what mails call some sites, by their ids as text; those that are gone are not in it."""
    if not site_ids:
        return {}
    rows = await connection.fetch(_NAMES, list(site_ids))
    return {str(row["id"]): SiteName(row["name"], row["timezone"]) for row in rows}
