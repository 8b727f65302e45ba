"""Queries on the quarantine: what was refused, and why. Writing it is `app.observations.quarantine`'s job."""

import base64
import codecs
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import eq, ge, lt
from typing import Any, Final, Literal
from uuid import UUID

from sqlalchemy import ColumnElement, Row, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import defer

from app.core.pagination import decode_cursor
from app.observations.models import QuarantineEntry
from app.observations.reads import conditions

QUARANTINE: Final = "quarantine"
# A thousand entries of 64 KiB are no list that anybody reads.
_SHOWN_BYTES: Final = 2_048


@dataclass(frozen=True, slots=True)
class Filter:
    """Which entries are asked for; None asks nothing."""

    visible: UUID | None
    box: str | None = None
    code: str | None = None
    door: str | None = None
    first: datetime | None = None
    last: datetime | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        """The same, for a query. Entries of no organisation are for the platform's administrators."""
        entry = QuarantineEntry
        return conditions(
            (
                (self.visible, eq, entry.organisation_id),
                (self.box, eq, entry.box),
                (self.code, eq, entry.code),
                (self.door, eq, entry.door),
                (self.first, ge, entry.received_at),
                (self.last, lt, entry.received_at),
            )
        )


async def list_entries(
    session: AsyncSession, wanted: Filter, cursor: str | None, limit: int
) -> Sequence[Row[QuarantineEntry, bytes]]:
    """Entries with the beginning of what came, the newest first, one more than `limit`."""
    entry = QuarantineEntry
    beginning = func.substring(entry.payload, 1, _SHOWN_BYTES)
    statement = select(entry, beginning).options(defer(entry.payload, raiseload=True))
    statement = statement.where(*wanted.conditions())
    if cursor is not None:
        (before,) = decode_cursor(QUARANTINE, cursor, UUID)
        statement = statement.where(entry.id < before)
    return (await session.execute(statement.order_by(entry.id.desc()).limit(limit + 1))).all()


async def find_entry(session: AsyncSession, identifier: UUID, visible: UUID | None) -> QuarantineEntry | None:
    """One entry."""
    return await session.scalar(
        select(QuarantineEntry).where(QuarantineEntry.id == identifier, *Filter(visible).conditions())
    )


async def count_entries(session: AsyncSession, wanted: Filter) -> Sequence[Row[Any, Any, int]]:
    """(code, door, count), the most first."""
    entry = QuarantineEntry
    count = func.count()
    statement = select(entry.code, entry.door, count).where(*wanted.conditions())
    statement = statement.group_by(entry.code, entry.door).order_by(count.desc(), entry.code, entry.door)
    return (await session.execute(statement)).all()


def readable(kept: bytes, *, whole: bool) -> tuple[str, Literal["utf-8", "base64"]]:
    """What came, as text where it is text; a character that the cut went through is left out."""
    try:
        return codecs.getincrementaldecoder("utf-8")().decode(kept, final=whole), "utf-8"
    except UnicodeDecodeError:
        return base64.b64encode(kept).decode(), "base64"
