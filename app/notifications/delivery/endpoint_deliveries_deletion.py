"""Deletes an endpoint's deliveries and groups of deliveries in small transactions, before its own row.

Small transactions hold locks for a short time only. The callers delete the endpoint's row. If the process is
interrupted, the endpoint stays disabled and the deletion can be repeated.
"""

from collections.abc import Callable
from typing import Final
from uuid import UUID

from sqlalchemy import text

from app.notifications.api.dependencies import EndpointNoun
from app.notifications.api.webhook_service import get_endpoint
from app.notifications.delivery.models import Endpoint
from app.platform.db.database import Database
from app.platform.identity.caller_authentication import Principal

DELIVERIES_PER_TRANSACTION: Final = 5000
"""Deliveries, with their attempts, that one transaction deletes."""

_GROUPS_PER_TRANSACTION: Final = 100  # each may have some hundred events
_FIRST: Final = UUID(int=0)
# In index order: each slice begins where the previous one ended, so it does not scan the dead rows.
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
    """Disable an endpoint and delete its deliveries and groups, each slice in its own transaction.

    Deliveries added concurrently (by a replay, for example) are deleted with the endpoint's row.

    Args:
        database: For transactions.
        identifier: The endpoint's id.
        principal: The caller.
        noun: Whether to find a webhook or a channel.
        check: Raises an error to refuse the deletion of the endpoint.

    Raises:
        NotFoundError: The caller may see no such endpoint.
    """
    async with database.write() as session:
        endpoint = await get_endpoint(session, identifier, principal, noun=noun, lock=True)
        check(endpoint)
        endpoint.enabled = False
    last: UUID | str | None
    for statement, first, most in (
        (_DELIVERIES, _FIRST, DELIVERIES_PER_TRANSACTION),
        (_GROUPS, "", _GROUPS_PER_TRANSACTION),
    ):
        last = first
        while last is not None:
            async with database.write() as session:
                values = {"endpoint": identifier, "after": last, "most": most}
                last = await session.scalar(statement, values)
