"""Enrols and removes the second factors of the signed-in person.

Changes need a recent proof of who the person is, so that a stolen session cannot change factors. The first
factor ends the person's other sessions: until then a password sufficed for them.
"""

from datetime import datetime, timedelta
from typing import Final, NamedTuple
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from app.people import repository
from app.people import second_factor_repository as factors
from app.people.access_audit_entries import record_sign_in_refusals
from app.people.account_mail_queue import queue_account_mail
from app.people.models import Passkey, TotpSecret, User, UserSession
from app.people.passkeys import (
    RelyingParty,
    make_registration_options,
    require_relying_party,
    verify_registration,
)
from app.people.password_service import make_no_password_error
from app.people.password_verification import VerifiedUser, verify_password
from app.people.schemas import OrganisationRef
from app.people.second_factor_repository import EnrolledFactors
from app.people.second_factor_schemas import (
    PasskeyCreate,
    PasskeyCreated,
    PasskeyOptions,
    PasskeyOut,
    Reauthentication,
    SecondFactorsOut,
    TotpEnrolled,
    TotpOut,
    TotpStarted,
)
from app.people.second_factor_verification import (
    FactorSubjects,
    ReauthenticationRequiredError,
    accept_totp_code,
    count_factor_attempt,
    forget_factor_attempt,
    make_factor_request,
    verify_factor,
)
from app.people.sessions import ClientInfo, end_sessions
from app.people.sign_in_challenges import (
    ChallengeRefusedError,
    SignInChallenge,
    open_challenge,
    seal_challenge,
    use_challenge,
)
from app.people.sign_in_dependencies import PeopleContext
from app.people.totp import generate_totp_secret, make_totp_uri
from app.platform.db.database import WriteSession
from app.platform.kernel.errors import ConflictError, NotFoundError
from app.platform.kernel.ids import new_id, parse_id
from app.platform.kernel.tenant_scope import run_with_full_scope
from app.platform.secrets.sealed_columns import TOTP_SECRET
from app.platform.secrets.sealing import require_encryption_key

PASSKEYS_MAX: Final = 20
_WHAT: Final = "passkey"


class AccountRequest(NamedTuple):
    """A request of a person about their own account.

    Attributes:
        user_id: The person.
        token: The hash of the session token.
        origin: The client.
        now: The time.
    """

    user_id: UUID
    token: bytes
    origin: ClientInfo
    now: datetime


async def _lock_recent(session: WriteSession, people: PeopleContext, request: AccountRequest) -> User:
    """Lock the person of a session that proved recently who they are (ReauthenticationRequiredError)."""
    user = await repository.lock_user(session, request.user_id)
    row = await _get_session(session, request.token)
    recent = timedelta(seconds=people.settings.recent_s)
    if row.authenticated_at is not None and request.now - row.authenticated_at < recent:
        return user
    enrolled = await factors.read_factors(session, user.id)
    challenge = SignInChallenge.begin(request.now, people.settings.challenge_s, user)
    asked = make_factor_request(people, "reauthentication", challenge, enrolled)
    own = [] if user.password_hash is None else ["password"]
    raise ReauthenticationRequiredError({**asked, "methods": [*own, *asked["methods"]]})


async def _get_session(session: WriteSession, token: bytes) -> UserSession:
    return (await session.scalars(select(UserSession).where(UserSession.token_hash == token))).one()


async def read_second_factors(people: PeopleContext, user_id: UUID) -> SecondFactorsOut:
    """Read the second factors of a person, and which of their organisations require one."""
    with run_with_full_scope():
        async with people.database.read() as session:
            enrolled = await factors.read_factors(session, user_id)
            memberships = await repository.list_memberships(session, user_id)
    return SecondFactorsOut(
        totp=_describe_totp(enrolled),
        passkeys=[PasskeyOut.of(each) for each in enrolled.passkeys],
        passkeys_available=RelyingParty.of(people.base_url) is not None,
        recovery_codes_left=enrolled.recovery_codes_left,
        required_by=[
            OrganisationRef.of(each.organisation)
            for each in memberships
            if each.organisation.second_factor_required
        ],
    )


def _describe_totp(enrolled: EnrolledFactors) -> TotpOut | None:
    confirmed_at = None if enrolled.totp is None else enrolled.totp.confirmed_at
    return None if confirmed_at is None else TotpOut(enrolled_at=confirmed_at)


