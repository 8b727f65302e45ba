"""How somebody becomes a member: invited under an e-mail address, and by a token that only they should have.

An invitation is accepted by a new person, who chooses a password, or by one who is known already and shows
who they are: by their password, or by being signed in.
"""

from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import update
from sqlalchemy.exc import IntegrityError

from app.core.auth import Principal
from app.core.database import WriteSession
from app.core.errors import ConflictError, ForbiddenError, InvalidError
from app.core.ids import new_id
from app.core.keys import generate_key, hash_key, well_formed
from app.core.reach import reaching_everything, working_for
from app.people import members, repository
from app.people.context import People
from app.people.models import Invitation, Membership, User
from app.people.password_rules import check_password
from app.people.schemas import InvitationAccept, InvitationCreate, SessionCreated
from app.people.sessions import From, as_user
from app.people.sign_in import TokenRefusedError, WrongCredentialsError, admit, end_resets, prove
from app.sites import service as sites

INVITATION_PREFIX: Final = "vgi_"


async def invite(
    session: WriteSession, principal: Principal, wanted: InvitationCreate, people: People, now: datetime
) -> tuple[str, Invitation]:
    """Make an invitation; what the address had open in this organisation ends.

    Raises:
        NotFoundError: No such organisation, or site.
        ForbiddenError: A role that may do more than the caller.
        ConflictError: `already_member`.
        InvalidError: `owner_of_sites`, `foreign_organisation`.
    """
    members.check_may_give(principal, wanted.role)
    organisation = await sites.named_organisation(session, principal, wanted.organisation_id)
    await members.check_sites(session, principal, organisation, wanted.role, wanted.site_ids)
    if await repository.is_member(session, organisation.id, wanted.email):
        raise _already_member()
    for former in await repository.open_invitations(session, wanted.email, now, organisation=organisation.id):
        former.revoked_at = now
    token = generate_key(INVITATION_PREFIX)
    row = Invitation(
        id=new_id(),
        organisation_id=organisation.id,
        email=wanted.email,
        role=wanted.role,
        site_ids=wanted.site_ids,
        token_hash=hash_key(token),
        invited_by=principal.key_id,
        invited_by_name=principal.name,
        created_at=now,
        expires_at=now + timedelta(seconds=people.settings.invitation_s),
    )
    session.add(row)
    await session.flush()
    return token, row


def _already_member() -> ConflictError:
    return ConflictError("Somebody with this address is a member already.", code="already_member")


async def accept(
    people: People, wanted: InvitationAccept, caller: Principal | None, origin: From, now: datetime
) -> SessionCreated:
    """Accept an invitation, and sign in to its organisation.

    Args:
        people: What this stands on.
        wanted: The token, and what shows who somebody is.
        caller: Who is signed in; None: nobody.
        origin: Where the call comes from.
        now: The time.

    Raises:
        TokenRefusedError: No invitation that is open has this token.
        InvalidError: `name_and_password_needed`, or the password of who is new is not taken.
        ForbiddenError: `invitation_for_another`: somebody else is signed in.
        ConflictError: `already_member`.
        WrongCredentialsError, TooManyRequestsError, UnavailableError: As `sign_in.prove`, of a known person.
    """
    if not well_formed(wanted.token, INVITATION_PREFIX):
        raise TokenRefusedError
    with reaching_everything():
        async with people.database.read() as reader:
            invitation = await repository.invitation_of(reader, hash_key(wanted.token))
            if invitation is None or repository.state_of(invitation, now) != "open":
                raise TokenRefusedError
            known = await repository.user_of(reader, invitation.email)
    password = None if wanted.password is None else wanted.password.get_secret_value()
    if known is None:
        user, new = await _new_person(people, invitation, wanted.name, password, now), True
    else:
        user, new = known, False
        if caller is not None and caller.kind == "user":
            if caller.key_id != known.id:
                raise ForbiddenError(
                    "The invitation is for another address than yours.", code="invitation_for_another"
                )
        elif password is None:
            raise WrongCredentialsError
        else:
            await prove(people, known.email, password, origin)
    with working_for(as_user(user)):
        async with people.database.write() as session:
            user = await _join(session, invitation, user, now, new=new)
            return await admit(people, session, user, invitation.organisation_id, origin=origin, now=now)


async def _new_person(
    people: People, invitation: Invitation, name: str | None, password: str | None, now: datetime
) -> User:
    if name is None or password is None:
        raise InvalidError(
            "There is no account with this address yet: give `name` and `password`.",
            code="name_and_password_needed",
        )
    normal = check_password(password, (name, invitation.email), field="body.password")
    return make_user(invitation.email, name, await people.hasher.hash(normal), now)


def make_user(email: str, name: str, password_hash: str | None, now: datetime) -> User:
    """A person to be."""
    return User(
        id=new_id(),
        email=email,
        name=name,
        locale="en",
        password_hash=password_hash,
        created_at=now,
        updated_at=now,
    )


async def _join(
    session: WriteSession, invitation: Invitation, user: User, now: datetime, *, new: bool
) -> User:
    """Use up an invitation: the person becomes a member, and is made where they are new."""
    use = update(Invitation).where(
        Invitation.id == invitation.id, Invitation.accepted_at.is_(None), Invitation.revoked_at.is_(None)
    )
    used = await session.scalar(use.values(accepted_at=now).returning(Invitation.id))
    if used is None:
        raise TokenRefusedError
    if new:
        session.add(user)
        try:
            await session.flush()
        except IntegrityError:
            raise ConflictError(
                "There is an account with this address by now: give its password.", code="account_exists"
            ) from None
    else:
        known = await repository.user_of(session, invitation.email, lock=True)
        if known is None or known.disabled_at is not None:
            raise WrongCredentialsError
        user = known
    await add_member(session, invitation, user, now)
    return user


async def add_member(session: WriteSession, invitation: Invitation, user: User, now: datetime) -> None:
    """Make a person what an invitation says (ConflictError `already_member`)."""
    if await repository.is_member(session, invitation.organisation_id, user.email):
        raise _already_member()
    # Made by those who could reset all of the person's passwords then; they could enter here too.
    await end_resets(session, user.id)
    session.add(
        Membership(
            id=new_id(),
            user_id=user.id,
            organisation_id=invitation.organisation_id,
            role=invitation.role,
            site_ids=invitation.site_ids,
            created_at=now,
            updated_at=now,
        )
    )
    await session.flush()
