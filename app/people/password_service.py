"""Changes passwords, with the current password or with a reset token that an owner created."""

from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import delete, select, update

from app.people.account_mail_queue import queue_account_mail
from app.people.models import PasswordResetToken, User
from app.people.password_rules import check_password
from app.people.password_verification import AttemptSubjects, TokenRefusedError, verify_password
from app.people.second_factor_repository import delete_factors, make_factor_subject
from app.people.sessions import ClientInfo, end_sessions, make_user_caller
from app.people.sign_in_dependencies import PeopleContext
from app.platform.db.database import WriteSession
from app.platform.identity.attempt_limiter import clear_attempts
from app.platform.kernel.errors import ConflictError
from app.platform.kernel.secret_tokens import hash_key, is_well_formed_key
from app.platform.kernel.tenant_scope import run_as_caller, run_with_full_scope

RESET_PREFIX: Final = "vgr_"


async def change_password(
    people: PeopleContext,
    user_id: UUID,
    current_password: str,
    new_password: str,
    *,
    token: bytes,
    origin: ClientInfo,
    now: datetime,
) -> None:
    """Change a person's password, and end their other sign-ins.

    Args:
        people: The dependencies of sign-in.
        user_id: The person.
        current_password: The current password.
        new_password: The new password.
        token: The hash of the session token of this sign-in, which stays active.
        origin: The client.
        now: The time.

    Raises:
        ConflictError: `no_password`: the person signs in through the provider.
        InvalidError: The new password breaks the rules.
        WrongCredentialsError, TooManyRequestsError, UnavailableError: As `verify_password`.
    """
    async with people.database.read() as reader:
        user = (await reader.scalars(select(User).where(User.id == user_id))).one()
    if user.password_hash is None:
        raise make_no_password_error()
    normal = check_password(new_password, (user.name, user.email), field="body.new_password")
    wrong = "`current_password` is not your password. You stay signed in."
    proven = await verify_password(people, user.email, current_password, origin, user_id=user_id, wrong=wrong)
    hashed = await people.hasher.hash(normal, AttemptSubjects.of(user.email, origin))
    async with people.database.write() as session:
        await set_password(session, await proven.lock(session), hashed, now, but=token)


def make_no_password_error() -> ConflictError:
    """Make the error of a request that needs a password, for a person without one."""
    return ConflictError(
        "This person has no password: they sign in through the OpenID Connect provider.", code="no_password"
    )


async def find_reset_token(people: PeopleContext, token: str, now: datetime) -> tuple[UUID, User]:
    """Find a valid reset token. Returns its id and the person (TokenRefusedError)."""
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
    people: PeopleContext, token: str, new_password: str, origin: ClientInfo, now: datetime
) -> None:
    """Set a new password for the person of a reset token, and end all their sign-ins.

    Args:
        people: The dependencies of sign-in.
        token: The reset token.
        new_password: The new password.
        origin: The client.
        now: The time.

    Raises:
        TokenRefusedError: The token is not valid, was used, or has expired.
        InvalidError: The password breaks the rules; the token can be used again.
        TooManyRequestsError: `too_many_requests_at_once`.
        UnavailableError: `too_busy`.
    """
    identifier, known = await find_reset_token(people, token, now)
    normal = check_password(new_password, (known.name, known.email), field="body.password")
    hashed = await people.hasher.hash(normal, AttemptSubjects.of(known.email, origin))
    with run_as_caller(make_user_caller(known)):
        async with people.database.write() as session:
            # Lock order: the person before their tokens, as everywhere.
            held = select(User).where(User.id == known.id, User.disabled_at.is_(None)).with_for_update()
            user = await session.scalar(held)
            use = update(PasswordResetToken).where(
                PasswordResetToken.id == identifier, PasswordResetToken.used_at.is_(None)
            )
            used = await session.scalar(use.values(used_at=now).returning(PasswordResetToken.id))
            if user is None or used is None:
                raise TokenRefusedError
            await set_password(session, user, hashed, now)
    # Only now: the former password does not allow more attempts.
    await clear_attempts(people.database, make_factor_subject(known.id))


async def set_password(
    session: WriteSession, user: User, hashed: str | None, now: datetime, *, but: bytes | None = None
) -> None:
    """Set or remove the password of a locked person, and end their sessions and reset tokens.

    Args:
        session: The transaction.
        user: The person, locked.
        hashed: The hash of the new password; None removes the password.
        now: The time.
        but: The hash of the token of the session that stays active.
    """
    user.password_hash = hashed
    user.updated_at = now
    await end_sessions(session, user.id, now, but=but)
    await delete_reset_tokens(session, user.id)


async def replace_credentials(
    people: PeopleContext, session: WriteSession, user: User, hashed: str | None, now: datetime
) -> None:
    """Do as `set_password`, and delete the second factors: others may have enrolled them."""
    await set_password(session, user, hashed, now)
    if user.second_factor_at is not None:
        queue_account_mail(session, people.installation, user, "factors_removed", now)
    await delete_factors(session, user)


async def delete_reset_tokens(session: WriteSession, user_id: UUID) -> None:
    """Delete the unused reset tokens of a person."""
    await session.execute(
        delete(PasswordResetToken).where(
            PasswordResetToken.user_id == user_id, PasswordResetToken.used_at.is_(None)
        )
    )