async def reauthenticate(people: PeopleContext, request: AccountRequest, proof: Reauthentication) -> None:
    """Record that the person of a session has just proved again who they are.

    Raises:
        WrongCredentialsError, WrongSecondFactorError, PasskeyRefusedError: The proof is wrong.
        ChallengeRefusedError: The challenge of a passkey is missing or not valid.
        ConflictError: `no_password`.
        TooManyRequestsError: `too_many_attempts`.
    """
    with run_with_full_scope():
        if proof.password is not None:
            proven = await _verify_own_password(people, request, proof.password.get_secret_value())
            async with people.database.write() as session:
                await proven.lock(session)
                (await _get_session(session, request.token)).authenticated_at = request.now
            return
        challenge = None
        if proof.passkey is not None:
            challenge = open_challenge(people.sealer, "reauthentication", proof.challenge or "", request.now)
        subjects = FactorSubjects.of(request.user_id, request.origin)
        await count_factor_attempt(people, subjects)
        async with people.database.read() as reader:
            known = await reader.get(User, request.user_id)
        async with record_sign_in_refusals(people, known), people.database.write() as session:
            user = await repository.lock_user(session, request.user_id)
            if challenge is not None and not challenge.is_for(user):
                raise ChallengeRefusedError
            await verify_factor(session, people, user, proof.factor, challenge=challenge, now=request.now)
            if challenge is not None:
                await use_challenge(session, challenge)
            (await _get_session(session, request.token)).authenticated_at = request.now
        await forget_factor_attempt(people, subjects)


async def _verify_own_password(people: PeopleContext, request: AccountRequest, password: str) -> VerifiedUser:
    async with people.database.read() as reader:
        user = (await reader.scalars(select(User).where(User.id == request.user_id))).one()
    if user.password_hash is None:
        raise make_no_password_error()
    wrong = "This is not your password. You stay signed in."
    return await verify_password(people, user.email, password, request.origin, user_id=user.id, wrong=wrong)


async def start_totp(people: PeopleContext, request: AccountRequest) -> TotpStarted:
    """Make a secret for an authenticator app, which replaces an unconfirmed one.

    Raises:
        ConflictError: `totp_enrolled`: the person has an authenticator app.
        ReauthenticationRequiredError: The sign-in is too old.
        UnavailableError: `encryption_key_missing`.
    """
    require_encryption_key(people.sealer)
    with run_with_full_scope():
        async with people.database.write() as session:
            user = await _lock_recent(session, people, request)
            present = await session.get(TotpSecret, user.id)
            if present is not None and present.confirmed_at is not None:
                raise ConflictError(
                    "You have an authenticator app already. Remove it with `DELETE /v1/me/totp` first.",
                    code="totp_enrolled",
                )
            secret = generate_totp_secret()
            stored = present or TotpSecret(user_id=user.id)
            stored.secret = TOTP_SECRET.seal(people.sealer, secret, user.id)
            stored.created_at = request.now
            session.add(stored)
    expires_at = request.now + timedelta(seconds=people.settings.recent_s)
    return TotpStarted(secret=secret, uri=make_totp_uri(secret, user.email), expires_at=expires_at)


async def confirm_totp(people: PeopleContext, request: AccountRequest, code: str) -> TotpEnrolled:
    """Enrol an authenticator app that shows the right code.

    Raises:
        ConflictError: `totp_not_started`: there is no secret to confirm, or it has expired.
        WrongSecondFactorError: The code is wrong.
        ReauthenticationRequiredError: The sign-in is too old.
    """
    # Attempts need no limit: whoever may confirm the secret has seen it.
    earliest = request.now - timedelta(seconds=people.settings.recent_s)
    with run_with_full_scope():
        async with people.database.write() as session:
            user = await _lock_recent(session, people, request)
            stored = await session.get(TotpSecret, user.id)
            if stored is None or stored.confirmed_at is not None or stored.created_at <= earliest:
                raise ConflictError(
                    "There is no secret to confirm, or it has expired. Start with `POST /v1/me/totp`.",
                    code="totp_not_started",
                )
            accept_totp_code(people, stored, code, request.now)
            stored.confirmed_at = request.now
            queue_account_mail(session, people.installation, user, "totp_added", request.now)
            codes = await _record_enrolment(session, user, request)
    return TotpEnrolled(totp=TotpOut(enrolled_at=request.now), recovery_codes=codes)


async def _record_enrolment(session: WriteSession, user: User, request: AccountRequest) -> list[str] | None:
    codes = await factors.record_enrolment(session, user, request.now)
    if codes is not None:
        # They were opened without a second factor, perhaps by somebody else who knows the password.
        await end_sessions(session, user.id, request.now, but=request.token)
    return codes


