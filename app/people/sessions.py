"""Opens, authenticates and ends the sessions of people.

A session token (`vgs_…`) represents a person in one organisation at a time, with the present scopes of their
role there: a removal or a change of the role applies from the next request on.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final, NamedTuple
from uuid import UUID

from fastapi import Request
from sqlalchemy import ColumnElement, select, update

from app.people.member_roles import SCOPES_OF
from app.people.models import Membership, SignInMethod, User, UserSession
from app.people.settings import SessionSettings
from app.platform.db.database import Database, WriteSession
from app.platform.identity.api_keys import resolve_tenant_scope, select_client_ids, select_integrator_id
from app.platform.identity.caller_authentication import Principal, SecondFactorState
from app.platform.kernel.errors import UnauthorisedError
from app.platform.kernel.ids import new_id
from app.platform.kernel.secret_tokens import SESSION_PREFIX, generate_key, hash_key, is_well_formed_key
from app.platform.kernel.tenant_scope import FULL_SCOPE, ScopedCaller, format_actor, run_as_caller
from app.registry.models import Organisation

_TOUCH_EVERY: Final = timedelta(minutes=1)
_AGENT_LIMIT: Final = 200


class ClientInfo(NamedTuple):
    """The client of a request.

    Attributes:
        address: The client's address; empty if unknown.
        user_agent: The `User-Agent` header, truncated.
    """

    address: str
    user_agent: str

    @classmethod
    def of(cls, request: Request) -> "ClientInfo":
        """Read the client of a request."""
        user_agent = request.headers.get("user-agent", "").replace("\0", "")
        return cls(request.client.host if request.client else "", user_agent[:_AGENT_LIMIT])


class OrganisationMembership(NamedTuple):
    """A membership with its organisation.

    Attributes:
        membership: The membership.
        organisation: Its organisation.
    """

    membership: Membership
    organisation: Organisation


class SignInProof(NamedTuple):
    """How a person proved who they are.

    Attributes:
        method: How they signed in.
        is_fresh: Whether they proved it now; else another session stands for them.
    """

    method: SignInMethod
    is_fresh: bool = True


BY_PASSWORD: Final = SignInProof("password")
BY_PASSKEY: Final = SignInProof("passkey")
BY_PROVIDER: Final = SignInProof("provider")


def make_user_caller(user: User) -> ScopedCaller:
    """Make a caller with the full tenant scope that acts for a person, for the audit log."""
    return ScopedCaller(FULL_SCOPE, format_actor("user", user.id, user.name))


def is_session_active(settings: SessionSettings, now: datetime) -> ColumnElement[bool]:
    """Make the condition of a session that has not ended."""
    return (
        UserSession.revoked_at.is_(None)
        & (UserSession.expires_at > now)
        & (UserSession.last_used_at > now - timedelta(seconds=settings.idle_s))
    )


def _find_second_factor_state(row: UserSession, user: User, organisation: Organisation) -> SecondFactorState:
    if user.second_factor_at is not None:
        return "enrolled"
    if not organisation.second_factor_required:
        return "not_required"
    # Whether the provider asks for a second factor is its operator's decision.
    return "provider" if row.method == "provider" else "missing"


def _principal(
    row: UserSession,
    user: User,
    joined: OrganisationMembership,
    clients: Sequence[UUID],
    integrator_id: UUID | None,
) -> Principal:
    membership, organisation = joined
    second_factor = _find_second_factor_state(row, user, organisation)
    has_rights = second_factor != "missing"
    owns = membership.role == "owner" and has_rights
    return Principal(
        key_id=user.id,
        organisation_id=organisation.id,
        # Only owners of the platform are its administrators. Other members have its tenant scope, but only
        # the scopes of their role.
        platform=organisation.platform and owns,
        scopes=frozenset(SCOPES_OF[membership.role] if has_rights else ()),
        tenant_scope=resolve_tenant_scope(
            organisation.id, clients, membership.site_ids, platform=organisation.platform
        ),
        name=user.name,
        kind="user",
        integrator_id=integrator_id,
        second_factor=second_factor,
    )


class SessionAuthenticator:
    """Authenticates session tokens.

    Args:
        database: The database.
        settings: The lifetimes of sessions.
    """

    def __init__(self, database: Database, settings: SessionSettings) -> None:
        self._database = database
        self._settings = settings

    async def authenticate(self, token: str, now: datetime) -> Principal:
        """Find the principal of a session token.

        Raises:
            UnauthorisedError: The token is unknown, was ended, or the person is no longer a member;
                `session_expired` if the session has expired.
        """
        if not is_well_formed_key(token, SESSION_PREFIX):
            raise UnauthorisedError("The token is not valid. Check that it was copied completely.")
        statement = (
            select(
                *(UserSession, User, Membership, Organisation),
                *(select_client_ids(Organisation.id), select_integrator_id(Organisation.id)),
            )
            .join(User, User.id == UserSession.user_id)
            .join(Organisation, Organisation.id == UserSession.organisation_id)
            .join(
                Membership,
                (Membership.user_id == User.id) & (Membership.organisation_id == Organisation.id),
            )
            .where(UserSession.token_hash == hash_key(token), UserSession.revoked_at.is_(None))
            .where(User.disabled_at.is_(None))
        )
        async with self._database.look_up() as session:
            found = (await session.execute(statement)).one_or_none()
        if found is None:
            raise UnauthorisedError("The token is unknown, or its sign-in was ended. Sign in again.")
        row, user, membership, organisation, clients, integrator_id = found
        idle = now - row.last_used_at
        if row.expires_at <= now or idle > timedelta(seconds=self._settings.idle_s):
            raise UnauthorisedError("The sign-in has expired. Sign in again.", code="session_expired")
        if idle > _TOUCH_EVERY:
            await self._touch(user, row.id, now)
        joined = OrganisationMembership(membership, organisation)
        principal = _principal(row, user, joined, clients, integrator_id)
        idle_end = max(row.last_used_at, now - _TOUCH_EVERY) + timedelta(seconds=self._settings.idle_s)
        return replace(principal, valid_until=min(row.expires_at, idle_end))

    async def _touch(self, user: User, identifier: UUID, now: datetime) -> None:
        with run_as_caller(make_user_caller(user)):
            async with self._database.write(changes_access=False) as session:
                await session.execute(
                    update(UserSession).where(UserSession.id == identifier).values(last_used_at=now)
                )


async def open_session(
    session: WriteSession,
    user: User,
    organisation_id: UUID,
    *,
    origin: ClientInfo,
    settings: SessionSettings,
    proof: SignInProof,
    now: datetime,
) -> tuple[str, UserSession]:
    """Open a session of a verified person, and end the oldest one if the person has too many.

    Args:
        session: The transaction.
        user: The person, locked, so that concurrent sign-ins cannot exceed the limit.
        organisation_id: The organisation to work for.
        origin: The client.
        settings: The limit of sessions, and their lifetime.
        proof: How the person proved who they are.
        now: The time.

    Returns:
        The only copy of the token, and its row.
    """
    active = select(UserSession.id).where(UserSession.user_id == user.id, is_session_active(settings, now))
    surplus = active.order_by(UserSession.created_at.desc(), UserSession.id.desc()).offset(
        settings.at_once - 1
    )
    await session.execute(update(UserSession).where(UserSession.id.in_(surplus)).values(revoked_at=now))
    token = generate_key(SESSION_PREFIX)
    row = UserSession(
        id=new_id(),
        token_hash=hash_key(token),
        user_id=user.id,
        organisation_id=organisation_id,
        created_at=now,
        expires_at=now + timedelta(seconds=settings.absolute_s),
        last_used_at=now,
        address=origin.address,
        user_agent=origin.user_agent,
        method=proof.method,
        authenticated_at=now if proof.is_fresh else None,
    )
    user.last_sign_in_at = now
    session.add(row)
    return token, row


async def end_sessions(
    session: WriteSession,
    user_id: UUID,
    now: datetime,
    *,
    but: bytes | None = None,
    organisation: UUID | None = None,
) -> None:
    """End all sessions of a person.

    Args:
        session: The transaction, with the full tenant scope or that of the person.
        user_id: The person.
        now: The time.
        but: The hash of the token of the session that stays active.
        organisation: Only sessions for this organisation; None: for all.
    """
    statement = update(UserSession).where(UserSession.user_id == user_id, UserSession.revoked_at.is_(None))
    if but is not None:
        statement = statement.where(UserSession.token_hash != but)
    if organisation is not None:
        statement = statement.where(UserSession.organisation_id == organisation)
    await session.execute(statement.values(revoked_at=now))


async def end_session_of_token(database: Database, token: str, now: datetime) -> None:
    """End the session of a token, as its person; do nothing if it is not active."""
    active = (UserSession.token_hash == hash_key(token)) & UserSession.revoked_at.is_(None)
    async with database.look_up() as reader:
        user = await reader.scalar(
            select(User).join(UserSession, UserSession.user_id == User.id).where(active)
        )
    if user is not None:
        with run_as_caller(make_user_caller(user)):
            async with database.write() as session:
                await session.execute(update(UserSession).where(active).values(revoked_at=now))
