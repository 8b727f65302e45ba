"""Queries on people, members and invitations.

Those of a room that others look into take what the caller may see (`TenantScope`). Those before it is known
who calls, and those on what is a person's own in whatever organisation, say so, and are called with the reach
of the program itself. Nothing is decided here, and nothing committed.

What is forgotten of people: what has ended, and who belongs nowhere any more.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Final, Literal
from uuid import UUID

import asyncpg
from sqlalchemy import ColumnElement, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.people.models import Invitation, Membership, OidcIdentity, User
from app.people.sessions import OrganisationMembership
from app.platform.config.sign_in_settings import SessionSettings
from app.platform.db.database import WriteSession
from app.platform.http.contract.sorting import (
    PageRequest,
    SortOrders,
    instant_sort_key,
    name_sort_key,
    text_sort_key,
    uuid_sort_key,
)
from app.platform.kernel.tenant_scope import TenantScope
from app.platform.observability.metrics_and_logs import get_logger
from app.registry.models import Organisation, Site
from app.registry.repository import contains_ignoring_case

InvitationState = Literal["open", "accepted", "expired", "revoked"]


def _of_user(attribute: str) -> Callable[[tuple[Membership, User]], Any]:
    return lambda row: getattr(row[1], attribute)


MEMBERS: Final = SortOrders(
    "members",
    (uuid_sort_key(Membership.id, lambda row: row[0].id),),
    {
        "created_at": (),
        "name": (name_sort_key(User.name, _of_user("name")),),
        "email": (text_sort_key(User.email, _of_user("email")),),
        "last_sign_in_at": (
            instant_sort_key(User.last_sign_in_at, _of_user("last_sign_in_at"), nullable=True),
        ),
    },
    "created_at",
)
INVITATIONS: Final = SortOrders(
    "invitations",
    (uuid_sort_key(Invitation.id),),
    {
        "created_at": (),
        "email": (text_sort_key(Invitation.email),),
        "expires_at": (instant_sort_key(Invitation.expires_at),),
    },
    "created_at",
)


async def find_account_by_email(
    session: AsyncSession,
    email: str,
    *,
    user_id: UUID | None = None,
    organisation: UUID | None = None,
    unknown_to: str | None = None,
) -> User | None:
    """The account that somebody means who names an e-mail address, whoever asks.

    An address can have several: nobody has shown that it is theirs. Meant is that of the organisation that is
    named, else the first one that is not disabled and belongs anywhere.

    Args:
        session: Reaching everything.
        email: The address.
        user_id: The account's id, where it is known.
        organisation: Whom the person wants to work for, where they say so.
        unknown_to: An issuer; accounts of those whom it has a name for are not meant.
    """
    places = select(Membership.id).where(Membership.user_id == User.id)
    # False comes before true.
    there = ~places.where(Membership.organisation_id == organisation).exists()
    order = (there, User.disabled_at.is_not(None), ~places.exists(), User.id)
    wanted = select(User).where(User.email == email).order_by(*order).limit(1)
    if user_id is not None:
        wanted = wanted.where(User.id == user_id)
    if unknown_to is not None:
        names = select(OidcIdentity.user_id).where(OidcIdentity.user_id == User.id)
        wanted = wanted.where(~names.where(OidcIdentity.issuer == unknown_to).exists())
    return await session.scalar(wanted)


async def list_memberships(session: AsyncSession, user_id: UUID) -> list[OrganisationMembership]:
    """What a person is in all organisations, the first one first, whoever asks."""
    found = await session.execute(
        select(Membership, Organisation)
        .join(Organisation, Organisation.id == Membership.organisation_id)
        .where(Membership.user_id == user_id)
        .order_by(Membership.id)
    )
    return [OrganisationMembership(membership, organisation) for membership, organisation in found]


async def find_member(
    session: AsyncSession, identifier: UUID, visible: TenantScope, *, lock: bool = False
) -> tuple[Membership, User] | None:
    """One membership, and whose it is; with `lock` neither changes until the transaction ends."""
    statement = (
        select(Membership, User)
        .join(User, User.id == Membership.user_id)
        .where(Membership.id == identifier, *visible.within(Membership.organisation_id))
    )
    if lock:
        # As they are by now: what was read before the lock was waited for may be old.
        statement = statement.with_for_update().execution_options(populate_existing=True)
    found = (await session.execute(statement)).one_or_none()
    return None if found is None else (found[0], found[1])


async def list_members(
    session: AsyncSession,
    visible: TenantScope,
    page_request: PageRequest,
    *,
    organisation: UUID | None,
    role: str | None,
    search: str | None,
) -> list[tuple[Membership, User]]:
    """Members, one more than are asked for; `search` is a part of the name or of the address."""
    statement = select(Membership, User).join(User, User.id == Membership.user_id)
    statement = statement.where(*visible.within(Membership.organisation_id))
    if organisation is not None:
        statement = statement.where(Membership.organisation_id == organisation)
    if role is not None:
        statement = statement.where(Membership.role == role)
    if search is not None:
        statement = statement.where(
            or_(*(contains_ignoring_case(column, search) for column in (User.name, User.email)))
        )
    rows = await session.execute(MEMBERS.page(statement, page_request))
    return [(membership, user) for membership, user in rows]


async def count_owners(session: AsyncSession, organisation_id: UUID, *, but: UUID) -> int:
    """How many owners an organisation has who can sign in, without this membership."""
    statement = select(func.count()).select_from(Membership).join(User, User.id == Membership.user_id)
    statement = statement.where(
        Membership.organisation_id == organisation_id,
        Membership.role == "owner",
        Membership.id != but,
        User.disabled_at.is_(None),
    )
    return (await session.execute(statement)).scalar_one()


async def is_member(session: AsyncSession, organisation_id: UUID, email: str) -> bool:
    """Whether somebody with this address is a member already."""
    statement = select(Membership.id).join(User, User.id == Membership.user_id)
    statement = statement.where(Membership.organisation_id == organisation_id, User.email == email)
    return await session.scalar(statement) is not None


def _in_state(state: InvitationState, now: datetime) -> ColumnElement[bool]:
    if state == "accepted":
        return Invitation.accepted_at.is_not(None)
    if state == "revoked":
        return Invitation.revoked_at.is_not(None)
    waiting = Invitation.accepted_at.is_(None) & Invitation.revoked_at.is_(None)
    return waiting & (Invitation.expires_at <= now if state == "expired" else Invitation.expires_at > now)


def compute_invitation_state(row: Invitation, now: datetime) -> InvitationState:
    """Whether an invitation can be accepted, or why not."""
    if row.accepted_at is not None:
        return "accepted"
    if row.revoked_at is not None:
        return "revoked"
    return "expired" if row.expires_at <= now else "open"


async def find_invitation(
    session: AsyncSession, identifier: UUID, visible: TenantScope, *, lock: bool = False
) -> Invitation | None:
    """One invitation."""
    statement = select(Invitation).where(Invitation.id == identifier)
    statement = statement.where(*visible.within(Invitation.organisation_id))
    return await session.scalar(statement.with_for_update() if lock else statement)


async def list_invitations(
    session: AsyncSession,
    visible: TenantScope,
    page_request: PageRequest,
    *,
    organisation: UUID | None,
    state: InvitationState | None,
    search: str | None,
    now: datetime,
) -> Sequence[Invitation]:
    """Invitations, one more than are asked for; `search` is a part of the address."""
    statement = select(Invitation).where(*visible.within(Invitation.organisation_id))
    if organisation is not None:
        statement = statement.where(Invitation.organisation_id == organisation)
    if state is not None:
        statement = statement.where(_in_state(state, now))
    if search is not None:
        statement = statement.where(contains_ignoring_case(Invitation.email, search))
    return (await session.scalars(INVITATIONS.page(statement, page_request))).all()


async def find_invitation_by_token(session: AsyncSession, token_hash: bytes) -> Invitation | None:
    """The invitation of a token, whoever asks."""
    return await session.scalar(select(Invitation).where(Invitation.token_hash == token_hash))


async def read_organisation_and_site_names(
    session: AsyncSession, invitation: Invitation
) -> tuple[str, tuple[str, ...] | None]:
    """The name of an invitation's organisation, and those of the only sites that it is for (None: all)."""
    name = await session.scalar(
        select(Organisation.name).where(Organisation.id == invitation.organisation_id)
    )
    if invitation.site_ids is None:
        return name or "", None
    wanted = select(Site.name).where(Site.id.in_(invitation.site_ids)).order_by(Site.name)
    return name or "", tuple(await session.scalars(wanted))


