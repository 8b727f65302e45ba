"""Signing in: by a password, and how anybody is let in who showed who they are."""

from datetime import datetime
from uuid import UUID

from app.people import repository
from app.people.audit_notes import recording_refusals
from app.people.context import People
from app.people.models import User
from app.people.password_verification import prove
from app.people.schemas import SessionCreated, SignIn
from app.people.sessions import From, Place, as_user, open_session
from app.platform.db.database import WriteSession
from app.platform.kernel.errors import ForbiddenError, NotFoundError
from app.platform.kernel.tenant_scope import working_for


def _working_for(places: list[Place], named: UUID | None) -> Place:
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


async def admit(
    people: People, session: WriteSession, user: User, named: UUID | None, *, origin: From, now: datetime
) -> SessionCreated:
    """Sign in a person who showed who they are, and is locked (errors as `sign_in`)."""
    places = await repository.places_of(session, user.id)
    place = _working_for(places, named)
    token, held = await open_session(
        session, user, place.organisation.id, origin=origin, settings=people.settings, now=now
    )
    await session.flush()
    return SessionCreated.of(held, user, places, token=token)


async def sign_in(people: People, wanted: SignIn, origin: From, now: datetime) -> SessionCreated:
    """Sign in by a password.

    Raises:
        NotFoundError: The person is no member of the organisation that is named.
        ForbiddenError: `no_membership`.
        WrongCredentialsError, TooManyRequestsError, UnavailableError: As `prove`.
    """
    password = wanted.password.get_secret_value()
    proven = await prove(people, wanted.email, password, origin, organisation=wanted.organisation_id)
    with working_for(as_user(proven.user)):
        async with recording_refusals(people, proven.user), people.database.write() as session:
            user = await proven.hold(session)
            return await admit(people, session, user, wanted.organisation_id, origin=origin, now=now)
