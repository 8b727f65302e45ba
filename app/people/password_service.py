"""How people change their passwords: by the present one, or by a token that an owner made for them."""

from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import delete, select, update

from app.people.context import PeopleContext
from app.people.models import PasswordResetToken, User
from app.people.password_rules import check_password
from app.people.password_verification import AttemptSubjects, TokenRefusedError, verify_password
from app.people.sessions import ClientInfo, end_sessions, make_user_caller
from app.platform.db.database import WriteSession
from app.platform.kernel.api_keys import hash_key, is_well_formed_key
from app.platform.kernel.errors import ConflictError
from app.platform.kernel.tenant_scope import run_as_caller, run_with_full_scope

RESET_PREFIX: Final = "vgr_"


async def change_password(
    people: PeopleContext,
    user_id: UUID,
    present: str,
    wanted: str,
    *,
    token: bytes,
    origin: ClientInfo,
    now: datetime,
) -> None:
    """Give a person another password, and end their other sign-ins.

    Raises:
        ConflictError: `make_no_password_error`: they sign in elsewhere.
        InvalidError: The new one is not taken.
        WrongCredentialsError, TooManyRequestsError, UnavailableError: As `verify_password`, of the present
        one.
    """
    async with people.database.read() as reader:
        user = (await reader.scalars(select(User).where(User.id == user_id))).one()
    if user.password_hash is None:
        raise make_no_password_error()
    normal = check_password(wanted, (user.name, user.email), field="body.new_password")
    wrong = "`current_password` is not your password. You stay signed in."
    proven = await verify_password(people, user.email, present, origin, user_id=user_id, wrong=wrong)
    hashed = await people.hasher.hash(normal, AttemptSubjects.of(user.email, origin))
    async with people.database.write() as session:
        await set_password(session, await proven.hold(session), hashed, now, but=token)


def make_no_password_error() -> ConflictError:
    """The refusal of what takes a password to a person who has none."""
    return ConflictError(
        "This person has no password: they sign in through the OpenID Connect provider.", code="no_password"
    )


async def find_reset_token(people: PeopleContext, token: str, now: datetime) -> tuple[UUID, User]:
    """Find the open token for a new password, and whose it is (TokenRefusedError)."""
    if not is_well_formed_key(token, RESET_PREFIX):
        raise TokenRefusedError
    valid = (
        select(PasswordResetToken.id, User)
        .join(User, User.id == PasswordResetToken.user_id)
        .where(PasswordResetToken.token_hash == hash_key(token), PasswordResetToken.used_at.is_(None))
        .where(PasswordResetToken.expires_at > now, User.disabled_at.is_(None))
    )
    with run_with_full_scope():
        async with people.database.read() as reader:
            found = (await reader.execute(valid)).one_or_none()
    if found is None:
        raise TokenRefusedError
    return found[0], found[1]


async def reset_password(
    people: PeopleContext, token: str, wanted: str, origin: ClientInfo, now: datetime
) -> None:
    """Give a new password to the person of a token, and end all their sign-ins.

    Raises:
        TokenRefusedError: The token is not valid, was used, or has ended.
        InvalidError: The password is not taken; the token can be used again.
        TooManyRequestsError: `too_many_requests_at_once`.
        UnavailableError: `too_busy`.
    """
    identifier, known = await find_reset_token(people, token, now)
    normal = check_password(wanted, (known.name, known.email), field="body.password")
    hashed = await people.hasher.hash(normal, AttemptSubjects.of(known.email, origin))
    with run_as_caller(make_user_caller(known)):
        async with people.database.write() as session:
            # In the order of whoever ends tokens: first the person, then what is theirs.
            held = select(User).where(User.id == known.id, User.disabled_at.is_(None)).with_for_update()
            user = await session.scalar(held)
            use = update(PasswordResetToken).where(
                PasswordResetToken.id == identifier, PasswordResetToken.used_at.is_(None)
            )
            used = await session.scalar(use.values(used_at=now).returning(PasswordResetToken.id))
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
    await delete_reset_tokens(session, user.id)


async def delete_reset_tokens(session: WriteSession, user_id: UUID) -> None:
    """Let nobody make a new password of a person's with what was asked for before."""
    await session.execute(
        delete(PasswordResetToken).where(
            PasswordResetToken.user_id == user_id, PasswordResetToken.used_at.is_(None)
        )
    )
