"""How people show who they are by a password, and how they change it.

A wrong address and a wrong password look the same and take the same time. Tries are counted before they are
looked at, by the caller's address and by the account, whether or not there is such an account.
"""

import hashlib
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

from sqlalchemy import delete, select, update

from app.core import attempts
from app.core.addresses import address_of
from app.core.database import WriteSession
from app.core.errors import ConflictError, ForbiddenError, NotFoundError, UnauthorisedError
from app.core.keys import hash_key, well_formed
from app.core.reach import reaching_everything, working_for
from app.people import repository
from app.people.accesses import recording_refusals
from app.people.context import People
from app.people.models import PasswordReset, User
from app.people.password_rules import check_password, normal_password
from app.people.schemas import SessionCreated, SignIn
from app.people.sessions import From, Place, as_user, end_sessions, open_session

RESET_PREFIX: Final = "vgr_"


class WrongCredentialsError(UnauthorisedError):
    """No such address, or not its password: nobody is told which."""

    code = "wrong_credentials"

    def __init__(self) -> None:
        super().__init__("The e-mail address or the password is wrong.")


class TokenRefusedError(UnauthorisedError):
    """A token that is used once: not a valid one, used, revoked or too old."""

    code = "token_refused"

    def __init__(self) -> None:
        super().__init__("The token is not a valid one, was used before, or has ended: ask for another one.")


class Proven(NamedTuple):
    """A person whose password was right a moment ago.

    Attributes:
        user: The person.
        renewed: The hash to be kept from now on; None: the one that there is.
    """

    user: User
    renewed: str | None

    async def hold(self, session: WriteSession) -> User:
        """Read the person again, to change something (WrongCredentialsError if the password changed)."""
        user = await session.scalar(
            select(User)
            .where(User.id == self.user.id, User.password_hash == self.user.password_hash)
            .where(User.disabled_at.is_(None))
            .with_for_update()
        )
        if user is None:
            raise WrongCredentialsError
        if self.renewed is not None:
            user.password_hash = self.renewed
        return user


async def prove(people: People, email: str, password: str, origin: From) -> Proven:
    """Check a password.

    Raises:
        WrongCredentialsError: There is no such person who may sign in, or it is not their password.
        TooManyRequestsError: `too_many_attempts`, of the caller's address or of the account.
        UnavailableError: `too_busy`.
    """
    limits = people.settings
    address = f"sign-in:{address_of(origin.address)}"
    # Whoever may read this table is not told who tries to sign in.
    account = f"account:{hashlib.sha256(email.encode()).hexdigest()}"
    for subject, most in ((address, limits.attempts), (account, limits.account_attempts)):
        await attempts.count(people.database, subject, most=most, window_s=limits.attempts_window_s)
    with reaching_everything():
        async with people.database.read() as session:
            user = await repository.user_of(session, email)
    hashed = None if user is None or user.disabled_at is not None else user.password_hash
    right = await people.hasher.verify(password, hashed)
    async with recording_refusals(people, user):
        if user is None or hashed is None or not right:
            raise WrongCredentialsError
    await attempts.take_back(people.database, address, account)
    renewed = await people.hasher.hash(normal_password(password)) if people.hasher.is_old(hashed) else None
    return Proven(user, renewed)


def _working_for(places: list[Place], named: UUID | None) -> Place:
    """Whom a person works for.

    Raises:
        ForbiddenError: `no_membership`: they belong nowhere any more.
        NotFoundError: They are no member there.
    """
    if not places:
        raise ForbiddenError("You are no member of any organisation.", code="no_membership")
    for place in places:
        if named in {None, place.organisation.id}:
            return place
    raise NotFoundError("organisation", named)


