"""Queries on silences and inhibitions made by the API; what they mute is `app.alerts.muting_queries`'s.

Every function takes what the caller may see: the id of an organisation, or None for all of them. What is
outside of it is not found.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple, cast
from uuid import UUID

from sqlalchemy import ColumnElement, Row, Select, and_, case, func, literal, or_, select, text, union
from sqlalchemy.ext.asyncio import AsyncSession

from app.alerts.models import Inhibition, Silence
from app.alerts.muting_queries import COUNT_MATCHING
from app.alerts.muting_schemas import SilenceState
from app.platform.db.database import WriteSession
from app.platform.http.contract.sorting import (
    PageRequest,
    SortOrders,
    instant_sort_key,
    name_sort_key,
    uuid_sort_key,
)
from app.platform.kernel.errors import NotFoundError
from app.platform.kernel.tenant_scope import TenantScope
from app.registry.models import Box, Organisation, Site
from app.rules.definitions.models import Rule


def _of_silence(attribute: str) -> Callable[["SilenceWithState"], Any]:
    return lambda row: getattr(row.silence, attribute)


SILENCES: Final = SortOrders(
    "silences",
    (uuid_sort_key(Silence.id, _of_silence("id")),),
    {
        "created_at": (),
        "starts_at": (instant_sort_key(Silence.starts_at, _of_silence("starts_at")),),
        "ends_at": (instant_sort_key(Silence.ends_at, _of_silence("ends_at"), nullable=True),),
    },
    "created_at",
)
INHIBITIONS: Final = SortOrders(
    "inhibitions",
    (uuid_sort_key(Inhibition.id),),
    {"created_at": (), "name": (name_sort_key(Inhibition.name),)},
    "created_at",
)

_STATE: Final[ColumnElement[str]] = case(
    (Silence.ends_at <= func.now(), literal("expired")),
    (
        and_(
            Silence.starts_at <= func.now(),
            or_(
                Silence.schedule.is_(None),
                and_(
                    Silence.window_start <= func.now(),
                    or_(Silence.window_end.is_(None), Silence.window_end > func.now()),
                ),
            ),
        ),
        literal("active"),
    ),
    else_=literal("pending"),
)
# A window that has passed is followed by the next one within seconds: until then it is not known.
_BEGINS: Final[ColumnElement[datetime | None]] = case(
    (Silence.schedule.is_(None), Silence.starts_at), (Silence.window_start > func.now(), Silence.window_start)
)
_NEXT_START: Final[ColumnElement[datetime | None]] = case(
    (
        and_(literal("pending").in_([_STATE]), or_(Silence.ends_at.is_(None), Silence.ends_at > _BEGINS)),
        _BEGINS,
    )
)


class SilenceWithState(NamedTuple):
    """A silence, its state now, and when it begins to mute, where that is still to come and known."""

    silence: Silence
    state: SilenceState
    next_start: datetime | None


def _known(row: Row[Silence, str, datetime | None]) -> SilenceWithState:
    silence, state, next_start = row
    return SilenceWithState(silence, cast("SilenceState", state), next_start)


def _silences(visible: TenantScope) -> Select[Silence, str, datetime | None]:
    query = select(Silence, _STATE, _NEXT_START)
    return query.where(*visible.within(Silence.organisation_id))


async def list_silences(
    session: AsyncSession,
    visible: TenantScope,
    asked: PageRequest,
    *,
    state: SilenceState | None,
    site_id: UUID | None,
    organisation: UUID | None,
) -> list[SilenceWithState]:
    """Silences, and one more than are asked for where there are more; `site_id`: that name it."""
    query = _silences(visible)
    if organisation is not None:
        query = query.where(Silence.organisation_id == organisation)
    if state is not None:
        query = query.where(_STATE.in_([state]))
    if site_id is not None:
        query = query.where(Silence.matchers.contains({"site_ids": [str(site_id)]}))
    rows = await session.execute(SILENCES.page(query, asked))
    return [_known(row) for row in rows]


async def find_silence(
    session: AsyncSession, silence_id: UUID, visible: TenantScope, *, lock: bool = False
) -> SilenceWithState:
    """One silence. NotFoundError for another organisation's."""
    query = _silences(visible).where(Silence.id == silence_id)
    if lock:
        query = query.with_for_update()
    query = query.execution_options(populate_existing=True)
    row = (await session.execute(query)).one_or_none()
    if row is None:
        raise NotFoundError("silence", silence_id)
    return _known(row)


