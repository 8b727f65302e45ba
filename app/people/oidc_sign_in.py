"""Who somebody from the provider is here: by its name for them, or the first time by their address.

The first time an account or an invitation has to be there, and the provider has to say that the address is
theirs. Nobody has shown that before: a password of that account may be another's, and ends with all sign-ins.
An account that the provider has a name for is not found by its address, which may be another's by now.

What lasts, the person confirms on a page of Vigie's (`OidcSignInState.confirmed`): that an invitation is
accepted, and which account is theirs where several organisations know the address. Whoever invites an address
could otherwise make a link by which its owner works for them unknowingly, and no longer reaches their
employer.
"""

import unicodedata
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import delete, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from app.people import repository
from app.people.audit_notes import record_sign_in_refusals
from app.people.context import PeopleContext
from app.people.invitation_service import add_member, lock_organisation, make_user
from app.people.models import Invitation, OidcIdentity, User
from app.people.oidc_provider import VerifiedIdentity
from app.people.oidc_state import OidcSignInState
from app.people.password_service import set_password
from app.people.schemas import SessionCreated
from app.people.sessions import ClientInfo, make_user_caller
from app.people.sign_in import complete_sign_in
from app.platform.db.database import WriteSession
from app.platform.http.contract.fields import NAME_LIMIT, check_text
from app.platform.http.contract.problems import CodedValueError
from app.platform.kernel.email_addresses import normalise_email_address
from app.platform.kernel.errors import ConflictError, ForbiddenError, InvalidError, NotFoundError
from app.platform.kernel.tenant_scope import run_as_caller, run_with_full_scope
from app.registry.models import Organisation


class _Found(NamedTuple):
    """Who it is.

    Attributes:
        user: The person; not stored yet where new.
        linked: Whether the provider's name for them leads to this account.
        new: Whether there was no account.
        member: Whether they need no invitation.
        left: The account that the provider's name led to until now, where it leads to another one.
    """

    user: User
    linked: bool = False
    new: bool = False
    member: bool = False
    left: UUID | None = None


def _not_invited() -> ForbiddenError:
    return ForbiddenError(
        "There is no account and no invitation for you here, or the provider did not confirm your address.",
        code="not_invited",
    )


def _name(claims: Any, email: str) -> str:  # noqa: ANN401 (whatever JSON holds)
    name = unicodedata.normalize("NFC", str(claims or ""))[:NAME_LIMIT]
    try:
        return check_text(name, limit=NAME_LIMIT)
    except CodedValueError:
        return email.partition("@")[0]


def _address(claims: Mapping[str, Any]) -> str | None:
    """The address that the provider says is the person's, in lower case; None where it does not."""
    # Some say "true": that is not what the specification has, and nobody knows what they mean.
    if claims.get("email_verified") is not True:
        return None
    try:
        return normalise_email_address(str(claims.get("email"))).lower()
    except InvalidError:
        return None


def _new_user(claims: Mapping[str, Any], email: str, now: datetime) -> User:
    user = make_user(email, _name(claims.get("name"), email), None, now)
    user.locale = "fr" if str(claims.get("locale")).lower().startswith("fr") else "en"
    return user


async def _find(
    people: PeopleContext, identity: VerifiedIdentity, flight: OidcSignInState, now: datetime
) -> _Found:
    known = (
        select(User)
        .join(OidcIdentity, OidcIdentity.user_id == User.id)
        .where(OidcIdentity.issuer == identity.issuer, OidcIdentity.subject == identity.subject)
    )
    email = _address(identity.claims)
    with run_with_full_scope():
        async with people.database.read() as session:
            user = await session.scalar(known)
            if user is not None and (found := await _stays(session, user, email, flight, now)) is not None:
                return found
            if email is None:
                raise _not_invited()
            account = await _account(session, identity.issuer, email, flight, now)
    left = None if user is None else user.id
    if account is not None:
        return _Found(account, member=True, left=left)
    return _Found(_new_user(identity.claims, email, now), new=True, left=left)


async def _stays(
    session: AsyncSession, user: User, email: str | None, flight: OidcSignInState, now: datetime
) -> _Found | None:
    """Somebody whom the provider's name leads to; None where it is to lead to another account.

    That is so where they confirm an organisation in which they have another one. And whoever disabled this
    one reached all of its organisations: to others, which invite, it is to make no difference.

    Raises:
        ForbiddenError: `not_invited`: they belong nowhere, and come by another address than their own.
    """
    inviting = joined = frozenset[UUID]()
    if flight.confirmed and email is not None:
        inviting = await repository.find_inviting_organisations(session, email, now)
        joined = await repository.find_joined_organisations(session, email)
    mine = await _places(session, user)
    if flight.organisation in joined - mine:
        return None
    if user.disabled_at is not None:
        return None if flight.organisation in inviting else _Found(user, linked=True, member=True)
    if not mine and email != user.email:
        raise _not_invited()
    joins = email == user.email and flight.organisation in inviting - mine
    return _Found(user, linked=True, member=bool(mine) and not joins)


