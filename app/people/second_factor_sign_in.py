"""Completes sign-ins with a second factor, and signs in people by a passkey alone."""

from datetime import datetime

from app.people.access_audit_entries import record_sign_in_refusals
from app.people.models import User
from app.people.passkeys import (
    PasskeyRefusedError,
    is_answer_of,
    make_authentication_options,
    read_credential_id,
    require_relying_party,
)
from app.people.schemas import SessionCreated
from app.people.second_factor_repository import find_passkey
from app.people.second_factor_schemas import PasskeyOptions, PasskeySignIn, SecondFactorSignIn
from app.people.second_factor_verification import (
    FactorSubjects,
    count_factor_attempt,
    forget_factor_attempt,
    lock_active_user,
    use_passkey,
    verify_factor,
)
from app.people.sessions import BY_PASSKEY, BY_PASSWORD, ClientInfo, make_user_caller
from app.people.sign_in import complete_sign_in
from app.people.sign_in_challenges import (
    ChallengeRefusedError,
    SignInChallenge,
    open_challenge,
    seal_challenge,
    use_challenge,
)
from app.people.sign_in_dependencies import PeopleContext
from app.platform.identity import attempt_limiter
from app.platform.kernel.ip_addresses import make_address_subject
from app.platform.kernel.tenant_scope import run_as_caller, run_with_full_scope


async def sign_in_by_second_factor(
    people: PeopleContext, answer: SecondFactorSignIn, origin: ClientInfo, now: datetime
) -> SessionCreated:
    """Complete a sign-in by password with a second factor.

    Args:
        people: The dependencies of sign-in.
        answer: The challenge and the factor.
        origin: The client.
        now: The time.

    Raises:
        ChallengeRefusedError: The challenge is not valid, or the password has changed.
        WrongSecondFactorError, PasskeyRefusedError: As `verify_factor`.
        TooManyRequestsError: `too_many_attempts`, by the client's address or the person.
        NotFoundError, ForbiddenError: As `complete_sign_in`.
    """
    challenge = open_challenge(people.sealer, "second_factor", answer.challenge, now)
    user_id = challenge.user_id
    if user_id is None:
        raise ChallengeRefusedError
    subjects = FactorSubjects.of(user_id, origin)
    await count_factor_attempt(people, subjects)
    with run_with_full_scope():
        async with people.database.read() as reader:
            known = await reader.get(User, user_id)
    if known is None:
        raise ChallengeRefusedError
    with run_as_caller(make_user_caller(known)):
        async with record_sign_in_refusals(people, known), people.database.write() as session:
            user = await lock_active_user(session, user_id)
            if user is None or not challenge.is_for(user):
                raise ChallengeRefusedError
            await verify_factor(session, people, user, answer.factor, challenge=challenge, now=now)
            await use_challenge(session, challenge)
            signed_in = await complete_sign_in(
                people,
                session,
                user,
                answer.organisation_id or challenge.organisation,
                origin=origin,
                proof=BY_PASSWORD,
                now=now,
            )
    await forget_factor_attempt(people, subjects)
    return signed_in


def begin_passkey_sign_in(people: PeopleContext, now: datetime) -> PasskeyOptions:
    """Begin a sign-in by passkey alone (ConflictError `passkeys_unavailable`)."""
    party = require_relying_party(people.base_url)
    lifetime_s = people.settings.challenge_s
    challenge = SignInChallenge.begin(now, lifetime_s)
    return PasskeyOptions(
        challenge=seal_challenge(people.sealer, "passkey", challenge),
        options=make_authentication_options(party, challenge.nonce, None, lifetime_s),
    )


async def sign_in_by_passkey(
    people: PeopleContext, answer: PasskeySignIn, origin: ClientInfo, now: datetime
) -> SessionCreated:
    """Sign in by a passkey whose authenticator verified the person: it counts as both factors.

    Args:
        people: The dependencies of sign-in.
        answer: The challenge, and the answer of the authenticator.
        origin: The client.
        now: The time.

    Raises:
        ChallengeRefusedError: The challenge is not valid.
        PasskeyRefusedError: The passkey is unknown, its account is disabled, or as `verify_authentication`.
        TooManyRequestsError: `too_many_attempts`, by the client's address.
        NotFoundError, ForbiddenError: As `complete_sign_in`.
    """
    address = f"sign-in:{make_address_subject(origin.address)}"
    limits = people.settings
    await attempt_limiter.limit_attempt(
        people.database, address, most=limits.attempts, window_s=limits.attempts_window_s
    )
    challenge = open_challenge(people.sealer, "passkey", answer.challenge, now)
    credential_id = read_credential_id(answer.passkey)
    with run_with_full_scope():
        async with people.database.read() as reader:
            named = await find_passkey(reader, credential_id)
            known = None if named is None else await reader.get(User, named.user_id)
    async with record_sign_in_refusals(people, None):
        if known is None:
            raise PasskeyRefusedError
    with run_as_caller(make_user_caller(known)):
        async with record_sign_in_refusals(people, known), people.database.write() as session:
            user = await lock_active_user(session, known.id)
            # Read again: the lock may have waited for a removal, or for another use.
            passkey = await find_passkey(session, credential_id, known.id)
            if user is None or passkey is None or not is_answer_of(user, answer.passkey):
                raise PasskeyRefusedError
            use_passkey(people, passkey, answer.passkey, challenge, now, verifies_person=True)
            await use_challenge(session, challenge)
            signed_in = await complete_sign_in(
                people, session, user, answer.organisation_id, origin=origin, proof=BY_PASSKEY, now=now
            )
    await attempt_limiter.forget_attempt(people.database, address)
    return signed_in
