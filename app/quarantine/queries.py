"""Queries on the quarantine: what was refused, and why. Writing it is `app.quarantine.entry_writer`'s job."""

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
from app.registry.models import Box
from app.timeseries.series.reading_queries import build_conditions
from app.timeseries.storage.models import QuarantineEntry

QUARANTINE: Final = SortOrders(
    "quarantine",
    (uuid_sort_key(QuarantineEntry.id, lambda row: row[0].id),),
    {
        "id": (),
        "received_at": (instant_sort_key(QuarantineEntry.received_at, lambda row: row[0].received_at),),
    },
    "-id",
)
# A thousand entries of 64 KiB are no list that anybody reads.
_SHOWN_BYTES: Final = 2_048

type Grouping = Literal["code", "box", "day"]


@dataclass(frozen=True, slots=True)
class QuarantineFilter:
    """Which entries are asked for; None asks nothing.

    Attributes:
        visible: what the caller may see; entries of no organisation are for the platform's administrators.
        box: under this box's id.
        code: refused for this reason, the last time.
        door: at this door.
        organisation: of this organisation.
        first: received at or after this.
        last: received before this.
        replayed: whether a replay has taken all of it.
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
        """The same, for a query."""
        entry = QuarantineEntry
        found = [*self.visible.within(entry.organisation_id), *build_conditions(self._comparisons())]
        if self.visible.sites is not None:
            here = select(Box.id).where(*self.visible.within(Box.organisation_id, Box.site_id))
            found.append(entry.box.in_(here))
        return [*found, *self._replayed()]

    def unscoped_conditions(self) -> list[ColumnElement[bool]]:
        """The same, whoever may see them."""
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
    """Entries with the beginning of what is kept and its length, one more than are asked for."""
    entry = QuarantineEntry
    beginning = func.substring(entry.payload, 1, _SHOWN_BYTES)
    statement = select(entry, beginning, func.octet_length(entry.payload))
    statement = statement.options(defer(entry.payload, raiseload=True)).where(*filters.conditions())
    return (await session.execute(QUARANTINE.page(statement, page_request))).all()


async def find_quarantine_entry(
    session: AsyncSession, identifier: UUID, visible: TenantScope
) -> QuarantineEntry | None:
    """One entry."""
    return await session.scalar(
        select(QuarantineEntry).where(
            QuarantineEntry.id == identifier, *QuarantineFilter(visible).conditions()
        )
    )


@dataclass(frozen=True, slots=True)
class QuarantineGroupCount:
    """One group, and its place in the list.

    Attributes:
        of: what it is grouped by, by name.
        count: how many entries.
        replayed: how many of them were taken since.
        place: the sort key: for a cursor.
    """

    of: dict[str, Any]
    count: int
    replayed: int
    sort_key: tuple[str | int, ...]


async def count_by_day(
    session: AsyncSession, filters: QuarantineFilter, cursor: str | None, limit: int
) -> list[QuarantineGroupCount]:
    """The newest day (UTC) first, one more than `limit`."""
    entry = QuarantineEntry
    # Written out: two parameters of the same value would be two different days to GROUP BY.
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
    """By code and door, or by box: the most first, one more than `limit`."""
    entry = QuarantineEntry
    count = func.count()
    columns = (entry.code, entry.door) if group == "code" else (entry.box,)
    # One text to tell groups of the same count apart: no code has a space. A box's id is never empty.
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
    """A count of a cursor: no table has more rows than this."""
    if not isinstance(value, int) or not 0 <= value < 2**62:
        raise ValueError(value)
    return value


def decode_payload(stored: bytes, *, whole: bool) -> tuple[str, Literal["utf-8", "base64"]]:
    """What came, as text where it is text; a character that the cut went through is left out."""
    try:
        return codecs.getincrementaldecoder("utf-8")().decode(stored, final=whole), "utf-8"
    except UnicodeDecodeError:
        return base64.b64encode(stored).decode(), "base64"
