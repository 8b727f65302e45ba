"""Creates and changes corrections of a box's measured values.

Locks the box, so that concurrent requests cannot create overlapping corrections.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from app.platform.db.database import WriteSession, get_driver_connection
from app.platform.http.contract.etags import skip_precondition
from app.platform.identity.caller_authentication import Principal
from app.platform.kernel.errors import ConflictError, InvalidError
from app.platform.kernel.ids import new_id
from app.platform.kernel.instants import format_us, from_datetime
from app.registry import box_repository
from app.timeseries.commit_log.commit_writer import append_correction_commit
from app.timeseries.quality import correction_queries
from app.timeseries.quality.correction_schemas import CorrectionCreate
from app.timeseries.quality.models import Correction

CORRECTIONS_MOST: Final = 500
"""The most corrections of one box."""


async def add_correction(
    session: WriteSession, principal: Principal, identifier: str, body: CorrectionCreate, now: datetime
) -> Correction:
    """Define a correction.

    Args:
        session: in which it is created.
        principal: the caller.
        identifier: the box.
        body: the request.
        now: the time.

    Raises:
        NotFoundError: The box does not exist.
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
    if await correction_queries.count_corrections(session, box) >= CORRECTIONS_MOST:
        raise InvalidError(
            f"The box already has {CORRECTIONS_MOST} corrections, the limit. Delete some first.",
            code="too_many_corrections",
        )
    await _check_no_overlap(session, correction)
    session.add(correction)
    await session.flush()
    await _log_change(session, correction, "created")
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
    """Change the end or the note of a correction that passes a check.

    Args:
        session: in which it is changed.
        principal: the caller.
        named: the ids of the box and of the correction.
        fields: the changes: `valid_until`, `note`.
        now: the time.
        check: raises if the current row does not satisfy the request's precondition.

    Raises:
        NotFoundError: The box has no such correction.
        ConflictError, InvalidError: as for a new one.
    """
    box = await box_repository.get_box(session, named[0], principal.visible(), lock=True)
    found = await correction_queries.find_correction(session, box, named[1], lock=True)
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
    if fields:
        await _log_change(session, found, "changed")
    return found


async def delete_correction(
    session: WriteSession,
    principal: Principal,
    named: tuple[str, UUID],
    *,
    check: Callable[[Correction], None] = skip_precondition,
) -> None:
    """Delete a correction that passes a check.

    Args:
        session: in which it is deleted.
        principal: the caller.
        named: the ids of the box and of the correction.
        check: raises if the current row does not satisfy the request's precondition.

    Raises:
        NotFoundError: The box has no such correction.
    """
    box = await box_repository.get_box(session, named[0], principal.visible(), lock=True)
    found = await correction_queries.find_correction(session, box, named[1], lock=True)
    check(found)
    await session.delete(found)
    await session.flush()
    await _log_change(session, found, "deleted")


async def _log_change(session: WriteSession, correction: Correction, change: str) -> None:
    """Append the change to the commit log: values that were sent before are read differently now."""
    until = correction.valid_until
    details = {
        "change": change,
        "correction_id": correction.id,
        "metric": correction.metric,
        "kind": correction.kind,
        **correction.parameters,
        "valid_from": format_us(from_datetime(correction.valid_from)),
        "valid_until": None if until is None else format_us(from_datetime(until)),
    }
    await append_correction_commit(
        await get_driver_connection(session),
        correction.organisation_id,
        correction.box_key,
        from_datetime(correction.valid_from),
        details,
    )


def _check_order(first: datetime, last: datetime | None) -> None:
    if last is not None and last <= first:
        raise InvalidError("`valid_until` must be after `valid_from`.", code="range_reversed")


async def _check_no_overlap(session: WriteSession, correction: Correction) -> None:
    other = await correction_queries.find_overlapping_correction(session, correction)
    if other is not None:
        end = "has no end" if other.valid_until is None else f"ends at {other.valid_until.isoformat()}"
        raise ConflictError(
            f"The {other.kind} correction {other.id} of {other.metric} overlaps: it begins at "
            f"{other.valid_from.isoformat()} and {end}. Change its `valid_until` first (PATCH).",
            code="correction_overlaps",
            extra={"correction_id": str(other.id)},
        )
