"""How people change their passwords: by the present one, or by a token that an owner made for them."""

from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import delete, select, update

from app.people.context import People
from app.people.models import PasswordReset, User
from app.people.password_rules import check_password
from app.people.password_verification import Subjects, TokenRefusedError, prove
from app.people.sessions import From, as_user, end_sessions
from app.platform.db.database import WriteSession
from app.platform.kernel.api_keys import hash_key, well_formed
from app.platform.kernel.errors import ConflictError
from app.platform.kernel.tenant_scope import reaching_everything, working_for

RESET_PREFIX: Final = "vgr_"


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
        raise no_password()
    normal = check_password(wanted, (user.name, user.email), field="body.new_password")
    wrong = "`current_password` is not your password. You stay signed in."
    proven = await prove(people, user.email, present, origin, user_id=user_id, wrong=wrong)
    hashed = await people.hasher.hash(normal, Subjects.of(user.email, origin))
    async with people.database.write() as session:
        await set_password(session, await proven.hold(session), hashed, now, but=token)


def no_password() -> ConflictError:
    """The refusal of what takes a password to a person who has none."""
    return ConflictError(
        "This person has no password: they sign in through the OpenID Connect provider.", code="no_password"
    )


async def find_reset(people: People, token: str, now: datetime) -> tuple[UUID, User]:
    """Find the open token for a new password, and whose it is (TokenRefusedError)."""
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
    return found[0], found[1]


async def reset_password(people: People, token: str, wanted: str, origin: From, now: datetime) -> None:
    """Give a new password to the person of a token, and end all their sign-ins.

    Raises:
        TokenRefusedError: The token is not valid, was used, or has ended.
        InvalidError: The password is not taken; the token can be used again.
        TooManyRequestsError: `too_many_requests_at_once`.
        UnavailableError: `too_busy`.
    """
    identifier, known = await find_reset(people, token, now)
    normal = check_password(wanted, (known.name, known.email), field="body.password")
    hashed = await people.hasher.hash(normal, Subjects.of(known.email, origin))
    with working_for(as_user(known)):
        async with people.database.write() as session:
            # In the order of whoever ends tokens: first the person, then what is theirs.
            held = select(User).where(User.id == known.id, User.disabled_at.is_(None)).with_for_update()
            user = await session.scalar(held)
            use = update(PasswordReset).where(PasswordReset.id == identifier, PasswordReset.used_at.is_(None))
            used = await session.scalar(use.values(used_at=now).returning(PasswordReset.id))
            if user is None or used is None:
                raise TokenRefusedError
            await set_password(session, user, hashed, now)


async def set_password(
    session: WriteSession, user: User, hashed: str | None, now: datetime, *, but: bytes | None = None
) -> None:
    """Give a person who is locked another password, or none, and end all that came by the one before.

    Args:
        session: The transaction.
        user: The person.
        hashed: The password's hash; None: from now on they have none.
        now: The time.
        but: The hash of the token whose sign-in goes on.
    """
    user.password_hash = hashed
    user.updated_at = now
    await end_sessions(session, user.id, now, but=but)
    await end_resets(session, user.id)


async def end_resets(session: WriteSession, user_id: UUID) -> None:
    """Let nobody make a new password of a person's with what was asked for before."""
    await session.execute(
        delete(PasswordReset).where(PasswordReset.user_id == user_id, PasswordReset.used_at.is_(None))
    )
