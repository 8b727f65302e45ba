"""How somebody accepts an invitation: by its token, which only they should have.

The token shows whom the inviting organisation means, and nothing of who holds an account under the same
address: nobody has shown that the address is theirs, and who invites an address could be after its account.
So there are two ways:

- Whoever gives a name and a password gets an account of their own, whether or not there is one with this
  address. It has nothing of that one's, and that one gets nothing of the invitation.
- Whoever shows that an account is theirs takes it into the organisation. What it could be entered with until
  then may be known to others, such as an owner of another organisation who made a password for it: it ends,
  and a new password is chosen.
"""

from datetime import datetime
from typing import Final, NamedTuple

from sqlalchemy import select, update

from app.people import repository
from app.people.context import PeopleContext
from app.people.invitation_service import INVITATION_PREFIX, add_member, lock_organisation, make_user
from app.people.member_roles import Role
from app.people.models import Invitation, User
from app.people.password_rules import check_password, normalise_password
from app.people.password_service import make_no_password_error, set_password
from app.people.password_verification import (
    AttemptSubjects,
    TokenRefusedError,
    VerifiedUser,
    count_attempt,
    verify_password,
)
from app.people.schemas import InvitationAccept, SessionCreated
from app.people.sessions import ClientInfo, make_user_caller
from app.people.sign_in import complete_sign_in
from app.platform.db.database import WriteSession
from app.platform.identity import attempt_limiter
from app.platform.identity.principals import Principal
from app.platform.kernel.api_keys import hash_key, is_well_formed_key
from app.platform.kernel.errors import ConflictError, ForbiddenError, InvalidError
from app.platform.kernel.tenant_scope import run_as_caller, run_with_full_scope

_PASSWORD: Final = "body.password"  # noqa: S105 (the name of a field)


class _Joining(NamedTuple):
    """Who accepts.

    Attributes:
        proven: The person; not stored yet where they are new.
        hashed: Their password's hash from now on; None for who signs in through the provider.
        new: Whether the account is made now.
    """

    proven: VerifiedUser
    hashed: str | None
    new: bool


class InvitationPreview(NamedTuple):
    """An invitation as a page shows it to who has its token.

    Attributes:
        state: Whether it can be accepted, or why not.
        organisation: The organisation's name.
        role: What the person becomes.
        sites: The names of the only sites that it is for; None: all.
        email: The address that was invited.
        invited_by: The name of the person or the API key.
        expires_at: When it ends.
    """

    state: repository.InvitationState
    organisation: str
    role: Role
    sites: tuple[str, ...] | None
    email: str
    invited_by: str
    expires_at: datetime


async def read_invitation_preview(
    people: PeopleContext, token: str, now: datetime
) -> InvitationPreview | None:
    """Read what an invitation offers, whether or not it is still open; None where there is none."""
    if not is_well_formed_key(token, INVITATION_PREFIX):
        return None
    with run_with_full_scope():
        async with people.database.read() as reader:
            invitation = await repository.find_invitation_by_token(reader, hash_key(token))
            if invitation is None:
                return None
            organisation, sites = await repository.read_organisation_and_site_names(reader, invitation)
    return InvitationPreview(
        repository.compute_invitation_state(invitation, now),
        organisation,
        invitation.role,
        sites,
        invitation.email,
        invitation.invited_by_name,
        invitation.expires_at,
    )


async def find_open_invitation(people: PeopleContext, token: str, now: datetime) -> Invitation:
    """The invitation that a token is of (TokenRefusedError: there is none that is open)."""
    if not is_well_formed_key(token, INVITATION_PREFIX):
        raise TokenRefusedError
    with run_with_full_scope():
        async with people.database.read() as reader:
            invitation = await repository.find_invitation_by_token(reader, hash_key(token))
    if invitation is None or repository.compute_invitation_state(invitation, now) != "open":
        raise TokenRefusedError
    return invitation


