"""Reads and writes people, members and invitations, and purges what has expired.

The caller decides and commits. Functions with the parameter `visible` find only rows in that tenant scope.
The others run before the caller is authenticated, or on a person's data in all organisations: call them with
the full tenant scope.
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
from app.people.settings import SessionSettings
from app.platform.db.database import WriteSession, parse_row_count
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
from app.registry.organisation_repository import contains_ignoring_case

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
    """Find the account that an e-mail address means at sign-in.

    Several accounts can have the same address, since addresses are not verified. Preferred is the account of
    the given organisation, then the oldest one that is not disabled and has a membership.

    Args:
        session: A session with the full tenant scope.
        email: The address.
        user_id: The account's id, if it is known.
        organisation: The organisation to work for; None: not chosen.
        unknown_to: An OIDC issuer; accounts that are linked to it are excluded.
    """
    memberships = select(Membership.id).where(Membership.user_id == User.id)
    # False sorts before true.
    is_elsewhere = ~memberships.where(Membership.organisation_id == organisation).exists()
    order = (is_elsewhere, User.disabled_at.is_not(None), ~memberships.exists(), User.id)
    statement = select(User).where(User.email == email).order_by(*order).limit(1)
    if user_id is not None:
        statement = statement.where(User.id == user_id)
    if unknown_to is not None:
        identities = select(OidcIdentity.user_id).where(OidcIdentity.user_id == User.id)
        statement = statement.where(~identities.where(OidcIdentity.issuer == unknown_to).exists())
    return await session.scalar(statement)


async def lock_user(session: WriteSession, user_id: UUID) -> User:
    """Lock a person, who must exist, until the transaction ends."""
    statement = select(User).where(User.id == user_id).with_for_update()
    return (await session.scalars(statement)).one()


async def list_memberships(session: AsyncSession, user_id: UUID) -> list[OrganisationMembership]:
    """List a person's memberships in all organisations, the oldest first."""
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
    """Find a membership and its person.

    Args:
        session: The session.
        identifier: The membership's id.
        visible: The caller's tenant scope.
        lock: Lock both rows until the transaction ends.
    """
    statement = (
        select(Membership, User)
        .join(User, User.id == Membership.user_id)
        .where(Membership.id == identifier, *visible.within(Membership.organisation_id))
    )
    if lock:
        # Refreshes objects that the session read before it waited for the lock.
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
    """List members: a page and one more row.

    Args:
        session: The session.
        visible: The caller's tenant scope.
        page_request: The page and its order.
        organisation: Only members of this organisation.
        role: Only members with this role.
        search: A part of the name or the address, case-insensitive.
    """
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
    """Count the owners of an organisation that can sign in, without the membership `but`."""
    statement = select(func.count()).select_from(Membership).join(User, User.id == Membership.user_id)
    statement = statement.where(
        Membership.organisation_id == organisation_id,
        Membership.role == "owner",
        Membership.id != but,
        User.disabled_at.is_(None),
    )
    return (await session.execute(statement)).scalar_one()


async def is_member(session: AsyncSession, organisation_id: UUID, email: str) -> bool:
    """Whether an organisation has a member with this address."""
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
    """Compute whether an invitation can be accepted, or why not."""
    if row.accepted_at is not None:
        return "accepted"
    if row.revoked_at is not None:
        return "revoked"
    return "expired" if row.expires_at <= now else "open"


async def find_invitation(
    session: AsyncSession, identifier: UUID, visible: TenantScope, *, lock: bool = False
) -> Invitation | None:
    """Find an invitation.

    Args:
        session: The session.
        identifier: The invitation's id.
        visible: The caller's tenant scope.
        lock: Lock the row until the transaction ends.
    """
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
    """List invitations: a page and one more row.

    Args:
        session: The session.
        visible: The caller's tenant scope.
        page_request: The page and its order.
        organisation: Only invitations of this organisation.
        state: Only invitations in this state.
        search: A part of the address, case-insensitive.
        now: The time, which decides whether an invitation has expired.
    """
    statement = select(Invitation).where(*visible.within(Invitation.organisation_id))
    if organisation is not None:
        statement = statement.where(Invitation.organisation_id == organisation)
    if state is not None:
        statement = statement.where(_in_state(state, now))
    if search is not None:
        statement = statement.where(contains_ignoring_case(Invitation.email, search))
    return (await session.scalars(INVITATIONS.page(statement, page_request))).all()


