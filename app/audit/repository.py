"""Queries of the audit log for the API, limited to what a caller reaches."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter
from typing import Final
from uuid import UUID

from sqlalchemy import ColumnElement, select
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
"""The orders of the log: as it was written, either way."""


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which entries are meant: those that fit all that is given.

    Attributes:
        organisation: whose log.
        actor: the id of who did it.
        action: an action, or what it begins with up to a dot (`site` means `site.created` too).
        subject: the id of what it was done to.
        kind: of which kind that is.
        first: recorded at or after this.
        last: recorded before this.
    """

    organisation: UUID | None = None
    actor: str | None = None
    action: str | None = None
    subject: str | None = None
    kind: str | None = None
    first: datetime | None = None
    last: datetime | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        """What a query has to fulfil."""
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
    session: AsyncSession, visible: TenantScope, wanted: AuditFilter, asked: PageRequest
) -> Sequence[AuditEntry]:
    """Entries, and one more than are asked for where there are more."""
    row = AuditEntry
    statement = select(row).where(*visible.within(row.organisation_id), *wanted.conditions())
    return (await session.scalars(AUDIT.page(statement, asked))).all()


async def find_entry(
    session: AsyncSession, visible: TenantScope, organisation: UUID, position: int
) -> AuditEntry | None:
    """One entry; None where the caller reaches none such."""
    row = AuditEntry
    statement = select(row).where(row.organisation_id == organisation, row.position == position)
    found: AuditEntry | None = await session.scalar(statement.where(*visible.within(row.organisation_id)))
    return found


async def find_head(session: AsyncSession, visible: TenantScope, organisation: UUID) -> ChainHead:
    """Where an organisation's log has come to; position 0 where it has no entry that the caller reaches."""
    row = AuditHead
    statement = select(row).where(row.organisation_id == organisation, *visible.within(row.organisation_id))
    found = await session.scalar(statement)
    return (
        ChainHead(organisation, 0, GENESIS_HASH)
        if found is None
        else ChainHead(organisation, found.position, found.hash)
    )


async def read_next_entries(
    session: AsyncSession, head: ChainHead, wanted: AuditFilter, after: int, limit: int
) -> Sequence[ChainEntry]:
    """The next entries of an organisation's log up to a head, the oldest first."""
    row = AuditEntry
    statement = (
        select(row.organisation_id, row.position, row.record, row.previous, row.hash)
        .where(
            row.organisation_id == head.organisation_id,
            row.position > after,
            row.position <= head.position,
            *wanted.conditions(),
        )
        .order_by(row.position)
        .limit(limit)
    )
    return [ChainEntry(*found) for found in await session.execute(statement)]
