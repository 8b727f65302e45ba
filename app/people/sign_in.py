"""Signs in people by password, and completes the sign-in of a verified person."""

from datetime import datetime
from uuid import UUID

from app.people import repository
from app.people.access_audit_entries import record_sign_in_refusals
from app.people.models import User
from app.people.password_verification import verify_password
from app.people.schemas import SessionCreated, SignIn
from app.people.second_factor_repository import read_factors
from app.people.second_factor_verification import SecondFactorRequiredError, make_factor_request
from app.people.sessions import (
    BY_PASSWORD,
    ClientInfo,
    OrganisationMembership,
    SignInProof,
    make_user_caller,
    open_session,
)
from app.people.sign_in_challenges import SignInChallenge
from app.people.sign_in_dependencies import PeopleContext
from app.platform.db.database import WriteSession
from app.platform.kernel.errors import ForbiddenError, NotFoundError
from app.platform.kernel.tenant_scope import run_as_caller


def _select_membership(
    memberships: list[OrganisationMembership], organisation_id: UUID | None
) -> OrganisationMembership:
    """Select the membership of the requested organisation, or the first one.

    Raises:
        ForbiddenError: `no_membership`: the person has no membership.
        NotFoundError: The person is not a member of the organisation.
    """
    if not memberships:
        raise ForbiddenError(
            "You are not a member of any organisation. Ask an owner for an invitation.", code="no_membership"
        )
    for membership in memberships:
        if organisation_id in {None, membership.organisation.id}:
            return membership
    raise NotFoundError("organisation", organisation_id)


async def complete_sign_in(
    people: PeopleContext,
    session: WriteSession,
    user: User,
    organisation_id: UUID | None,
    *,
    origin: ClientInfo,
    proof: SignInProof,
    now: datetime,
) -> SessionCreated:
    """Open a session for a verified person.

    Args:
        people: The dependencies of sign-in.
        session: The transaction.
        user: The person, locked.
        organisation_id: The organisation to work for; None: the one that the person joined first.
        origin: The client.
        proof: How the person proved who they are.
        now: The time.

    Raises:
        ForbiddenError: `no_membership`: the person has no membership.
        NotFoundError: The person is not a member of the organisation.
    """
    memberships = await repository.list_memberships(session, user.id)
    membership = _select_membership(memberships, organisation_id)
    token, row = await open_session(
        session,
        user,
        membership.organisation.id,
        origin=origin,
        settings=people.settings,
        proof=proof,
        now=now,
    )
    await session.flush()
    return SessionCreated.of(row, user, memberships, token=token)


async def sign_in_by_password(
    people: PeopleContext, credentials: SignIn, origin: ClientInfo, now: datetime
) -> SessionCreated:
    """Sign in by password.

    Args:
        people: The dependencies of sign-in.
        credentials: The credentials, and the organisation to work for.
        origin: The client.
        now: The time.

    Raises:
        NotFoundError: The person is not a member of the requested organisation.
        ForbiddenError: `no_membership`.
        SecondFactorRequiredError: The password is right, and the person has a second factor.
        WrongCredentialsError, TooManyRequestsError, UnavailableError: As `verify_password`.
    """
    password = credentials.password.get_secret_value()
    organisation = credentials.organisation_id
    proven = await verify_password(people, credentials.email, password, origin, organisation=organisation)
    with run_as_caller(make_user_caller(proven.user)):
        async with record_sign_in_refusals(people, proven.user), people.database.write() as session:
            user = await proven.lock(session)
            if user.second_factor_at is None:
                return await complete_sign_in(
                    people, session, user, organisation, origin=origin, proof=BY_PASSWORD, now=now
                )
            enrolled = await read_factors(session, user.id)
    # After the commit, which may renew the hash of the password: the challenge is bound to it.
    challenge = SignInChallenge.begin(now, people.settings.challenge_s, user, organisation)
    raise SecondFactorRequiredError(make_factor_request(people, "second_factor", challenge, enrolled))
