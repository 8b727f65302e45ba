"""Stores and lists what was read by grants: one row for each hour, key and kind of read.

`vigie maintain` writes an entry of the audit log for each row when its hour is over.
"""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from app.grants.models import StoredGrantUse
from app.platform.db.database import Database
from app.platform.http.contract.sorting import PageRequest, SortOrders, instant_sort_key, uuid_sort_key
from app.platform.http.contract.sorting import text_sort_key as text_key
from app.platform.identity.grant_access import GrantUse, GrantUseKind, GrantUseRecorder
from app.platform.kernel.errors import UnauthorisedError

GRANT_USES: Final = SortOrders(
    "grant-uses",
    (
        instant_sort_key(StoredGrantUse.hour),
        uuid_sort_key(StoredGrantUse.key_id),
        text_key(StoredGrantUse.kind),
    ),
    {"hour": ()},
    "-hour",
)
"""The sort orders of uses of a grant."""

# Stores nothing if the grant or the key has ended meanwhile, whatever this process has cached.
_RECORD: Final = text("""
INSERT INTO grant_uses AS u (grant_id, key_id, kind, hour, organisation_id, calls, value_count, site_ids,
    metrics, first_at, last_at)
SELECT g.id, k.id, :kind, date_trunc('hour', now(), 'UTC'), g.organisation_id, :calls, :values,
    CAST(:site_ids AS uuid[]), CAST(:metrics AS text[]), now(), now()
FROM grants g JOIN grant_keys k ON k.grant_id = g.id
WHERE k.id = :key_id AND k.revoked_at IS NULL AND g.revoked_at IS NULL AND g.suspended_at IS NULL
    AND g.valid_until > now()
ON CONFLICT (grant_id, hour, key_id, kind) DO UPDATE SET
    calls = u.calls + excluded.calls, value_count = u.value_count + excluded.value_count,
    last_at = excluded.last_at, audited_at = NULL,
    site_ids = CASE WHEN u.site_ids @> excluded.site_ids THEN u.site_ids
        ELSE ARRAY(SELECT DISTINCT unnest(u.site_ids || excluded.site_ids) ORDER BY 1) END,
    metrics = CASE WHEN u.metrics @> excluded.metrics THEN u.metrics
        ELSE ARRAY(SELECT DISTINCT unnest(u.metrics || excluded.metrics) ORDER BY 1) END
RETURNING u.calls
""")


def make_grant_use_recorder(database: Database) -> GrantUseRecorder:
    """Make the object by which routes store uses of grants."""

    async def record(use: GrantUse, kind: GrantUseKind, calls: int) -> None:
        values = {
            "key_id": use.key_id,
            "kind": kind,
            "calls": calls,
            "values": use.values,
            "site_ids": sorted(use.sites),
            "metrics": sorted(use.metrics),
        }
        async with database.write(changes_access=False) as session:
            stored = (await session.execute(_RECORD, values)).one_or_none()
        if stored is None:
            raise UnauthorisedError(
                "The grant or its key ended during this call. Ask the organisation that gave it.",
                code="grant_ended",
            )

    return GrantUseRecorder(record)


async def list_grant_uses(
    session: AsyncSession, grant_id: UUID, page_request: PageRequest
) -> Sequence[StoredGrantUse]:
    """List the uses of a grant: a page and one more."""
    statement = select(StoredGrantUse).where(StoredGrantUse.grant_id == grant_id)
    return (await session.scalars(GRANT_USES.page(statement, page_request))).all()