async def accept_open_invitation(
    people: PeopleContext,
    wanted: InvitationAccept,
    caller: Principal | None,
    origin: ClientInfo,
    now: datetime,
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
        InvalidError: `name_and_password_needed`, `passwords_needed`, `name_not_taken`, `password_unchanged`,
            or the password is not taken.
        ForbiddenError: `invitation_for_another`: somebody else is signed in.
        ConflictError: `already_member`; `account_exists`: the password is that of an account;
        `make_no_password_error`. WrongCredentialsError, TooManyRequestsError, UnavailableError: As
        `proofs.prove`.
    """
    invitation = await find_open_invitation(people, wanted.token, now)
    if caller is not None and caller.kind == "user":
        joining = await _signed_in(people, invitation, wanted, caller, origin)
    elif wanted.current_password is not None:
        joining = await _known(people, invitation, wanted, origin)
    else:
        joining = await _new(people, invitation, wanted, origin, now)
    with run_as_caller(make_user_caller(joining.proven.user)):
        async with people.database.write() as session:
            user = await _join(session, invitation, joining, now)
            return await complete_sign_in(
                people, session, user, invitation.organisation_id, origin=origin, now=now
            )


async def _signed_in(
    people: PeopleContext,
    invitation: Invitation,
    wanted: InvitationAccept,
    caller: Principal,
    origin: ClientInfo,
) -> _Joining:
    """Who is signed in. The token of a sign-in alone gives nobody a password."""
    with run_with_full_scope():
        async with people.database.read() as reader:
            user = (await reader.scalars(select(User).where(User.id == caller.key_id))).one()
    if user.email != invitation.email:
        raise ForbiddenError(
            "The invitation is for another address than yours.", code="invitation_for_another"
        )
    if user.password_hash is not None:
        return await _known(people, invitation, wanted, origin, user)
    if wanted.password is not None or wanted.current_password is not None:
        raise make_no_password_error()
    _check_unnamed(wanted)
    return _Joining(VerifiedUser(user), None, new=False)


def _check_unnamed(wanted: InvitationAccept) -> None:
    """Refuse a name for an account that has one: passed over, the caller would think that it was changed.

    Raises:
        InvalidError: `name_not_taken`.
    """
    if wanted.name is not None:
        raise InvalidError(
            "The account keeps its name: leave this out, and change it with `PATCH /v1/me`.",
            code="name_not_taken",
        ).at("body.name")


async def _known(
    people: PeopleContext,
    invitation: Invitation,
    wanted: InvitationAccept,
    origin: ClientInfo,
    user: User | None = None,
) -> _Joining:
    """Who knows an account's password, and chooses another one."""
    if wanted.current_password is None or wanted.password is None:
        raise InvalidError(
            "Give your `current_password`, and choose a new `password`: others may know the present one.",
            code="passwords_needed",
        )
    _check_unnamed(wanted)
    current, password = wanted.current_password.get_secret_value(), wanted.password.get_secret_value()
    wrong = "There is no account with the invitation's address that has this `current_password`."
    meant = None if user is None else user.id
    proven = await verify_password(people, invitation.email, current, origin, user_id=meant, wrong=wrong)
    normal = check_password(password, (proven.user.name, invitation.email), field=_PASSWORD)
    if normal == normalise_password(current):
        raise InvalidError(
            "The new password is the present one: choose another.", code="password_unchanged"
        ).at(_PASSWORD)
    subjects = AttemptSubjects.of(invitation.email, origin)
    return _Joining(proven, await people.hasher.hash(normal, subjects), new=False)


async def _new(
    people: PeopleContext, invitation: Invitation, wanted: InvitationAccept, origin: ClientInfo, now: datetime
) -> _Joining:
    """Who gets an account now. That there is one with this address only who has its password is told."""
    if wanted.name is None or wanted.password is None:
        raise InvalidError(
            "Give `name` and `password`; or, of an account with this address that you have, its "
            "`current_password`, and a new `password`.",
            code="name_and_password_needed",
        )
    email, password = invitation.email, wanted.password.get_secret_value()
    normal = check_password(password, (wanted.name, email), field=_PASSWORD)
    subjects = AttemptSubjects.of(email, origin)
    await count_attempt(people, subjects)
    with run_with_full_scope():
        async with people.database.read() as reader:
            account = await repository.find_account_by_email(reader, email)
    # Somebody else may have given them that one. Where there is no account, it takes as long.
    if await people.hasher.verify(normal, None if account is None else account.password_hash, subjects):
        raise ConflictError(
            "You have an account with this address and this password: give it as `current_password`, and a "
            "new one as `password`.",
            code="account_exists",
        )
    hashed = await people.hasher.hash(normal, subjects)
    # Of the account's tries this was one: with invitations of one's own making, one could guess on for ever.
    await attempt_limiter.forget_attempt(people.database, subjects.address)
    return _Joining(VerifiedUser(make_user(email, wanted.name, hashed, now, wanted.locale)), hashed, new=True)


async def _join(session: WriteSession, invitation: Invitation, joining: _Joining, now: datetime) -> User:
    """Use up an invitation: the person becomes a member, and is made where they are new."""
    use = update(Invitation).where(
        Invitation.id == invitation.id,
        Invitation.accepted_at.is_(None),
        Invitation.revoked_at.is_(None),
    )
    if await session.scalar(use.values(accepted_at=now).returning(Invitation.id)) is None:
        raise TokenRefusedError
    await lock_organisation(session, invitation.organisation_id)
    if joining.new:
        user = joining.proven.user
        session.add(user)
        await session.flush()
    else:
        user = await joining.proven.hold(session)
    await add_member(session, invitation, user, now)
    if not joining.new:
        await set_password(session, user, joining.hashed, now)
    return user