async def remove_totp(people: PeopleContext, request: AccountRequest) -> None:
    """Remove the authenticator app (NotFoundError; ReauthenticationRequiredError)."""
    with run_with_full_scope():
        async with people.database.write() as session:
            user = await _lock_recent(session, people, request)
            stored = await session.get(TotpSecret, user.id)
            if stored is None:
                raise NotFoundError("authenticator app", "totp")
            await session.delete(stored)
            if stored.confirmed_at is not None:
                queue_account_mail(session, people.installation, user, "totp_removed", request.now)
            await factors.record_removal(session, user)


async def start_passkey(people: PeopleContext, request: AccountRequest) -> PasskeyOptions:
    """Make the options with which a browser creates a passkey.

    Raises:
        ConflictError: `passkeys_unavailable`, `too_many_passkeys`.
        ReauthenticationRequiredError: The sign-in is too old.
        UnavailableError: `encryption_key_missing`.
    """
    party = require_relying_party(people.base_url)
    lifetime_s = people.settings.challenge_s
    with run_with_full_scope():
        async with people.database.write() as session:
            user = await _lock_recent(session, people, request)
            present = (await factors.read_factors(session, user.id)).passkeys
    if len(present) >= PASSKEYS_MAX:
        raise _make_too_many_passkeys_error()
    challenge = SignInChallenge.begin(request.now, lifetime_s, user)
    return PasskeyOptions(
        challenge=seal_challenge(people.sealer, "enrolment", challenge),
        options=make_registration_options(party, user, challenge.nonce, present, lifetime_s),
    )


def _make_too_many_passkeys_error() -> ConflictError:
    return ConflictError(
        f"You have {PASSKEYS_MAX} passkeys, the most that are allowed. Remove one first.",
        code="too_many_passkeys",
    )


async def add_passkey(people: PeopleContext, request: AccountRequest, body: PasskeyCreate) -> PasskeyCreated:
    """Enrol a passkey.

    Raises:
        ChallengeRefusedError: The challenge is not valid, or is another person's.
        InvalidError: `invalid_passkey`.
        ConflictError: `passkey_enrolled`: it is enrolled already; `too_many_passkeys`,
            `passkeys_unavailable`.
        ReauthenticationRequiredError: The sign-in is too old.
    """
    party = require_relying_party(people.base_url)
    challenge = open_challenge(people.sealer, "enrolment", body.challenge, request.now)
    found = verify_registration(party, body.credential, challenge.nonce)
    with run_with_full_scope():
        async with people.database.write() as session:
            user = await _lock_recent(session, people, request)
            if not challenge.is_for(user):
                raise ChallengeRefusedError
            await use_challenge(session, challenge)
            if len((await factors.read_factors(session, user.id)).passkeys) >= PASSKEYS_MAX:
                raise _make_too_many_passkeys_error()
            row = Passkey(
                id=new_id(), user_id=user.id, name=body.name, created_at=request.now, **found._asdict()
            )
            session.add(row)
            try:
                await session.flush()
            except IntegrityError:
                raise ConflictError("This passkey is enrolled already.", code="passkey_enrolled") from None
            queue_account_mail(session, people.installation, user, "passkey_added", request.now)
            codes = await _record_enrolment(session, user, request)
    return PasskeyCreated.of_enrolment(row, codes)


async def remove_passkey(people: PeopleContext, request: AccountRequest, identifier: str) -> None:
    """Remove a passkey (NotFoundError; ReauthenticationRequiredError)."""
    passkey_id = parse_id(identifier, _WHAT)
    with run_with_full_scope():
        async with people.database.write() as session:
            user = await _lock_recent(session, people, request)
            owned = select(Passkey).where(Passkey.id == passkey_id, Passkey.user_id == user.id)
            row = await session.scalar(owned)
            if row is None:
                raise NotFoundError(_WHAT, identifier)
            await session.delete(row)
            queue_account_mail(session, people.installation, user, "passkey_removed", request.now)
            await factors.record_removal(session, user)


async def replace_recovery_codes(people: PeopleContext, request: AccountRequest) -> list[str]:
    """Replace the recovery codes of a person with a second factor.

    Raises:
        ConflictError: `no_second_factor`.
        ReauthenticationRequiredError: The sign-in is too old.
    """
    with run_with_full_scope():
        async with people.database.write() as session:
            user = await _lock_recent(session, people, request)
            if user.second_factor_at is None:
                raise ConflictError(
                    "Recovery codes replace a second factor, and you have none. Enrol one first.",
                    code="no_second_factor",
                )
            queue_account_mail(session, people.installation, user, "recovery_codes_replaced", request.now)
            return await factors.replace_recovery_codes(session, user.id, request.now)
