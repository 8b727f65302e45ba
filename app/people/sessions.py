"""Sign-ins that hold: how a token is made, whom it speaks for, and when it ends.

A token (`vgs_…`) speaks for a person in one organisation at a time, with the scopes of their role there as it
is at that moment: whoever is removed or demoted is so with the next call.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple
from uuid import UUID

from fastapi import Request
from sqlalchemy import ColumnElement, select, update

from app.people.member_roles import SCOPES_OF
from app.people.models import Membership, User, UserSession
from app.platform.config.sign_in_settings import SessionSettings
from app.platform.db.database import Database, WriteSession
from app.platform.identity.principals import (
    Principal,
    resolve_tenant_scope,
    select_client_ids,
    select_integrator_id,
)
from app.platform.kernel.api_keys import SESSION_PREFIX, generate_key, hash_key, is_well_formed_key
from app.platform.kernel.errors import UnauthorisedError
from app.platform.kernel.ids import new_id
from app.platform.kernel.tenant_scope import FULL_SCOPE, ScopedCaller, format_actor, run_as_caller
from app.registry.models import Organisation

_TOUCH_EVERY: Final = timedelta(minutes=1)
_AGENT_LIMIT: Final = 200


class ClientInfo(NamedTuple):
    """Where a request comes from.

    Attributes:
        address: The address; empty where it is not known.
        user_agent: What the client says it is, cut.
    """

    address: str
    user_agent: str

    @classmethod
    def of(cls, request: Request) -> "ClientInfo":
        """Where this request comes from."""
        said = request.headers.get("user-agent", "").replace("\0", "")
        return cls(request.client.host if request.client else "", said[:_AGENT_LIMIT])


class OrganisationMembership(NamedTuple):
    """What a person is, and where.

    Attributes:
        membership: The membership.
        organisation: Its organisation.
    """

    membership: Membership
    organisation: Organisation


def make_user_caller(user: User) -> ScopedCaller:
    """The program at work for a person whose organisation does not matter, or is not known yet."""
    return ScopedCaller(FULL_SCOPE, format_actor("user", user.id, user.name))


def is_session_active(settings: SessionSettings, now: datetime) -> ColumnElement[bool]:
    """The condition of a sign-in that still holds."""
    return (
        UserSession.revoked_at.is_(None)
        & (UserSession.expires_at > now)
        & (UserSession.last_used_at > now - timedelta(seconds=settings.idle_s))
    )


def _principal(
    user: User, place: OrganisationMembership, clients: Sequence[UUID], integrator_id: UUID | None
) -> Principal:
    membership, organisation = place
    owns = membership.role == "owner"
    return Principal(
        key_id=user.id,
        organisation_id=organisation.id,
        # Its owners are the administrators: others of the platform reach as far, by the scopes of their role.
        platform=organisation.platform and owns,
        scopes=frozenset(SCOPES_OF[membership.role]),
        tenant_scope=resolve_tenant_scope(
            organisation.id, clients, membership.site_ids, platform=organisation.platform
        ),
        name=user.name,
        kind="user",
        integrator_id=integrator_id,
    )


class SessionAuthenticator:
    """Tells whom a token speaks for.

    Args:
        database: Where sign-ins are kept.
        settings: How long they hold.
    """

    def __init__(self, database: Database, settings: SessionSettings) -> None:
        self._database = database
        self._settings = settings

    async def authenticate(self, token: str, now: datetime) -> Principal:
        """Find whom a token speaks for.

        Raises:
            UnauthorisedError: It is unknown, was ended, or its person is no member any more;
                `session_expired` where its time is over.
        """
        if not is_well_formed_key(token, SESSION_PREFIX):
            raise UnauthorisedError("The token is not a valid one. Check that it was copied whole.")
        wanted = (
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
            found = (await session.execute(wanted)).one_or_none()
        if found is None:
            raise UnauthorisedError("The token is unknown, or was ended: sign in again.")
        held, user, membership, organisation, clients, integrator_id = found
        idle = now - held.last_used_at
        if held.expires_at <= now or idle > timedelta(seconds=self._settings.idle_s):
            raise UnauthorisedError("The sign-in has ended: sign in again.", code="session_expired")
        if idle > _TOUCH_EVERY:
            await self._touch(user, held.id, now)
        return _principal(user, OrganisationMembership(membership, organisation), clients, integrator_id)

    async def _touch(self, user: User, identifier: UUID, now: datetime) -> None:
        with run_as_caller(make_user_caller(user)):
            async with self._database.write() as session:
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
    now: datetime,
) -> tuple[str, UserSession]:
    """Sign a person in, who showed who they are, and is locked: two at once are not one too many.

    Where there are as many sign-ins as a person may have, the oldest ends.

    Returns:
        The token, which nobody has but the caller, and its row.
    """
    held = select(UserSession.id).where(UserSession.user_id == user.id, is_session_active(settings, now))
    surplus = held.order_by(UserSession.created_at.desc(), UserSession.id.desc()).offset(settings.at_once - 1)
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
    """End all sign-ins of a person.

    Args:
        session: The transaction, reaching everything, or the person's own.
        user_id: The person.
        now: The time.
        but: The hash of the token whose sign-in goes on.
        organisation: Only those that work for this one; None: for whichever.
    """
    statement = update(UserSession).where(UserSession.user_id == user_id, UserSession.revoked_at.is_(None))
    if but is not None:
        statement = statement.where(UserSession.token_hash != but)
    if organisation is not None:
        statement = statement.where(UserSession.organisation_id == organisation)
    await session.execute(statement.values(revoked_at=now))
