"""Queries the entries of the quarantine and their counts."""

import base64
import codecs
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from operator import eq, ge, lt
from typing import Any, Final, Literal
from uuid import UUID

from sqlalchemy import ColumnElement, Date, Row, func, literal, literal_column, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import defer

from app.platform.http.contract.pagination import decode_cursor
from app.platform.http.contract.sorting import (
    PageRequest,
    SortOrders,
    instant_sort_key,
    parse_cursor_text,
    uuid_sort_key,
)
from app.platform.kernel.tenant_scope import TenantScope
from app.quarantine.models import QuarantineEntry
from app.registry.models import Box
from app.timeseries.series.reading_queries import build_conditions

QUARANTINE: Final = SortOrders(
    "quarantine",
    (uuid_sort_key(QuarantineEntry.id, lambda row: row[0].id),),
    {
        "id": (),
        "received_at": (instant_sort_key(QuarantineEntry.received_at, lambda row: row[0].received_at),),
    },
    "-id",
)
# A list shows only the beginning of each payload: a thousand entries of 64 KiB are too large for a page.
_SHOWN_BYTES: Final = 2_048

type Grouping = Literal["code", "box", "day"]


@dataclass(frozen=True, slots=True)
class QuarantineFilter:
    """Selects entries; None does not filter.

    Attributes:
        visible: the tenant scope. Only administrators of the platform see entries without an organisation.
        box: claimed box id.
        code: rejection code of the last refusal.
        door: "mqtt" or "http".
        organisation: organisation of the entry.
        first: received at or after this.
        last: received before this.
        replayed: whether a replay has accepted all of it.
    """

    visible: TenantScope
    box: str | None = None
    code: str | None = None
    door: str | None = None
    first: datetime | None = None
    last: datetime | None = None
    replayed: bool | None = None
    organisation: UUID | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        """Return the SQL conditions, limited to the tenant scope."""
        entry = QuarantineEntry
        found = [*self.visible.within(entry.organisation_id), *build_conditions(self._comparisons())]
        if self.visible.sites is not None:
            here = select(Box.id).where(*self.visible.within(Box.organisation_id, Box.site_id))
            found.append(entry.box.in_(here))
        return [*found, *self._replayed()]

    def unscoped_conditions(self) -> list[ColumnElement[bool]]:
        """Return the SQL conditions without the tenant scope."""
        return [*build_conditions(self._comparisons()), *self._replayed()]

    def _comparisons(self) -> tuple[tuple[Any, Any, Any], ...]:
        entry = QuarantineEntry
        return (
            (self.organisation, eq, entry.organisation_id),
            (self.box, eq, entry.box),
            (self.code, eq, entry.code),
            (self.door, eq, entry.door),
            (self.first, ge, entry.received_at),
            (self.last, lt, entry.received_at),
        )

    def _replayed(self) -> list[ColumnElement[bool]]:
        if self.replayed is None:
            return []
        at = QuarantineEntry.replayed_at
        return [at.is_not(None) if self.replayed else at.is_(None)]


async def list_quarantine_entries(
    session: AsyncSession, filters: QuarantineFilter, page_request: PageRequest
) -> Sequence[Row[QuarantineEntry, bytes, int]]:
    """List entries with the beginning and the length of the stored payload, one more than requested."""
    entry = QuarantineEntry
    beginning = func.substring(entry.payload, 1, _SHOWN_BYTES)
    statement = select(entry, beginning, func.octet_length(entry.payload))
    statement = statement.options(defer(entry.payload, raiseload=True)).where(*filters.conditions())
    return (await session.execute(QUARANTINE.page(statement, page_request))).all()


async def find_quarantine_entry(
    session: AsyncSession, identifier: UUID, visible: TenantScope
) -> QuarantineEntry | None:
    """Find an entry within a tenant scope."""
    return await session.scalar(
        select(QuarantineEntry).where(
            QuarantineEntry.id == identifier, *QuarantineFilter(visible).conditions()
        )
    )


@dataclass(frozen=True, slots=True)
class QuarantineGroupCount:
    """The number of entries in a group.

    Attributes:
        of: the values of the grouping columns, by name.
        count: how many entries.
        replayed: how many of them a replay has accepted.
        sort_key: the group's position in the list, for a cursor.
    """

    of: dict[str, Any]
    count: int
    replayed: int
    sort_key: tuple[str | int, ...]


async def count_by_day(
    session: AsyncSession, filters: QuarantineFilter, cursor: str | None, limit: int
) -> list[QuarantineGroupCount]:
    """Count entries by day of arrival (UTC), the newest first; one more row than `limit`.

    Args:
        session: reads the entries.
        filters: selects the entries.
        cursor: of the page before; None for the first page.
        limit: groups of a page.
    """
    entry = QuarantineEntry
    # A literal: with bind parameters GROUP BY would not recognise the selected expression.
    day = literal_column("(received_at AT TIME ZONE 'UTC')::date", Date)
    statement = select(day, func.count(), func.count(entry.replayed_at)).where(*filters.conditions())
    if cursor is not None:
        (before,) = decode_cursor("quarantine_day", cursor, date.fromisoformat)
        statement = statement.where(day < before)
    rows = await session.execute(statement.group_by(day).order_by(day.desc()).limit(limit + 1))
    return [
        QuarantineGroupCount({"day": found}, count, done, (found.isoformat(),)) for found, count, done in rows
    ]


async def count_by_code_or_box(
    session: AsyncSession,
    filters: QuarantineFilter,
    group: Literal["code", "box"],
    cursor: str | None,
    limit: int,
) -> list[QuarantineGroupCount]:
    """Count entries by code and door, or by box, the highest count first; one more row than `limit`.

    Args:
        session: reads the entries.
        filters: selects the entries.
        group: what to group by.
        cursor: of the page before; None for the first page.
        limit: groups of a page.
    """
    entry = QuarantineEntry
    count = func.count()
    columns = (entry.code, entry.door) if group == "code" else (entry.box,)
    # Breaks ties between groups of the same count. No code contains a space, and no box id is empty.
    name = entry.code + " " + entry.door if group == "code" else func.coalesce(entry.box, "")
    statement = select(name, count, func.count(entry.replayed_at), *columns).where(*filters.conditions())
    statement = statement.group_by(*columns)
    if cursor is not None:
        last_count, last_name = decode_cursor(f"quarantine_{group}", cursor, _parse_count, parse_cursor_text)
        statement = statement.having(
            or_(count < literal(last_count), (count == literal(last_count)) & (name > literal(last_name)))
        )
    rows = await session.execute(statement.order_by(count.desc(), name).limit(limit + 1))
    names = [column.key for column in columns]
    return [
        QuarantineGroupCount(dict(zip(names, rest, strict=True)), number, done, (number, found))
        for found, number, done, *rest in rows
    ]


def _parse_count(value: object) -> int:
    """Parse a count from a cursor; a larger one than any table has rows is refused."""
    if not isinstance(value, int) or not 0 <= value < 2**62:
        raise ValueError(value)
    return value


def decode_payload(stored: bytes, *, whole: bool) -> tuple[str, Literal["utf-8", "base64"]]:
    """Decode a stored payload as UTF-8, else as base64. Drops a character that truncation cut in two."""
    try:
        return codecs.getincrementaldecoder("utf-8")().decode(stored, final=whole), "utf-8"
    except UnicodeDecodeError:
        return base64.b64encode(stored).decode(), "base64"
