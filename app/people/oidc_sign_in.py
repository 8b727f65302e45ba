"""Who somebody from the provider is here: by its name for them, or the first time by their address.

The first time an account or an invitation has to be there, and the provider has to say that the address is
theirs. Nobody has shown that before: a password of that account may be another's, and ends with all sign-ins.
"""

import unicodedata
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from app.core.database import WriteSession
from app.core.email_addresses import normal_address
from app.core.errors import ConflictError, ForbiddenError, InvalidError
from app.core.fields import NAME_LIMIT, check_text
from app.core.problems import CodedValueError
from app.core.reach import reaching_everything, working_for
from app.people import repository
from app.people.accesses import recording_refusals
from app.people.context import People
from app.people.invitations import add_member, make_user
from app.people.models import OidcIdentity, User
from app.people.oidc_provider import Identity
from app.people.schemas import SessionCreated
from app.people.sessions import From, as_user, end_sessions
from app.people.sign_in import admit, end_resets


class _Found(NamedTuple):
    """Who it is.

    Attributes:
        user: The person; not stored yet where new.
        linked: Whether the provider's name for them is known.
        new: Whether there was no account.
    """

    user: User
    linked: bool
    new: bool


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


async def _find(people: People, identity: Identity, now: datetime) -> _Found:
    known = (
        select(User)
        .join(OidcIdentity, OidcIdentity.user_id == User.id)
        .where(OidcIdentity.issuer == identity.issuer, OidcIdentity.subject == identity.subject)
    )
    claims = identity.claims
    with reaching_everything():
        async with people.database.read() as session:
            user = await session.scalar(known)
            if user is not None:
                return _Found(user, linked=True, new=False)
            # Some say "true": that is not what the specification has, and nobody knows what they mean.
            if claims.get("email_verified") is not True:
                raise _not_invited()
            try:
                email = normal_address(str(claims.get("email"))).lower()
            except InvalidError:
                raise _not_invited() from None
            user = await repository.user_of(session, email)
    if user is not None:
        return _Found(user, linked=False, new=False)
    user = make_user(email, _name(claims.get("name"), email), None, now)
    user.locale = "fr" if str(claims.get("locale")).lower().startswith("fr") else "en"
    return _Found(user, linked=False, new=True)


async def sign_in(
    people: People, identity: Identity, organisation: UUID | None, origin: From, now: datetime
) -> SessionCreated:
    """Sign in somebody whom the provider vouches for.

    Raises:
        ForbiddenError: `not_invited`, `account_disabled`, `no_membership`.
        NotFoundError: The person is no member of the organisation that is named.
        ConflictError: `account_exists`: two signed in at the same time, for the first time.
    """
    async with recording_refusals(people, None):
        found = await _find(people, identity, now)
    with working_for(as_user(found.user)):
        account = None if found.new else found.user
        async with recording_refusals(people, account), people.database.write() as session:
            try:
                user = await _settle(session, found, identity, now)
            except IntegrityError:
                raise ConflictError(
                    "You have an account by now: start again.", code="account_exists"
                ) from None
            return await admit(people, session, user, organisation, origin=origin, now=now)


async def _settle(session: WriteSession, found: _Found, identity: Identity, now: datetime) -> User:
    if found.new:
        user = found.user
        invitations = await repository.open_invitations(session, user.email, now)
        if not invitations:
            raise _not_invited()
        session.add(user)
        await session.flush()
        for invitation in invitations:
            invitation.accepted_at = now
            await add_member(session, invitation, user, now)
    else:
        wanted = select(User).where(User.id == found.user.id).with_for_update()
        user = (await session.scalars(wanted)).one()
    if user.disabled_at is not None:
        raise ForbiddenError("Your account is disabled.", code="account_disabled")
    if not found.linked:
        session.add(
            OidcIdentity(issuer=identity.issuer, subject=identity.subject, user_id=user.id, created_at=now)
        )
        if not found.new:
            user.password_hash = None
            user.updated_at = now
            await end_sessions(session, user.id, now)
            await end_resets(session, user.id)
        await session.flush()
    return user
