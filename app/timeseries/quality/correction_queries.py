"""Reads the corrections of a box's measured values. The caller has checked access to the box."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.platform.db.database import WriteSession
from app.platform.http.contract.sorting import PageRequest, SortOrders, instant_sort_key, uuid_sort_key
from app.platform.kernel.errors import NotFoundError
from app.platform.kernel.instants import from_datetime
from app.registry.models import Box
from app.timeseries.quality.correction_arithmetic import CorrectionDefinition, FormulaKind
from app.timeseries.quality.models import Correction

CORRECTIONS: Final = SortOrders(
    "corrections",
    (uuid_sort_key(Correction.id),),
    {"valid_from": (instant_sort_key(Correction.valid_from),), "created_at": ()},
    "valid_from",
)
_KINDS: Final[dict[str, FormulaKind]] = {"linear": "linear", "humidity": "humidity"}


async def list_corrections(
    session: AsyncSession, box: Box, page_request: PageRequest, *, metric: str | None
) -> Sequence[Correction]:
    """List the corrections of a box, one more than requested.

    Args:
        session: reads them.
        box: the box.
        page_request: order, limit and cursor.
        metric: only of this metric.
    """
    query = select(Correction).where(Correction.box_key == box.key)
    if metric is not None:
        query = query.where(Correction.metric == metric)
    return (await session.scalars(CORRECTIONS.page(query, page_request))).all()


async def find_correction(
    session: AsyncSession, box: Box, correction_id: UUID, *, lock: bool = False
) -> Correction:
    """Find a correction of a box.

    Args:
        session: reads it.
        box: the box.
        correction_id: the correction.
        lock: whether to lock the row until the transaction ends.

    Raises:
        NotFoundError: The box has no such correction.
    """
    query = select(Correction).where(Correction.box_key == box.key, Correction.id == correction_id)
    found = await session.scalar(query.with_for_update() if lock else query)
    if found is None:
        raise NotFoundError("correction", correction_id)
    return found


async def count_corrections(session: WriteSession, box: Box) -> int:
    """Count the corrections of a box."""
    return (await session.scalars(select(func.count()).where(Correction.box_key == box.key))).one()


async def find_overlapping_correction(session: WriteSession, correction: Correction) -> Correction | None:
    """Find another correction of the same kind, box and metric that is in force at the same time."""
    query = select(Correction).where(
        Correction.box_key == correction.box_key,
        Correction.metric == correction.metric,
        Correction.kind == correction.kind,
        Correction.id != correction.id,
        or_(Correction.valid_until.is_(None), Correction.valid_until > correction.valid_from),
    )
    if correction.valid_until is not None:
        query = query.where(Correction.valid_from < correction.valid_until)
    return (await session.scalars(query.order_by(Correction.valid_from).limit(1))).one_or_none()


async def find_corrections_in_force(
    session: AsyncSession, key: int, metric: str, first: datetime, last: datetime
) -> list[CorrectionDefinition]:
    """Find the corrections of a metric in force between `first` and `last` (exclusive), by their start.

    Args:
        session: reads them.
        key: the box.
        metric: of the catalogue.
        first: start, inclusive.
        last: end, exclusive.
    """
    query = (
        select(Correction)
        .where(
            Correction.box_key == key,
            Correction.metric == metric,
            Correction.valid_from < last,
            or_(Correction.valid_until.is_(None), Correction.valid_until > first),
        )
        .order_by(Correction.valid_from, Correction.id)
    )
    return [
        CorrectionDefinition(
            row.id,
            _KINDS[row.kind],
            from_datetime(row.valid_from),
            None if row.valid_until is None else from_datetime(row.valid_until),
            **row.parameters,
        )
        for row in await session.scalars(query)
    ]
