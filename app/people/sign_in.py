"""Signing in: by a password, and how anybody is let in who showed who they are."""

from datetime import datetime
from uuid import UUID

from app.people import repository
from app.people.audit_notes import record_sign_in_refusals
from app.people.context import PeopleContext
from app.people.models import User
from app.people.password_verification import verify_password
from app.people.schemas import SessionCreated, SignIn
from app.people.sessions import ClientInfo, OrganisationMembership, make_user_caller, open_session
from app.platform.db.database import WriteSession
from app.platform.kernel.errors import ForbiddenError, NotFoundError
from app.platform.kernel.tenant_scope import run_as_caller


def _working_for(places: list[OrganisationMembership], named: UUID | None) -> OrganisationMembership:
    """Whom a person works for.

    Raises:
        ForbiddenError: `no_membership`: they belong nowhere any more.
        NotFoundError: They are no member there.
    """
    if not places:
        raise ForbiddenError("You are no member of any organisation.", code="no_membership")
    for place in places:
        if named in {None, place.organisation.id}:
            return place
    raise NotFoundError("organisation", named)


async def complete_sign_in(
    people: PeopleContext,
    session: WriteSession,
    user: User,
    named: UUID | None,
    *,
    origin: ClientInfo,
    now: datetime,
) -> SessionCreated:
    """Sign in a person who showed who they are, and is locked (errors as `sign_in_by_password`)."""
    places = await repository.list_memberships(session, user.id)
    place = _working_for(places, named)
    token, held = await open_session(
        session, user, place.organisation.id, origin=origin, settings=people.settings, now=now
    )
    await session.flush()
    return SessionCreated.of(held, user, places, token=token)


async def sign_in_by_password(
    people: PeopleContext, wanted: SignIn, origin: ClientInfo, now: datetime
) -> SessionCreated:
    """Sign in by a password.

    Raises:
        NotFoundError: The person is no member of the organisation that is named.
        ForbiddenError: `no_membership`.
        WrongCredentialsError, TooManyRequestsError, UnavailableError: As `verify_password`.
    """
    password = wanted.password.get_secret_value()
    proven = await verify_password(
        people, wanted.email, password, origin, organisation=wanted.organisation_id
    )
    with run_as_caller(make_user_caller(proven.user)):
        async with record_sign_in_refusals(people, proven.user), people.database.write() as session:
            user = await proven.hold(session)
            return await complete_sign_in(
                people, session, user, wanted.organisation_id, origin=origin, now=now
            )