async def count_matching_alerts(session: AsyncSession, silence_id: UUID) -> int:
    """How many firing alerts a silence matches now, in force or not."""
    count: int = (await session.execute(text(COUNT_MATCHING), {"silence": silence_id})).scalar_one()
    return count


async def count_silences(session: WriteSession, owner: UUID) -> int:
    """How many silences of an organisation have not expired; until the commit nobody else makes one."""
    await _hold(session, owner)
    query = select(func.count()).where(
        Silence.organisation_id == owner, or_(Silence.ends_at.is_(None), Silence.ends_at > func.now())
    )
    return (await session.scalars(query)).one()


async def count_inhibitions(session: WriteSession, owner: UUID) -> int:
    """How many inhibitions an organisation has; until the commit nobody else makes one."""
    await _hold(session, owner)
    query = select(func.count()).where(Inhibition.organisation_id == owner)
    return (await session.scalars(query)).one()


async def _hold(session: WriteSession, owner: UUID) -> None:
    # Rows that refer to it may come and go meanwhile.
    await session.execute(
        select(Organisation.id).where(Organisation.id == owner).with_for_update(key_share=True)
    )


async def list_inhibitions(
    session: AsyncSession, visible: TenantScope, asked: PageRequest, *, organisation: UUID | None
) -> Sequence[Inhibition]:
    """Inhibitions, and one more than are asked for where there are more."""
    query = select(Inhibition)
    query = query.where(*visible.within(Inhibition.organisation_id))
    if organisation is not None:
        query = query.where(Inhibition.organisation_id == organisation)
    return (await session.scalars(INHIBITIONS.page(query, asked))).all()


async def find_inhibition(
    session: AsyncSession, inhibition_id: UUID, visible: TenantScope, *, lock: bool = False
) -> Inhibition:
    """One inhibition. NotFoundError for another organisation's."""
    query = select(Inhibition).where(Inhibition.id == inhibition_id)
    query = query.where(*visible.within(Inhibition.organisation_id))
    found = await session.scalar(query.with_for_update() if lock else query)
    if found is None:
        raise NotFoundError("inhibition", inhibition_id)
    return found


async def find_owned_rules(session: AsyncSession, rule_ids: Sequence[UUID], owner: UUID) -> set[UUID]:
    """Those of the rules that are an organisation's."""
    query = select(Rule.id).where(
        Rule.id.in_(rule_ids), Rule.organisation_id == owner, Rule.deleted_at.is_(None)
    )
    return set((await session.scalars(query)).all())


async def find_timezones(
    session: AsyncSession, *, site_ids: Sequence[UUID], rule_ids: Sequence[UUID], boxes: Sequence[str]
) -> set[str]:
    """The time zones of sites, and of the sites of rules and boxes."""
    of_rules = select(Rule.site_id).where(Rule.id.in_(rule_ids))
    of_boxes = select(Box.site_id).where(Box.id.in_(boxes), Box.deleted_at.is_(None))
    named = or_(Site.id.in_(site_ids), Site.id.in_(of_rules), Site.id.in_(of_boxes))
    return set((await session.scalars(select(Site.timezone).where(named))).all())


async def find_owners(
    session: AsyncSession, *, site_ids: Sequence[UUID], rule_ids: Sequence[UUID], boxes: Sequence[str]
) -> set[UUID]:
    """The organisations whose sites, rules or boxes these are, of those that there are."""
    found = union(
        select(Site.organisation_id).where(Site.id.in_(site_ids)),
        select(Rule.organisation_id).where(Rule.id.in_(rule_ids), Rule.deleted_at.is_(None)),
        select(Box.organisation_id).where(Box.id.in_(boxes), Box.deleted_at.is_(None)),
    )
    return set((await session.scalars(found)).all())
