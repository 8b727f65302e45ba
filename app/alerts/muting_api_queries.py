"""Queries silences and inhibitions for the API, within the caller's tenant scope.

`app.alerts.muting_queries` finds the alerts that they mute.
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
# The alert timers set the next window within seconds after one has ended; until then it is unknown.
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
    """A silence, its current state, and the start of its next window, if that is known."""

    silence: Silence
    state: SilenceState
    next_start: datetime | None


def _to_silence_with_state(row: Row[Silence, str, datetime | None]) -> SilenceWithState:
    silence, state, next_start = row
    return SilenceWithState(silence, cast("SilenceState", state), next_start)


def _silences(visible: TenantScope) -> Select[Silence, str, datetime | None]:
    query = select(Silence, _STATE, _NEXT_START)
    return query.where(*visible.within(Silence.organisation_id))


async def list_silences(
    session: AsyncSession,
    visible: TenantScope,
    page: PageRequest,
    *,
    state: SilenceState | None,
    site_id: UUID | None,
    organisation: UUID | None,
) -> list[SilenceWithState]:
    """Read a page of silences, and one more if there is a next page.

    Args:
        session: a session of the API.
        visible: the tenant scope of the caller.
        page: limit, order and cursor.
        state: only silences in this state.
        site_id: only silences with matchers that name this site.
        organisation: only silences of this organisation.
    """
    query = _silences(visible)
    if organisation is not None:
        query = query.where(Silence.organisation_id == organisation)
    if state is not None:
        query = query.where(_STATE.in_([state]))
    if site_id is not None:
        query = query.where(Silence.matchers.contains({"site_ids": [str(site_id)]}))
    rows = await session.execute(SILENCES.page(query, page))
    return [_to_silence_with_state(row) for row in rows]


async def find_silence(
    session: AsyncSession, silence_id: UUID, visible: TenantScope, *, lock: bool = False
) -> SilenceWithState:
    """Read one silence.

    Args:
        session: a session of the API.
        silence_id: the silence.
        visible: the tenant scope of the caller.
        lock: locks the row, to change it.

    Raises:
        NotFoundError: no such silence in the tenant scope.
    """
    query = _silences(visible).where(Silence.id == silence_id)
    if lock:
        query = query.with_for_update()
    query = query.execution_options(populate_existing=True)
    row = (await session.execute(query)).one_or_none()
    if row is None:
        raise NotFoundError("silence", silence_id)
    return _to_silence_with_state(row)


async def count_matching_alerts(session: AsyncSession, silence_id: UUID) -> int:
    """Count the firing alerts that a silence matches now, active or not."""
    count: int = (await session.execute(text(COUNT_MATCHING), {"silence": silence_id})).scalar_one()
    return count


async def count_silences(session: WriteSession, owner: UUID) -> int:
    """Count the unexpired silences of an organisation; locks it against new ones until the commit."""
    await _lock_organisation(session, owner)
    query = select(func.count()).where(
        Silence.organisation_id == owner, or_(Silence.ends_at.is_(None), Silence.ends_at > func.now())
    )
    return (await session.scalars(query)).one()


async def count_inhibitions(session: WriteSession, owner: UUID) -> int:
    """Count the inhibitions of an organisation; locks it against new ones until the commit."""
    await _lock_organisation(session, owner)
    query = select(func.count()).where(Inhibition.organisation_id == owner)
    return (await session.scalars(query)).one()


async def _lock_organisation(session: WriteSession, owner: UUID) -> None:
    # FOR NO KEY UPDATE: does not block inserts of rows that refer to the organisation.
    await session.execute(
        select(Organisation.id).where(Organisation.id == owner).with_for_update(key_share=True)
    )


async def list_inhibitions(
    session: AsyncSession, visible: TenantScope, page: PageRequest, *, organisation: UUID | None
) -> Sequence[Inhibition]:
    """Read a page of inhibitions, and one more if there is a next page.

    Args:
        session: a session of the API.
        visible: the tenant scope of the caller.
        page: limit, order and cursor.
        organisation: only inhibitions of this organisation.
    """
    query = select(Inhibition)
    query = query.where(*visible.within(Inhibition.organisation_id))
    if organisation is not None:
        query = query.where(Inhibition.organisation_id == organisation)
    return (await session.scalars(INHIBITIONS.page(query, page))).all()


async def find_inhibition(
    session: AsyncSession, inhibition_id: UUID, visible: TenantScope, *, lock: bool = False
) -> Inhibition:
    """Read one inhibition.

    Args:
        session: a session of the API.
        inhibition_id: the inhibition.
        visible: the tenant scope of the caller.
        lock: locks the row, to change it.

    Raises:
        NotFoundError: no such inhibition in the tenant scope.
    """
    query = select(Inhibition).where(Inhibition.id == inhibition_id)
    query = query.where(*visible.within(Inhibition.organisation_id))
    found = await session.scalar(query.with_for_update() if lock else query)
    if found is None:
        raise NotFoundError("inhibition", inhibition_id)
    return found


async def find_owned_rules(session: AsyncSession, rule_ids: Sequence[UUID], owner: UUID) -> set[UUID]:
    """Return those of the rules that belong to an organisation."""
    query = select(Rule.id).where(
        Rule.id.in_(rule_ids), Rule.organisation_id == owner, Rule.deleted_at.is_(None)
    )
    return set((await session.scalars(query)).all())


async def find_timezones(
    session: AsyncSession, *, site_ids: Sequence[UUID], rule_ids: Sequence[UUID], boxes: Sequence[str]
) -> set[str]:
    """Find the time zones of sites, and of the sites of rules and boxes.

    Args:
        session: a session of the API.
        site_ids: sites.
        rule_ids: rules.
        boxes: ids of boxes.
    """
    of_rules = select(Rule.site_id).where(Rule.id.in_(rule_ids))
    of_boxes = select(Box.site_id).where(Box.id.in_(boxes), Box.deleted_at.is_(None))
    named = or_(Site.id.in_(site_ids), Site.id.in_(of_rules), Site.id.in_(of_boxes))
    return set((await session.scalars(select(Site.timezone).where(named))).all())


async def find_owners(
    session: AsyncSession, *, site_ids: Sequence[UUID], rule_ids: Sequence[UUID], boxes: Sequence[str]
) -> set[UUID]:
    """Find the organisations that own the sites, rules and boxes, as far as these exist.

    Args:
        session: a session of the API.
        site_ids: sites.
        rule_ids: rules.
        boxes: ids of boxes.
    """
    found = union(
        select(Site.organisation_id).where(Site.id.in_(site_ids)),
        select(Rule.organisation_id).where(Rule.id.in_(rule_ids), Rule.deleted_at.is_(None)),
        select(Box.organisation_id).where(Box.id.in_(boxes), Box.deleted_at.is_(None)),
    )
    return set((await session.scalars(found)).all())
