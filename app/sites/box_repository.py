"""Queries on boxes, and on the row of state that each one is made with.

A deleted box is not found by any of them. Nothing is decided here, and nothing committed.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import BigInteger, Row, Select, func, literal_column, or_, select, text, type_coerce, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.database import WriteSession
from app.core.errors import NotFoundError
from app.core.fields import check_box_id
from app.core.pagination import decode_cursor
from app.core.problems import CodedValueError
from app.sites.models import Box

# Newest of the times in {metric: [value, microseconds]}.
_LAST_SAMPLE: Final = type_coerce(
    literal_column(
        "(SELECT max((entry.value ->> 1)::bigint) FROM box_states, jsonb_each(box_states.latest) AS entry"
        " WHERE box_states.box_key = boxes.key)"
    ),
    BigInteger,
).label("last_sample_us")
_NEW_STATES: Final = text("INSERT INTO box_states (box_key) SELECT unnest(CAST(:keys AS integer[]))")

BoxRow = Row[Box, Any]
"""A box, and the time of its newest sample in microseconds since the epoch (None before the first)."""


def box_path(identifier: str) -> str:
    """Check a box's id from a path: what cannot be one does not exist (NotFoundError)."""
    try:
        return check_box_id(identifier)
    except CodedValueError:
        raise NotFoundError("box", identifier) from None


def _living[*R](statement: Select[*R], visible: UUID | None) -> Select[*R]:
    statement = statement.where(Box.deleted_at.is_(None))
    return statement if visible is None else statement.where(Box.organisation_id == visible)


async def get_box(session: AsyncSession, identifier: str, visible: UUID | None, *, lock: bool = False) -> Box:
    """One box (NotFoundError). With `lock` nobody else can change it until the transaction ends."""
    statement = _living(select(Box), visible).where(Box.id == box_path(identifier))
    found = await session.scalar(statement.with_for_update(key_share=True) if lock else statement)
    if found is None:
        raise NotFoundError("box", identifier)
    return found


async def get_box_row(session: AsyncSession, identifier: str, visible: UUID | None) -> BoxRow:
    """One box and when it was last heard (NotFoundError)."""
    statement = _living(select(Box, _LAST_SAMPLE), visible).where(Box.id == box_path(identifier))
    found = (await session.execute(statement)).one_or_none()
    if found is None:
        raise NotFoundError("box", identifier)
    return found


async def list_boxes(
    session: AsyncSession,
    visible: UUID | None,
    cursor: str | None,
    limit: int,
    *,
    organisation: UUID | None = None,
    site: UUID | None = None,
    state: str | None = None,
    search: str | None = None,
) -> Sequence[BoxRow]:
    """Boxes in the order of their ids, one more than `limit`."""
    statement = _living(select(Box, _LAST_SAMPLE), visible)
    if organisation is not None:
        statement = statement.where(Box.organisation_id == organisation)
    if site is not None:
        statement = statement.where(Box.site_id == site)
    if state is not None:
        statement = statement.where(Box.state.is_(None) if state == "unknown" else Box.state == state)
    if search is not None:
        wanted = search.lower()
        statement = statement.where(
            or_(func.strpos(func.lower(Box.id), wanted) > 0, func.strpos(func.lower(Box.name), wanted) > 0)
        )
    if cursor is not None:
        (last,) = decode_cursor("boxes", cursor, check_box_id)
        statement = statement.where(Box.id > last)
    return (await session.execute(statement.order_by(Box.id).limit(limit + 1))).all()


async def add_boxes(session: WriteSession, rows: Sequence[Mapping[str, Any]]) -> dict[str, Box]:
    """Insert boxes with their rows of state. Ids that are taken are left out of the answer, by id."""
    statement = (
        insert(Box)
        .values([dict(row) for row in rows])
        .on_conflict_do_nothing(index_elements=[Box.id], index_where=Box.deleted_at.is_(None))
        .returning(Box)
    )
    added = {box.id: box for box in await session.scalars(statement)}
    await session.execute(_NEW_STATES, {"keys": [box.key for box in added.values()]})
    return added


async def mark_deleted(session: WriteSession, key: int, now: datetime) -> None:
    """Delete a box and its credentials, but not its row."""
    gone = {"deleted_at": now, "updated_at": now, "password_hash": "", "state": None, "state_at": None}
    await session.execute(update(Box).where(Box.key == key).values(gone))