async def find_invitation_by_token(session: AsyncSession, token_hash: bytes) -> Invitation | None:
    """Find the invitation of a token by the token's hash."""
    return await session.scalar(select(Invitation).where(Invitation.token_hash == token_hash))


async def read_organisation_and_site_names(
    session: AsyncSession, invitation: Invitation
) -> tuple[str, tuple[str, ...] | None]:
    """Read the names of an invitation's organisation and of its only sites (None: all sites)."""
    name = await session.scalar(
        select(Organisation.name).where(Organisation.id == invitation.organisation_id)
    )
    if invitation.site_ids is None:
        return name or "", None
    statement = select(Site.name).where(Site.id.in_(invitation.site_ids)).order_by(Site.name)
    return name or "", tuple(await session.scalars(statement))


async def find_joined_organisations(session: AsyncSession, email: str) -> frozenset[UUID]:
    """Find the organisations with an active member that has an address, by any account."""
    statement = select(Membership.organisation_id).join(User, User.id == Membership.user_id)
    return frozenset(await session.scalars(statement.where(User.email == email, User.disabled_at.is_(None))))


async def find_inviting_organisations(session: AsyncSession, email: str, now: datetime) -> frozenset[UUID]:
    """Find the organisations with an open invitation of an address."""
    statement = select(Invitation.organisation_id).where(Invitation.email == email, _in_state("open", now))
    return frozenset(await session.scalars(statement))


async def lock_open_invitations(
    session: WriteSession, email: str, now: datetime, *, organisation: UUID | None = None
) -> Sequence[Invitation]:
    """Lock the open invitations of an address.

    Args:
        session: The transaction.
        email: The address.
        now: The time.
        organisation: Only invitations of this organisation; None: of all.
    """
    statement = select(Invitation).where(Invitation.email == email, _in_state("open", now))
    if organisation is not None:
        statement = statement.where(Invitation.organisation_id == organisation)
    return (await session.scalars(statement.order_by(Invitation.id).with_for_update())).all()


INVITATION_RETENTION_DAYS: Final = 30
"""The retention of an invitation after it was accepted, revoked, or has expired."""

_SESSIONS: Final = """
DELETE FROM user_sessions WHERE revoked_at IS NOT NULL OR expires_at < now()
    OR last_used_at < now() - make_interval(secs => $1)
"""
_RESETS: Final = "DELETE FROM password_resets WHERE used_at IS NOT NULL OR expires_at < now()"
_INVITATIONS: Final = """
DELETE FROM invitations
WHERE coalesce(accepted_at, revoked_at, expires_at) < now() - make_interval(days => $1)
"""
_CHALLENGES: Final = "DELETE FROM used_challenges WHERE expires_at < now()"
# A user is created with its first membership: one without any has lost the last.
_USERS: Final = "DELETE FROM users u WHERE NOT EXISTS (SELECT FROM memberships m WHERE m.user_id = u.id)"
_log = get_logger(__name__)


async def purge_people_data(connection: asyncpg.Connection, settings: SessionSettings) -> None:
    """Delete ended sessions, used or expired tokens and invitations, and people without a membership."""
    await connection.execute(_SESSIONS, settings.idle_s)
    await connection.execute(_RESETS)
    await connection.execute(_INVITATIONS, INVITATION_RETENTION_DAYS)
    await connection.execute(_CHALLENGES)
    try:
        removed = await connection.execute(_USERS)
    except asyncpg.ForeignKeyViolationError:
        # One of them became a member concurrently: the next run deletes the others.
        return
    if removed != "DELETE 0":
        _log.info("people_forgotten", number=parse_row_count(removed))