async def _account(
    session: AsyncSession, issuer: str, email: str, flight: OidcSignInState, now: datetime
) -> User | None:
    """The account that an address leads to; None where a new one is made, with an invitation.

    Raises:
        ConflictError: `organisation_unconfirmed`: nobody says which organisation is meant.
    """
    organisation = flight.organisation
    user = await repository.find_account_by_email(
        session, email, organisation=organisation, unknown_to=issuer
    )
    mine = frozenset[UUID]() if user is None else await _places(session, user)
    if flight.confirmed:
        return user if organisation in mine else None
    if not mine:
        return None
    # Whoever invited an address first may have made this account: it is not to be hers unasked.
    known_to = await repository.find_inviting_organisations(
        session, email, now
    ) | await repository.find_joined_organisations(session, email)
    if known_to - mine:
        raise await _unconfirmed(session, known_to)
    return user


async def _places(session: AsyncSession, user: User) -> frozenset[UUID]:
    """The organisations that somebody belongs to."""
    return frozenset(place.organisation.id for place in await repository.list_memberships(session, user.id))


async def sign_in_through_provider(
    people: PeopleContext,
    identity: VerifiedIdentity,
    flight: OidcSignInState,
    origin: ClientInfo,
    now: datetime,
) -> SessionCreated:
    """Sign in somebody whom the provider vouches for.

    Raises:
        ForbiddenError: `not_invited`, `account_disabled`, `no_membership`.
        NotFoundError: The person is no member of the organisation that is named, nor invited to it.
        ConflictError: `account_exists`: two signed in at the same time, for the first time;
            `organisation_unconfirmed`: nobody says that an invitation is accepted, or which account is meant.
    """
    async with record_sign_in_refusals(people, None):
        found = await _find(people, identity, flight, now)
    with run_as_caller(make_user_caller(found.user)):
        account = None if found.new else found.user
        async with record_sign_in_refusals(people, account), people.database.write() as session:
            try:
                user = await _settle(session, found, identity, flight, now)
            except IntegrityError:
                raise _linked_by_now() from None
            return await complete_sign_in(people, session, user, flight.organisation, origin=origin, now=now)


def _linked_by_now() -> ConflictError:
    return ConflictError("You have an account by now: start again.", code="account_exists")


async def _unconfirmed(session: AsyncSession, organisations: Iterable[UUID]) -> ConflictError:
    wanted = select(Organisation.id, Organisation.name).order_by(Organisation.name)
    rows = await session.execute(wanted.where(Organisation.id.in_(organisations)))
    return ConflictError(
        "Organisations have invited you, or have an account under your address: follow the link of an "
        "invitation, or begin with `POST /v1/oidc/start` and the one that you know.",
        code="organisation_unconfirmed",
        extra={"organisations": [{"id": str(row.id), "name": row.name} for row in rows]},
    )


async def _chosen(session: WriteSession, email: str, flight: OidcSignInState, now: datetime) -> Invitation:
    """The invitation that is accepted: of the organisation that the person confirmed.

    Raises:
        ForbiddenError: `not_invited`.
        ConflictError: `organisation_unconfirmed`.
        NotFoundError: Others have invited them.
    """
    invitations = await repository.lock_open_invitations(session, email, now)
    if not invitations:
        raise _not_invited()
    if not flight.confirmed:
        raise await _unconfirmed(session, {each.organisation_id for each in invitations})
    for invitation in invitations:
        if invitation.organisation_id == flight.organisation:
            return invitation
    raise NotFoundError("organisation", flight.organisation)


async def _settle(
    session: WriteSession, found: _Found, identity: VerifiedIdentity, flight: OidcSignInState, now: datetime
) -> User:
    invitation = None
    if not found.member:
        invitation = await _chosen(session, found.user.email, flight, now)
        await lock_organisation(session, invitation.organisation_id)
    if found.new:
        user = found.user
        session.add(user)
        await session.flush()
    else:
        wanted = select(User).where(User.id == found.user.id).with_for_update()
        user = (await session.scalars(wanted)).one()
    if user.disabled_at is not None:
        raise ForbiddenError("Your account is disabled.", code="account_disabled")
    if invitation is not None:
        invitation.accepted_at = now
        await add_member(session, invitation, user, now)
    if not found.linked:
        await _link(session, found, identity, now)
    if not found.new and (invitation is not None or not found.linked):
        await set_password(session, user, None, now)
    await session.flush()
    return user


async def _link(session: WriteSession, found: _Found, identity: VerifiedIdentity, now: datetime) -> None:
    """Have the provider's name lead to an account (ConflictError `account_exists`: another one does)."""
    issuer, subject, user_id = identity.issuer, identity.subject, found.user.id
    others = select(OidcIdentity.user_id).where(OidcIdentity.issuer == issuer)
    if await session.scalar(others.where(OidcIdentity.user_id == user_id)) is not None:
        raise _linked_by_now()
    if found.left is not None:
        former = delete(OidcIdentity).where(OidcIdentity.issuer == issuer, OidcIdentity.subject == subject)
        await session.execute(former.where(OidcIdentity.user_id == found.left))
    session.add(OidcIdentity(issuer=issuer, subject=subject, user_id=user_id, created_at=now))
