"""How people show who they are by a password.

A wrong address and a wrong password look the same and take the same time. Tries are counted before they are
looked at, by the caller's address and by the e-mail address, whether or not there is such an account.
"""

import hashlib
from typing import Final, NamedTuple, Self
from uuid import UUID

from sqlalchemy import select

from app.people import repository
from app.people.audit_notes import recording_refusals
from app.people.context import People
from app.people.models import User
from app.people.password_rules import normal_password
from app.people.sessions import From
from app.platform.db.database import WriteSession
from app.platform.identity import attempt_limiter
from app.platform.kernel.client_addresses import address_of
from app.platform.kernel.errors import UnauthorisedError
from app.platform.kernel.tenant_scope import reaching_everything

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


class Subjects(NamedTuple):
    """By what tries are counted, and whose turn a hash takes.

    Attributes:
        address: The caller's address; of IPv6 its network.
        account: The e-mail address, as a hash: whoever reads the counts is not told who tries to sign in.
    """

    address: str
    account: str

    @classmethod
    def of(cls, email: str, origin: From) -> Self:
        """Those of a call about an e-mail address."""
        digest = hashlib.sha256(email.encode()).hexdigest()
        return cls(f"sign-in:{address_of(origin.address)}", f"account:{digest}")


class Proven(NamedTuple):
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


async def count(people: People, subjects: Subjects) -> None:
    """Count a try: among those that are taken back where they succeed, and among all.

    Raises:
        TooManyRequestsError: `too_many_attempts`.
    """
    limits = people.settings
    await attempt_limiter.count_all(
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


async def prove(
    people: People,
    email: str,
    password: str,
    origin: From,
    *,
    user_id: UUID | None = None,
    organisation: UUID | None = None,
    wrong: str | None = None,
) -> Proven:
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
    subjects = Subjects.of(email, origin)
    await count(people, subjects)
    with reaching_everything():
        async with people.database.read() as session:
            user = await repository.account_of(session, email, user_id=user_id, organisation=organisation)
    hashed = None if user is None or user.disabled_at is not None else user.password_hash
    right = await people.hasher.verify(password, hashed, subjects)
    async with recording_refusals(people, user):
        if user is None or hashed is None or not right:
            raise WrongCredentialsError(wrong)
    await attempt_limiter.take_back(people.database, *subjects)
    if not people.hasher.is_old(hashed):
        return Proven(user)
    return Proven(user, await people.hasher.hash(normal_password(password), subjects))
