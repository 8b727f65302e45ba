"""Verifies second factors, with a limit of attempts per person, and asks for them.

A person who has proved their password gets a challenge, and answers it with one of their factors. Attempts
are counted before they are checked, per person: a new challenge does not allow more of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import select

from app.people import second_factor_repository as factors
from app.people.account_mail_queue import queue_account_mail
from app.people.models import Passkey, RecoveryCodes, TotpSecret, User
from app.people.passkeys import (
    PasskeyRefusedError,
    RelyingParty,
    make_authentication_options,
    read_credential_id,
    require_relying_party,
    verify_authentication,
)
from app.people.recovery_codes import remove_recovery_code
from app.people.second_factor_repository import EnrolledFactors
from app.people.sessions import ClientInfo
from app.people.sign_in_challenges import ChallengePurpose, SignInChallenge, seal_challenge
from app.people.sign_in_dependencies import PeopleContext
from app.people.totp import find_totp_step
from app.platform.db.database import WriteSession
from app.platform.identity import attempt_limiter
from app.platform.kernel.errors import ForbiddenError, UnauthorisedError, UnavailableError
from app.platform.kernel.instants import format_us, from_datetime
from app.platform.kernel.ip_addresses import make_address_subject
from app.platform.observability.metrics_and_logs import get_logger
from app.platform.secrets.sealed_columns import TOTP_SECRET
from app.platform.secrets.sealing import SealingError

_log = get_logger(__name__)


class WrongSecondFactorError(UnauthorisedError):
    """A code is wrong, or was used already."""

    code = "wrong_second_factor"

    def __init__(self) -> None:
        super().__init__(
            "The code is wrong, or was used already. Wait for the next one, or use another factor."
        )


class SecondFactorRequiredError(UnauthorisedError):
    """The password is right, and the person has a second factor. `extra` has the challenge."""

    code = "second_factor_required"

    def __init__(self, extra: Mapping[str, Any]) -> None:
        super().__init__(
            "This account has a second factor. Send `challenge` with one of the `methods` to "
            "`POST /v1/sessions/second-factor`.",
            extra=extra,
        )


class ReauthenticationRequiredError(ForbiddenError):
    """The sign-in is too old for a change of second factors. `extra` has the challenge."""

    code = "reauthentication_required"

    def __init__(self, extra: Mapping[str, Any]) -> None:
        super().__init__(
            "Your sign-in is too old for this. Prove who you are with one of the `methods` at "
            "`POST /v1/me/reauthentication`, then call again."
            if extra["methods"]
            else "Your sign-in is too old for this. Sign in again, then call again.",
            extra=extra,
        )


@dataclass(frozen=True, slots=True)
class GivenFactor:
    """The second factor of a request: one of these.

    Attributes:
        totp: The code of an authenticator app.
        recovery_code: A recovery code.
        passkey: The answer of an authenticator, as JSON.
    """

    totp: str | None = None
    recovery_code: str | None = None
    passkey: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class FactorSubjects:
    """The subjects by which attempts at second factors are counted."""

    address: str
    person: str

    @classmethod
    def of(cls, user_id: UUID, origin: ClientInfo) -> "FactorSubjects":
        """Make the subjects of a request for a person."""
        return cls(f"sign-in:{make_address_subject(origin.address)}", factors.make_factor_subject(user_id))


async def count_factor_attempt(people: PeopleContext, subjects: FactorSubjects) -> None:
    """Count an attempt by the person and by the address (TooManyRequestsError `too_many_attempts`)."""
    limits = people.settings
    # The address first: refused requests of an address must not use up the attempts of a person.
    await attempt_limiter.limit_attempt(
        people.database, subjects.address, most=limits.attempts, window_s=limits.attempts_window_s
    )
    await attempt_limiter.limit_attempt(
        people.database, subjects.person, most=limits.factor_attempts, window_s=limits.factor_window_s
    )


async def forget_factor_attempt(people: PeopleContext, subjects: FactorSubjects) -> None:
    """Uncount an attempt that succeeded."""
    await attempt_limiter.forget_attempt(people.database, subjects.person, subjects.address)


def make_factor_request(
    people: PeopleContext,
    purpose: ChallengePurpose,
    challenge: SignInChallenge,
    enrolled: EnrolledFactors,
) -> dict[str, Any]:
    """Make the members of a problem that asks for a factor: challenge, methods and WebAuthn options."""
    party = RelyingParty.of(people.base_url)
    methods = enrolled.list_methods(passkeys=party is not None)
    request: dict[str, Any] = {
        "challenge": seal_challenge(people.sealer, purpose, challenge),
        "expires_at": format_us(from_datetime(datetime.fromtimestamp(challenge.expires_at, UTC))),
        "methods": methods,
    }
    if party is not None and "passkey" in methods:
        request["options"] = make_authentication_options(
            party, challenge.nonce, enrolled.passkeys, people.settings.challenge_s
        )
    return request


async def verify_factor(
    session: WriteSession,
    people: PeopleContext,
    user: User,
    given: GivenFactor,
    *,
    challenge: SignInChallenge | None = None,
    now: datetime,
) -> None:
    """Verify a second factor, and use it up.

    Args:
        session: The transaction, with the full tenant scope.
        people: The dependencies of sign-in.
        user: The person, locked: two requests cannot use one code.
        given: The factor.
        challenge: The challenge that a passkey signs; None: a passkey is refused.
        now: The time.

    Raises:
        WrongSecondFactorError: The code is wrong or was used.
        PasskeyRefusedError: The passkey is not the person's, or did not sign the challenge.
        UnavailableError: `encryption_key_missing`.
    """
    if given.totp is not None:
        await _verify_totp(session, people, user, given.totp, now)
    elif given.recovery_code is not None:
        await _verify_recovery_code(session, user, given.recovery_code)
        queue_account_mail(session, people.installation, user, "recovery_code_used", now)
    elif given.passkey is not None and challenge is not None:
        credential_id = read_credential_id(given.passkey)
        passkey = await factors.find_passkey(session, credential_id, user.id)
        if passkey is None:
            raise PasskeyRefusedError
        use_passkey(people, passkey, given.passkey, challenge, now)
    else:
        raise PasskeyRefusedError


def use_passkey(
    people: PeopleContext,
    passkey: Passkey,
    credential: Mapping[str, Any],
    challenge: SignInChallenge,
    now: datetime,
    *,
    verifies_person: bool = False,
) -> None:
    """Verify an answer of a passkey, and record its use. The arguments are as in `verify_authentication`."""
    party = require_relying_party(people.base_url)
    passkey.sign_count = verify_authentication(
        party, passkey, credential, challenge.nonce, verifies_person=verifies_person
    )
    passkey.last_used_at = now


async def _verify_totp(
    session: WriteSession, people: PeopleContext, user: User, code: str, now: datetime
) -> None:
    stored = await session.get(TotpSecret, user.id, populate_existing=True)
    if stored is None or stored.confirmed_at is None:
        raise WrongSecondFactorError
    accept_totp_code(people, stored, code, now)


def accept_totp_code(people: PeopleContext, stored: TotpSecret, code: str, now: datetime) -> None:
    """Accept a code of a stored secret once (WrongSecondFactorError)."""
    try:
        secret = TOTP_SECRET.open(people.sealer, stored.secret, stored.user_id)
    except SealingError as error:
        _log.error("totp_secret_not_opened", user_id=str(stored.user_id), error=str(error))
        raise UnavailableError(
            "The secret of your authenticator app cannot be decrypted. Use another factor, and inform the "
            "operator.",
            code="encryption_key_missing",
        ) from None
    step = find_totp_step(secret, code.replace(" ", ""), now, stored.last_step)
    if step is None:
        raise WrongSecondFactorError
    stored.last_step = step


async def _verify_recovery_code(session: WriteSession, user: User, code: str) -> None:
    stored = await session.get(RecoveryCodes, user.id, populate_existing=True)
    left = None if stored is None else remove_recovery_code(stored.code_hashes, code)
    if stored is None or left is None:
        raise WrongSecondFactorError
    stored.code_hashes = left


async def lock_active_user(session: WriteSession, user_id: UUID) -> User | None:
    """Lock a person who may sign in; None if there is none."""
    statement = select(User).where(User.id == user_id, User.disabled_at.is_(None)).with_for_update()
    return await session.scalar(statement.execution_options(populate_existing=True))
