"""Queries the audit log for the API, within the caller's tenant scope."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter
from typing import Final
from uuid import UUID

from sqlalchemy import ColumnElement, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from app.audit.hash_chain import GENESIS_HASH, ChainEntry, ChainHead
from app.audit.models import AuditEntry, AuditHead
from app.platform.http.contract.sorting import (
    PageRequest,
    SortOrders,
    instant_sort_key,
    number_sort_key,
    uuid_sort_key,
)
from app.platform.kernel.tenant_scope import TenantScope

AUDIT: Final = SortOrders(
    "audit",
    (
        instant_sort_key(AuditEntry.at),
        uuid_sort_key(AuditEntry.organisation_id),
        number_sort_key(AuditEntry.position.expression, attrgetter("position")),
    ),
    {"at": ()},
    "-at",
)
"""The orders of the log: oldest or newest first."""


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """A filter of entries; None does not filter.

    Attributes:
        organisation: the organisation of the log.
        actor: the id of the actor.
        action: an action, or its prefix up to a dot (`site` matches `site.created` too).
        subject: the id of the resource.
        kind: the kind of the resource.
        first: recorded at or after this instant.
        last: recorded before this instant.
    """

    organisation: UUID | None = None
    actor: str | None = None
    action: str | None = None
    subject: str | None = None
    kind: str | None = None
    first: datetime | None = None
    last: datetime | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        """Return the SQL conditions of the filter."""
        row = AuditEntry
        found: list[ColumnElement[bool]] = []
        if self.organisation is not None:
            found.append(row.organisation_id == self.organisation)
        if self.actor is not None:
            found.append(row.actor_id == self.actor)
        if self.action is not None:
            below = row.action.startswith(f"{self.action}.", autoescape=True)
            found.append((row.action == self.action) | below)
        if self.subject is not None:
            found.append(row.subject_ids.contains([self.subject]))
        if self.kind is not None:
            found.append(row.subject_kind == self.kind)
        if self.first is not None:
            found.append(row.at >= self.first)
        if self.last is not None:
            found.append(row.at < self.last)
        return found


async def list_entries(
    session: AsyncSession, visible: TenantScope, filter_: AuditFilter, page: PageRequest
) -> Sequence[AuditEntry]:
    """Read a page of entries, and one more if there is a next page.

    Args:
        session: a session of the API.
        visible: the tenant scope of the caller.
        filter_: which entries.
        page: limit, order and cursor.
    """
    row = AuditEntry
    statement = select(row).where(*visible.within(row.organisation_id), *filter_.conditions())
    return (await session.scalars(AUDIT.page(statement, page))).all()


async def find_entry(
    session: AsyncSession, visible: TenantScope, organisation: UUID, position: int
) -> AuditEntry | None:
    """Read one entry; None if it does not exist in the caller's tenant scope.

    Args:
        session: a session of the API.
        visible: the tenant scope of the caller.
        organisation: the organisation of the log.
        position: the entry's number in that log, from 1.
    """
    row = AuditEntry
    statement = select(row).where(row.organisation_id == organisation, row.position == position)
    found: AuditEntry | None = await session.scalar(statement.where(*visible.within(row.organisation_id)))
    return found


async def find_head(session: AsyncSession, visible: TenantScope, organisation: UUID) -> ChainHead:
    """Read the head of an organisation's log; position 0 if the caller's tenant scope has no entry of it."""
    row = AuditHead
    statement = select(row).where(row.organisation_id == organisation, *visible.within(row.organisation_id))
    found = await session.scalar(statement)
    return (
        ChainHead(organisation, 0, GENESIS_HASH)
        if found is None
        else ChainHead(organisation, found.position, found.hash)
    )


async def read_next_entries(
    session: AsyncSession, head: ChainHead, filter_: AuditFilter, after: int, limit: int
) -> Sequence[ChainEntry]:
    """Read the next entries of an organisation's log, the oldest first.

    Args:
        session: a session of the API.
        head: the organisation, and the last position to read.
        filter_: which entries.
        after: reads positions above this one.
        limit: the highest number of entries.
    """
    row = AuditEntry
    statement = (
        select(row.organisation_id, row.position, row.record, row.previous, row.hash)
        .where(
            row.organisation_id == head.organisation_id,
            row.position > after,
            row.position <= head.position,
            *filter_.conditions(),
        )
        .order_by(row.position)
        .limit(limit)
    )
    return [ChainEntry(*found) for found in await session.execute(statement)]


# Follows the creators of a key, and of the key that created it, back to a person.
_CREATORS: Final = text("""
WITH RECURSIVE makers (id) AS (
    SELECT CAST(:key AS text)
    UNION
    SELECT a.actor_id FROM makers m JOIN audit_log a ON a.subject_kind = 'api_key'
        AND a.subject_ids @> ARRAY[m.id] AND a.action = 'api_key.created' AND a.actor_id IS NOT NULL
)
SELECT id FROM makers
""")


async def find_key_creators(session: AsyncSession, key_id: UUID) -> Sequence[str]:
    """Return the ids of an API key, of the keys that created it, and of the person at the beginning."""
    return (await session.execute(_CREATORS, {"key": str(key_id)})).scalars().all()
