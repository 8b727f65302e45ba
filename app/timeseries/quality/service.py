"""What follows from making, ending and removing corrections. Must not know HTTP.

Whoever adds or prolongs one has the box locked, so that no two of a kind come to overlap.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from app.platform.db.database import WriteSession
from app.platform.http.contract.etags import skip_precondition
from app.platform.identity.principals import Principal
from app.platform.kernel.errors import ConflictError, InvalidError
from app.platform.kernel.ids import new_id
from app.registry import box_repository
from app.timeseries.quality import repository
from app.timeseries.quality.models import Correction
from app.timeseries.quality.schemas import CorrectionCreate

CORRECTIONS_MOST: Final = 500
"""Corrections of one box."""


async def add_correction(
    session: WriteSession, principal: Principal, identifier: str, body: CorrectionCreate, now: datetime
) -> Correction:
    """Define a correction.

    Raises:
        NotFoundError: the box is not there.
        ConflictError: `correction_overlaps`.
        InvalidError: `range_reversed`, `too_many_corrections`.
    """
    box = await box_repository.get_box(session, identifier, principal.visible(), lock=True)
    correction = Correction(
        id=new_id(),
        box_key=box.key,
        organisation_id=box.organisation_id,
        metric=body.metric,
        kind=body.kind,
        parameters=body.parameters(),
        valid_from=body.valid_from,
        valid_until=body.valid_until,
        note=body.note,
        created_at=now,
        updated_at=now,
    )
    _check_order(correction.valid_from, correction.valid_until)
    if await repository.count_corrections(session, box) >= CORRECTIONS_MOST:
        raise InvalidError(
            f"The box has {CORRECTIONS_MOST} corrections, which is all that it may have. Delete some.",
            code="too_many_corrections",
        )
    await _check_no_overlap(session, correction)
    session.add(correction)
    await session.flush()
    return correction


async def change_correction(
    session: WriteSession,
    principal: Principal,
    named: tuple[str, UUID],
    fields: Mapping[str, Any],
    now: datetime,
    *,
    check: Callable[[Correction], None] = skip_precondition,
) -> Correction:
    """Change the end of a correction that passes a check, or what is said of it.

    Args:
        session: in which it is done.
        principal: who asks for it.
        named: the ids of the box and of the correction.
        fields: what changes: `valid_until`, `note`.
        now: the time.
        check: of the row as it is.

    Raises:
        NotFoundError: no such correction of the box.
        ConflictError, InvalidError: as for a new one.
    """
    box = await box_repository.get_box(session, named[0], principal.visible(), lock=True)
    found = await repository.find_correction(session, box, named[1], lock=True)
    check(found)
    if "valid_until" in fields:
        _check_order(found.valid_from, fields["valid_until"])
    for name, value in fields.items():
        setattr(found, name, value)
    if "valid_until" in fields:
        await _check_no_overlap(session, found)
    if fields:
        found.updated_at = now
    await session.flush()
    return found


def _check_order(first: datetime, last: datetime | None) -> None:
    if last is not None and last <= first:
        raise InvalidError("`valid_until` is not after `valid_from`.", code="range_reversed")


async def _check_no_overlap(session: WriteSession, body: Correction) -> None:
    other = await repository.find_overlapping_correction(session, body)
    if other is not None:
        end = "has no end" if other.valid_until is None else f"holds until {other.valid_until.isoformat()}"
        raise ConflictError(
            f"The {other.kind} correction {other.id} of {other.metric} holds from "
            f"{other.valid_from.isoformat()} on, and {end}. Give it another `valid_until` first (PATCH).",
            code="correction_overlaps",
            extra={"correction_id": str(other.id)},
        )
