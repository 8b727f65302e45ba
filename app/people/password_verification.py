"""Verifies passwords at sign-in, with a limit of attempts.

A wrong address and a wrong password get the same answer after the same time. Attempts are counted before they
are checked, by the client's address and by the e-mail address, whether or not an account exists.
"""

import hashlib
from typing import Final, NamedTuple, Self
from uuid import UUID

from sqlalchemy import select

from app.people import repository
from app.people.access_audit_entries import record_sign_in_refusals
from app.people.models import User
from app.people.password_rules import normalise_password
from app.people.sessions import ClientInfo
from app.people.sign_in_dependencies import PeopleContext
from app.platform.db.database import WriteSession
from app.platform.identity import attempt_limiter
from app.platform.kernel.errors import UnauthorisedError
from app.platform.kernel.ip_addresses import make_address_subject
from app.platform.kernel.tenant_scope import run_with_full_scope

_CHECKS: Final = "checks:"


class WrongCredentialsError(UnauthorisedError):
    """The address or the password is wrong; the error does not show which."""

    code = "wrong_credentials"

    def __init__(self, detail: str | None = None) -> None:
        super().__init__(detail or "The e-mail address or the password is wrong.")


class TokenRefusedError(UnauthorisedError):
    """A single-use token is not valid, was used or revoked, or has expired."""

    code = "token_refused"

    def __init__(self) -> None:
        super().__init__("The token is not valid, was used already, or has expired. Ask for another one.")


class AttemptSubjects(NamedTuple):
    """The subjects by which attempts are counted, and concurrent hashes limited.

    Attributes:
        address: The client's address; of IPv6 its network.
        account: The hash of the e-mail address, so that the counts do not show who signs in.
    """

    address: str
    account: str

    @classmethod
    def of(cls, email: str, origin: ClientInfo) -> Self:
        """Make the subjects of a request for an e-mail address."""
        digest = hashlib.sha256(email.encode()).hexdigest()
        return cls(f"sign-in:{make_address_subject(origin.address)}", f"account:{digest}")


class VerifiedUser(NamedTuple):
    """A person who was just verified.

    Attributes:
        user: The person.
        renewed: A new hash of the same password, with the present cost; None: the stored one is up to date.
    """

    user: User
    renewed: str | None = None

    async def lock(self, session: WriteSession) -> User:
        """Lock the person for a change (WrongCredentialsError if the password has changed)."""
        hashed = self.user.password_hash
        user = await session.scalar(
            select(User)
            .where(User.id == self.user.id, User.password_hash.is_not_distinct_from(hashed))
            .where(User.disabled_at.is_(None))
            .with_for_update()
        )
        if user is None:
            raise WrongCredentialsError
        if self.renewed is not None:
            user.password_hash = self.renewed
        return user


async def count_attempt(people: PeopleContext, subjects: AttemptSubjects) -> None:
    """Count an attempt twice: in a count that a success resets, and in one of all attempts.

    Raises:
        TooManyRequestsError: `too_many_attempts`.
    """
    limits = people.settings
    await attempt_limiter.limit_attempts(
        people.database,
        {
            subjects.address: limits.attempts,
            subjects.account: limits.account_attempts,
            # Successful attempts cost a hash too, so all are limited.
            _CHECKS + subjects.address: limits.checks,
            _CHECKS + subjects.account: limits.account_checks,
        },
        window_s=limits.attempts_window_s,
    )


async def verify_password(
    people: PeopleContext,
    email: str,
    password: str,
    origin: ClientInfo,
    *,
    user_id: UUID | None = None,
    organisation: UUID | None = None,
    wrong: str | None = None,
) -> VerifiedUser:
    """Verify the password of an account.

    Args:
        people: The dependencies of sign-in.
        email: The e-mail address.
        password: The password as it was sent.
        origin: The client.
        user_id: The account, of several with this address; None: see `repository.find_account_by_email`.
        organisation: The organisation to work for; None: not chosen.
        wrong: The text of a refusal, if it is not about signing in.

    Raises:
        WrongCredentialsError: No active account has this address and this password.
        TooManyRequestsError: `too_many_attempts`, by the client's address or the account;
            `too_many_requests_at_once`.
        UnavailableError: `too_busy`.
    """
    subjects = AttemptSubjects.of(email, origin)
    await count_attempt(people, subjects)
    with run_with_full_scope():
        async with people.database.read() as session:
            user = await repository.find_account_by_email(
                session, email, user_id=user_id, organisation=organisation
            )
    hashed = None if user is None or user.disabled_at is not None else user.password_hash
    right = await people.hasher.verify(password, hashed, subjects)
    async with record_sign_in_refusals(people, user):
        if user is None or hashed is None or not right:
            raise WrongCredentialsError(wrong)
    await attempt_limiter.forget_attempt(people.database, *subjects)
    if not people.hasher.is_old(hashed):
        return VerifiedUser(user)
    return VerifiedUser(user, await people.hasher.hash(normalise_password(password), subjects))
