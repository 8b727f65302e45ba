"""How people show who they are by a password.

A wrong address and a wrong password look the same and take the same time. Tries are counted before they are
looked at, by the caller's address and by the e-mail address, whether or not there is such an account.
"""

import hashlib
from typing import Final, NamedTuple, Self
from uuid import UUID

from sqlalchemy import select

from app.people import repository
from app.people.audit_notes import record_sign_in_refusals
from app.people.context import PeopleContext
from app.people.models import User
from app.people.password_rules import normalise_password
from app.people.sessions import ClientInfo
from app.platform.db.database import WriteSession
from app.platform.identity import attempt_limiter
from app.platform.kernel.client_addresses import make_address_subject
from app.platform.kernel.errors import UnauthorisedError
from app.platform.kernel.tenant_scope import run_with_full_scope

_CHECKS: Final = "checks:"


class WrongCredentialsError(UnauthorisedError):
    """No such address, or not its password: nobody is told which."""

    code = "wrong_credentials"

    def __init__(self, detail: str | None = None) -> None:
        super().__init__(detail or "The e-mail address or the password is wrong.")


class TokenRefusedError(UnauthorisedError):
    """A token that is used once: not a valid one, used, revoked or too old."""

    code = "token_refused"

    def __init__(self) -> None:
        super().__init__("The token is not a valid one, was used before, or has ended: ask for another one.")


class AttemptSubjects(NamedTuple):
    """By what tries are counted, and whose turn a hash takes.

    Attributes:
        address: The caller's address; of IPv6 its network.
        account: The e-mail address, as a hash: whoever reads the counts is not told who tries to sign in.
    """

    address: str
    account: str

    @classmethod
    def of(cls, email: str, origin: ClientInfo) -> Self:
        """Those of a call about an e-mail address."""
        digest = hashlib.sha256(email.encode()).hexdigest()
        return cls(f"sign-in:{make_address_subject(origin.address)}", f"account:{digest}")


class VerifiedUser(NamedTuple):
    """A person whose password was right a moment ago.

    Attributes:
        user: The person.
        renewed: The hash to be kept from now on; None: the one that there is.
    """

    user: User
    renewed: str | None = None

    async def hold(self, session: WriteSession) -> User:
        """Read the person again, to change something (WrongCredentialsError if the password changed)."""
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
    """Count a try: among those that are taken back where they succeed, and among all.

    Raises:
        TooManyRequestsError: `too_many_attempts`.
    """
    limits = people.settings
    await attempt_limiter.limit_attempts(
        people.database,
        {
            subjects.address: limits.attempts,
            subjects.account: limits.account_attempts,
            # What succeeds costs a hash as well.
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
    """Check a password.

    Args:
        people: What this stands on.
        email: Whose it is said to be.
        password: As it was given.
        origin: Where the call comes from.
        user_id: Of the accounts with this address the one that is meant; None: `repository.account_of` says.
        organisation: Whom the person wants to work for, where they say so.
        wrong: What a refusal says, where it is not about signing in.

    Raises:
        WrongCredentialsError: There is no such person who may sign in, or it is not their password.
        TooManyRequestsError: `too_many_attempts`, of the caller's address or of the account;
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
