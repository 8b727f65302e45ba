"""Pages through the declared purposes of all visible sites, by state.

The conditions say in SQL what `app.registry.purpose_states` computes, so that a page is full whatever the
states of other purposes are. A test compares the two.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from pydantic import Field
from sqlalchemy import ColumnElement, Row, Text, and_, case, cast, false, func, not_, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.catalogue.purposes import PURPOSES
from app.platform.http.contract.sorting import (
    PageRequest,
    SortOrders,
    instant_sort_key,
    name_sort_key,
    text_sort_key,
    uuid_sort_key,
)
from app.platform.kernel.tenant_scope import TenantScope
from app.registry.models import Site, SitePurpose
from app.registry.organisation_repository import contains_ignoring_case
from app.registry.purpose_states import REQUIRED_TEXTS

type DeclaredState = Annotated[
    Literal["incomplete", "awaiting_approval", "upcoming", "active", "ended"],
    Field(description="State of a declared purpose"),
]
"""The state of a declared purpose."""

SITE_PURPOSES: Final = SortOrders(
    "site_purposes",
    (
        uuid_sort_key(SitePurpose.site_id, lambda row: row.SitePurpose.site_id),
        text_sort_key(SitePurpose.purpose, lambda row: row.SitePurpose.purpose),
    ),
    {
        "site_name": (name_sort_key(Site.name, lambda row: row.Site.name),),
        "declared_at": (instant_sort_key(SitePurpose.declared_at, lambda row: row.SitePurpose.declared_at),),
    },
    "site_name",
)
_SENSITIVE: Final = [purpose.name for purpose in PURPOSES if purpose.sensitive]


def _is_complete() -> ColumnElement[bool]:
    """Return the condition of a sensitive purpose without missing fields."""
    days = case(
        (
            Site.retention_purposes.has_key(SitePurpose.purpose),
            Site.retention_purposes.op("->>", return_type=Text())(SitePurpose.purpose),
        ),
        else_=cast(Site.retention_days, Text),
    )
    texts = (func.coalesce(getattr(SitePurpose, name), "") != "" for name in REQUIRED_TEXTS)
    basis = func.coalesce(SitePurpose.legal_basis, "not_personal_data") != "not_personal_data"
    return and_(basis, *texts, SitePurpose.ends_at.is_not(None), days.is_not(None), Site.retention_removes)


def _has_state(state: DeclaredState, now: datetime) -> ColumnElement[bool]:
    has_ended = func.coalesce(SitePurpose.ends_at <= now, false())
    is_unapproved = and_(SitePurpose.purpose.in_(_SENSITIVE), SitePurpose.approved_at.is_(None))
    is_later = func.coalesce(SitePurpose.starts_at > now, false())
    conditions: Mapping[DeclaredState, tuple[ColumnElement[bool], ...]] = {
        "incomplete": (is_unapproved, not_(_is_complete())),
        "awaiting_approval": (is_unapproved, _is_complete()),
        "upcoming": (not_(is_unapproved), is_later),
        "active": (not_(is_unapproved), not_(is_later)),
    }
    return has_ended if state == "ended" else and_(not_(has_ended), *conditions[state])


async def read_declared_purposes(
    session: AsyncSession,
    visible: TenantScope,
    page_request: PageRequest,
    now: datetime,
    *,
    state: DeclaredState | None,
    organisation: UUID | None,
    search: str | None,
) -> Sequence[Row[SitePurpose, Site]]:
    """Read a page of declarations with their sites, and one more.

    Args:
        session: The session.
        visible: The caller's tenant scope.
        page_request: The page and its order.
        now: The time, which decides the state.
        state: Only in this state.
        organisation: Only of sites of this organisation.
        search: A part of the name of the site, case-insensitive.
    """
    statement = select(SitePurpose, Site).join(Site, Site.id == SitePurpose.site_id)
    conditions: list[Any] = [*visible.within(Site.organisation_id, Site.id)]
    if state is not None:
        conditions.append(_has_state(state, now))
    if organisation is not None:
        conditions.append(Site.organisation_id == organisation)
    if search is not None:
        conditions.append(contains_ignoring_case(Site.name, search))
    found = await session.execute(SITE_PURPOSES.page(statement.where(*conditions), page_request))
    return found.all()