async def find_joined_organisations(session: AsyncSession, email: str) -> frozenset[UUID]:
    """The organisations that have a member with an address, by whichever account."""
    wanted = select(Membership.organisation_id).join(User, User.id == Membership.user_id)
    return frozenset(await session.scalars(wanted.where(User.email == email, User.disabled_at.is_(None))))


async def find_inviting_organisations(session: AsyncSession, email: str, now: datetime) -> frozenset[UUID]:
    """The organisations that have invited an address, and wait for an answer."""
    wanted = select(Invitation.organisation_id).where(Invitation.email == email, _in_state("open", now))
    return frozenset(await session.scalars(wanted))


async def lock_open_invitations(
    session: WriteSession, email: str, now: datetime, *, organisation: UUID | None = None
) -> Sequence[Invitation]:
    """The invitations that an address has, of all organisations or one; locked."""
    statement = select(Invitation).where(Invitation.email == email, _in_state("open", now))
    if organisation is not None:
        statement = statement.where(Invitation.organisation_id == organisation)
    return (await session.scalars(statement.order_by(Invitation.id).with_for_update())).all()


KEEP_DAYS: Final = 30
"""How long an invitation can be seen after it ended."""

_SESSIONS: Final = """
DELETE FROM user_sessions WHERE revoked_at IS NOT NULL OR expires_at < now()
    OR last_used_at < now() - make_interval(secs => $1)
"""
_RESETS: Final = "DELETE FROM password_resets WHERE used_at IS NOT NULL OR expires_at < now()"
_INVITATIONS: Final = """
DELETE FROM invitations
WHERE coalesce(accepted_at, revoked_at, expires_at) < now() - make_interval(days => $1)
"""
# Made together with their first membership: who has none lost the last one.
_USERS: Final = "DELETE FROM users u WHERE NOT EXISTS (SELECT FROM memberships m WHERE m.user_id = u.id)"
_log = get_logger(__name__)


async def purge_people_data(connection: asyncpg.Connection, settings: SessionSettings) -> None:
    """Remove what has ended."""
    await connection.execute(_SESSIONS, settings.idle_s)
    await connection.execute(_RESETS)
    await connection.execute(_INVITATIONS, KEEP_DAYS)
    try:
        removed = await connection.execute(_USERS)
    except asyncpg.ForeignKeyViolationError:
        # One of them was taken into an organisation meanwhile: the others go the next time.
        return
    if removed != "DELETE 0":
        _log.info("people_forgotten", number=int(removed.rpartition(" ")[2]))
