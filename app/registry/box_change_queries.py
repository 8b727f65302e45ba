"""Lists the boxes that became silent, went online or went offline since a time."""

from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

from sqlalchemy import literal, select, true, union_all
from sqlalchemy.ext.asyncio import AsyncSession

from app.platform.kernel.tenant_scope import TenantScope
from app.registry.box_filters import (
    BOX_STATES,
    SilenceCriterion,
    join_activity,
    select_activity,
    select_silence_start,
)
from app.registry.models import Box

_REPORTED: Final = ("online", "offline")


class BoxChange(NamedTuple):
    """A change of a box: `silent`, or the state that it reported, `online` or `offline`.

    `was_heard` is whether the box ever sent a sample.
    """

    change: str
    at: datetime
    box: str
    name: str | None
    site_id: UUID
    was_heard: bool


async def list_box_changes(
    session: AsyncSession,
    visible: TenantScope,
    *,
    organisation: UUID | None,
    silence: SilenceCriterion,
    since: datetime,
    most: int,
) -> list[BoxChange]:
    """List the latest change of each box by kind, the newest first.

    The database has no history of them: a box that was silent and sends again is not listed.

    Args:
        session: The session.
        visible: The caller's tenant scope.
        organisation: Only boxes of this organisation; None: of all in the tenant scope.
        silence: The criterion of a silent box.
        since: The earliest time of a change.
        most: The largest number of changes.
    """
    start = select_silence_start()
    shown = (Box.id, Box.name, Box.site_id)
    was_heard = BOX_STATES.c.last_sample_at.is_not(None).label("was_heard")
    silent = select(literal("silent").label("change"), start.label("at"), *shown, was_heard)
    silent = join_activity(silent)
    silent = silent.where(select_activity() == "silent", start >= since)
    reported = select(Box.state, Box.state_at, *shown, true())
    reported = reported.where(Box.state.in_(_REPORTED), Box.state_at >= since)
    conditions = [Box.deleted_at.is_(None), *visible.within(Box.organisation_id, Box.site_id)]
    if organisation is not None:
        conditions.append(Box.organisation_id == organisation)
    union = union_all(silent.where(*conditions), reported.where(*conditions)).subquery()
    statement = select(union).order_by(union.c.at.desc(), union.c.id).limit(most)
    return [BoxChange(*row) for row in await session.execute(statement, silence.values())]
