"""Who somebody from the provider is here: by its name for them, or the first time by their address.

The first time an account or an invitation has to be there, and the provider has to say that the address is
theirs. Nobody has shown that before: a password of that account may be another's, and ends with all sign-ins.
Of invitations one is accepted, which the person chose: the others keep their links.
"""

import unicodedata
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.database import WriteSession
from app.core.email_addresses import normal_address
from app.core.errors import ConflictError, ForbiddenError, InvalidError, NotFoundError
from app.core.fields import NAME_LIMIT, check_text
from app.core.problems import CodedValueError
from app.core.reach import reaching_everything, working_for
from app.people import repository
from app.people.accesses import recording_refusals
from app.people.context import People
from app.people.invitations import add_member, hold_organisation, make_user
from app.people.models import Invitation, OidcIdentity, User
from app.people.oidc_provider import Identity
from app.people.passwords import set_password
from app.people.schemas import SessionCreated
from app.people.sessions import From, as_user
from app.people.sign_in import admit
from app.sites.models import Organisation


class _Found(NamedTuple):
    """Who it is.

    Attributes:
        user: The person; not stored yet where new.
        linked: Whether the provider's name for them is known.
        new: Whether there was no account.
        member: Whether they belong to any organisation.
    """

    user: User
    linked: bool
    new: bool
    member: bool


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
        return normal_address(str(claims.get("email"))).lower()
    except InvalidError:
        return None


def _new_user(claims: Mapping[str, Any], email: str, now: datetime) -> User:
    user = make_user(email, _name(claims.get("name"), email), None, now)
    user.locale = "fr" if str(claims.get("locale")).lower().startswith("fr") else "en"
    return user


async def _find(people: People, identity: Identity, organisation: UUID | None, now: datetime) -> _Found:
    known = (
        select(User)
        .join(OidcIdentity, OidcIdentity.user_id == User.id)
        .where(OidcIdentity.issuer == identity.issuer, OidcIdentity.subject == identity.subject)
    )
    email = _address(identity.claims)
    with reaching_everything():
        async with people.database.read() as session:
            user = await session.scalar(known)
            if user is not None:
                member = await _stays(session, user, email, organisation, now)
                return _Found(user, linked=True, new=False, member=member)
            if email is None:
                raise _not_invited()
            user = await _account(session, email, organisation, now)
    if user is not None:
        return _Found(user, linked=False, new=False, member=True)
    return _Found(_new_user(identity.claims, email, now), linked=False, new=True, member=False)


async def _stays(
    session: AsyncSession, user: User, email: str | None, organisation: UUID | None, now: datetime
) -> bool:
    """Whether somebody whom the provider's name leads to needs no invitation to go where they want to.

    Raises:
        ForbiddenError: `not_invited`: they belong nowhere, and come by another address than their own.
    """
    mine = await _places(session, user)
    if not mine and email != user.email:
        raise _not_invited()
    if not mine:
        return False
    if email != user.email or organisation is None or organisation in mine:
        return True
    return organisation not in await repository.inviters(session, email, now)


async def _account(
    session: AsyncSession, email: str, organisation: UUID | None, now: datetime
) -> User | None:
    """The account that an address leads to; None where a new one is made, with an invitation.

    Raises:
        ConflictError: `several_invitations`: nobody says which organisation is meant.
    """
    user = await repository.account_of(session, email, organisation=organisation)
    mine = frozenset[UUID]() if user is None else await _places(session, user)
    if organisation in mine:
        return user
    if not mine:
        return None
    inviting = await repository.inviters(session, email, now)
    if organisation is not None:
        return None if organisation in inviting else user
    # Whoever invited an address first may have made this account: it is not to be hers unasked.
    known_to = inviting | await repository.joined_by(session, email)
    if known_to - mine:
        raise await _several(session, known_to)
    return user


async def _places(session: AsyncSession, user: User) -> frozenset[UUID]:
    """The organisations that somebody belongs to."""
    return frozenset(place.organisation.id for place in await repository.places_of(session, user.id))


async def sign_in(
    people: People, identity: Identity, organisation: UUID | None, origin: From, now: datetime
) -> SessionCreated:
    """Sign in somebody whom the provider vouches for.

    Raises:
        ForbiddenError: `not_invited`, `account_disabled`, `no_membership`.
        NotFoundError: The person is no member of the organisation that is named, nor invited to it.
        ConflictError: `account_exists`: two signed in at the same time, for the first time;
            `several_invitations`: nobody says which one is accepted.
    """
    async with recording_refusals(people, None):
        found = await _find(people, identity, organisation, now)
    with working_for(as_user(found.user)):
        account = None if found.new else found.user
        async with recording_refusals(people, account), people.database.write() as session:
            try:
                user = await _settle(session, found, identity, organisation, now)
            except IntegrityError:
                raise ConflictError(
                    "You have an account by now: start again.", code="account_exists"
                ) from None
            return await admit(people, session, user, organisation, origin=origin, now=now)


async def _several(session: AsyncSession, organisations: Iterable[UUID]) -> ConflictError:
    wanted = select(Organisation.id, Organisation.name).order_by(Organisation.name)
    rows = await session.execute(wanted.where(Organisation.id.in_(organisations)))
    return ConflictError(
        "Several organisations have invited you: start again with `?organisation=` and the one you know.",
        code="several_invitations",
        extra={"organisations": [{"id": str(row.id), "name": row.name} for row in rows]},
    )


async def _chosen(session: WriteSession, email: str, organisation: UUID | None, now: datetime) -> Invitation:
    """The invitation that is accepted: of the organisation that the person named, else the only one.

    Whoever invites an address could otherwise have its owner work for them unknowingly.
    """
    invitations = await repository.open_invitations(session, email, now)
    if not invitations:
        raise _not_invited()
    if organisation is None and len(invitations) > 1:
        raise await _several(session, {each.organisation_id for each in invitations})
    for invitation in invitations:
        if organisation in {None, invitation.organisation_id}:
            return invitation
    raise NotFoundError("organisation", organisation)


async def _settle(
    session: WriteSession, found: _Found, identity: Identity, organisation: UUID | None, now: datetime
) -> User:
    invitation = None
    if not found.member:
        invitation = await _chosen(session, found.user.email, organisation, now)
        await hold_organisation(session, invitation.organisation_id)
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
        session.add(
            OidcIdentity(issuer=identity.issuer, subject=identity.subject, user_id=user.id, created_at=now)
        )
    if not found.new and (invitation is not None or not found.linked):
        await set_password(session, user, None, now)
    await session.flush()
    return user
