"""How an endpoint is emptied before it is deleted: some at a time, so that nobody waits for its lock long.

Owns these slices. The row itself, and what else goes with it, is its callers' to delete. Who is cut off in
the middle leaves an endpoint that is disabled and can be deleted again.
"""

from collections.abc import Callable
from typing import Final
from uuid import UUID

from sqlalchemy import text

from app.notifications.api.dependencies import EndpointNoun
from app.notifications.api.webhook_service import get_endpoint
from app.notifications.delivery.models import Endpoint
from app.platform.db.database import Database
from app.platform.identity.principals import Principal

DELIVERIES_PER_TRANSACTION: Final = 5000
"""Deliveries of one transaction, which go with their attempts."""

_GROUPS_AT_ONCE: Final = 100  # each may have some hundred events
_FIRST: Final = UUID(int=0)
# In the order of an index: a slice begins where the one before it ended, and not at its dead rows.
_DELIVERIES: Final = text("""
WITH removed AS (
    DELETE FROM deliveries WHERE id IN (
        SELECT id FROM deliveries WHERE endpoint_id = :endpoint AND event_id > :after
        ORDER BY event_id LIMIT :most
    )
    RETURNING event_id
)
SELECT event_id FROM removed ORDER BY event_id DESC LIMIT 1
""")
_GROUPS: Final = text("""
WITH removed AS (
    DELETE FROM delivery_groups WHERE id IN (
        SELECT id FROM delivery_groups WHERE endpoint_id = :endpoint AND key > :after
        ORDER BY key LIMIT :most
    )
    RETURNING key
)
SELECT key FROM removed ORDER BY key DESC LIMIT 1
""")


async def empty_endpoint(
    database: Database,
    identifier: UUID,
    principal: Principal,
    noun: EndpointNoun,
    check: Callable[[Endpoint], None],
) -> None:
    """Disable an endpoint, and remove its deliveries and groups, each slice in a transaction of its own.

    What is made for it meanwhile (by who replays, say) goes with the row.

    Args:
        database: For transactions.
        identifier: The endpoint's.
        principal: Who deletes it.
        noun: What it is looked for as.
        check: Refuses an endpoint, as it is before anything is done, by what it raises.

    Raises:
        NotFoundError: The caller sees no such endpoint.
    """
    async with database.write() as session:
        endpoint = await get_endpoint(session, identifier, principal, noun=noun, lock=True)
        check(endpoint)
        endpoint.enabled = False
    last: UUID | str | None
    for statement, first, most in (
        (_DELIVERIES, _FIRST, DELIVERIES_PER_TRANSACTION),
        (_GROUPS, "", _GROUPS_AT_ONCE),
    ):
        last = first
        while last is not None:
            async with database.write() as session:
                values = {"endpoint": identifier, "after": last, "most": most}
                last = await session.scalar(statement, values)