async def admit(
    people: People, session: WriteSession, user: User, named: UUID | None, *, origin: From, now: datetime
) -> SessionCreated:
    """Sign in a person who showed who they are (errors as `sign_in`)."""
    places = await repository.places_of(session, user.id)
    place = _working_for(places, named)
    token, held = open_session(
        session, user, place.organisation.id, origin=origin, settings=people.settings, now=now
    )
    await session.flush()
    return SessionCreated.of(held, user, places, token=token)


async def sign_in(people: People, wanted: SignIn, origin: From, now: datetime) -> SessionCreated:
    """Sign in by a password.

    Raises:
        NotFoundError: The person is no member of the organisation that is named.
        ForbiddenError: `no_membership`.
        WrongCredentialsError, TooManyRequestsError, UnavailableError: As `prove`.
    """
    proven = await prove(people, wanted.email, wanted.password.get_secret_value(), origin)
    with working_for(as_user(proven.user)):
        async with recording_refusals(people, proven.user), people.database.write() as session:
            user = await proven.hold(session)
            return await admit(people, session, user, wanted.organisation_id, origin=origin, now=now)


async def change_password(
    people: People, user_id: UUID, present: str, wanted: str, *, token: bytes, origin: From, now: datetime
) -> None:
    """Give a person another password, and end their other sign-ins.

    Raises:
        ConflictError: `no_password`: they sign in elsewhere.
        InvalidError: The new one is not taken.
        WrongCredentialsError, TooManyRequestsError, UnavailableError: As `prove`, of the present one.
    """
    async with people.database.read() as reader:
        user = (await reader.scalars(select(User).where(User.id == user_id))).one()
    if user.password_hash is None:
        raise ConflictError(
            "You have no password: ask an owner of your organisation for a token to make one.",
            code="no_password",
        )
    normal = check_password(wanted, (user.name, user.email), field="body.new_password")
    proven = await prove(people, user.email, present, origin)
    hashed = await people.hasher.hash(normal)
    async with people.database.write() as session:
        await _set_password(session, await proven.hold(session), hashed, now, but=token)


async def reset_password(people: People, token: str, wanted: str, now: datetime) -> None:
    """Give a new password to the person of a token, and end all their sign-ins.

    Raises:
        TokenRefusedError: The token is not valid, was used, or has ended.
        InvalidError: The password is not taken; the token can be used again.
        UnavailableError: `too_busy`.
    """
    if not well_formed(token, RESET_PREFIX):
        raise TokenRefusedError
    valid = (
        select(PasswordReset.id, User)
        .join(User, User.id == PasswordReset.user_id)
        .where(PasswordReset.token_hash == hash_key(token), PasswordReset.used_at.is_(None))
        .where(PasswordReset.expires_at > now, User.disabled_at.is_(None))
    )
    with reaching_everything():
        async with people.database.read() as reader:
            found = (await reader.execute(valid)).one_or_none()
    if found is None:
        raise TokenRefusedError
    identifier, known = found
    normal = check_password(wanted, (known.name, known.email), field="body.password")
    hashed = await people.hasher.hash(normal)
    with working_for(as_user(known)):
        async with people.database.write() as session:
            use = update(PasswordReset).where(PasswordReset.id == identifier, PasswordReset.used_at.is_(None))
            used = await session.scalar(use.values(used_at=now).returning(PasswordReset.user_id))
            if used is None:
                raise TokenRefusedError
            user = (await session.scalars(select(User).where(User.id == used).with_for_update())).one()
            await _set_password(session, user, hashed, now)


async def _set_password(
    session: WriteSession, user: User, hashed: str, now: datetime, *, but: bytes | None = None
) -> None:
    user.password_hash = hashed
    user.updated_at = now
    await end_sessions(session, user.id, now, but=but)
    await end_resets(session, user.id)


async def end_resets(session: WriteSession, user_id: UUID) -> None:
    """Let nobody make a new password of a person's with what was asked for before."""
    await session.execute(
        delete(PasswordReset).where(PasswordReset.user_id == user_id, PasswordReset.used_at.is_(None))
    )
