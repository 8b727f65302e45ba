"""Accepts invitations by their token, with a new account or an existing one.

The token proves the invitation, but not the ownership of an account with the same address: addresses are not
verified, and an organisation could invite an address to take over its account. So there are two ways:

- A name and a password create a new account, even if there is one with this address. The two accounts share
  nothing.
- The proof of an existing account (its password and second factor, or a sign-in) adds it to the organisation.
  Others may have its credentials, such as an owner of another organisation who reset its password. So its
  password, second factors and sessions end, and the person chooses a new password.
"""

from datetime import datetime
from typing import Final, NamedTuple

from sqlalchemy import select, update

from app.people import repository
from app.people.access_audit_entries import record_sign_in_refusals
from app.people.invitation_service import INVITATION_PREFIX, add_member, lock_organisation, make_user
from app.people.member_roles import Role
from app.people.models import Invitation, User
from app.people.password_rules import check_password, normalise_password
from app.people.password_service import make_no_password_error, replace_credentials
from app.people.password_verification import (
    AttemptSubjects,
    TokenRefusedError,
    VerifiedUser,
    count_attempt,
    verify_password,
)
from app.people.schemas import InvitationAccept, SessionCreated
from app.people.second_factor_verification import (
    FactorSubjects,
    GivenFactor,
    count_factor_attempt,
    forget_factor_attempt,
    verify_factor,
)
from app.people.sessions import BY_PASSWORD, ClientInfo, SignInProof, make_user_caller
from app.people.sign_in import complete_sign_in
from app.people.sign_in_dependencies import PeopleContext
from app.platform.db.database import WriteSession
from app.platform.identity import attempt_limiter
from app.platform.identity.caller_authentication import Principal
from app.platform.kernel.errors import ConflictError, ForbiddenError, InvalidError
from app.platform.kernel.secret_tokens import hash_key, is_well_formed_key
from app.platform.kernel.tenant_scope import run_as_caller, run_with_full_scope

_PASSWORD: Final = "body.password"  # noqa: S105 (the name of a field)


class _NewMember(NamedTuple):
    """The accepting person.

    Attributes:
        proven: The verified person; a new one is not stored yet.
        hashed: The new password hash; None if the person signs in through the provider.
        new: Whether the account is created now.
        proof: How the person proved who they are.
        factor: The second factor beside a password; None: a sign-in has proved it, or there is none.
    """

    proven: VerifiedUser
    hashed: str | None
    new: bool
    proof: SignInProof = BY_PASSWORD
    factor: GivenFactor | None = None


class InvitationPreview(NamedTuple):
    """An invitation as a page shows it to the holder of its token.

    Attributes:
        state: Whether it can be accepted, or why not.
        organisation: The organisation's name.
        role: The role of the new member.
        sites: The names of the only sites of the membership; None: all.
        email: The invited address.
        invited_by: The name of the inviting person or API key.
        expires_at: The expiry.
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
    """Read an invitation by its token, whether or not it is open; None if the token is unknown."""
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
    """Find the open invitation of a token (TokenRefusedError)."""
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
    acceptance: InvitationAccept,
    caller: Principal | None,
    origin: ClientInfo,
    now: datetime,
) -> SessionCreated:
    """Accept an invitation, and sign in to its organisation.

    Args:
        people: The dependencies of sign-in.
        acceptance: The token, and the proof of an account or the data of a new one.
        caller: The signed-in caller; None: not signed in.
        origin: The client.
        now: The time.

    Raises:
        TokenRefusedError: No open invitation has this token.
        InvalidError: `name_and_password_needed`, `passwords_needed`, `name_not_taken`, `password_unchanged`,
            `second_factor_code_needed`, or the password breaks the rules.
        ForbiddenError: `invitation_for_another`: another person is signed in.
        ConflictError: `already_member`; `account_exists`: the password is that of an account; `no_password`.
        WrongCredentialsError, TooManyRequestsError, UnavailableError: As `verify_password`.
        WrongSecondFactorError: As `verify_factor`.
    """
    invitation = await find_open_invitation(people, acceptance.token, now)
    if caller is not None and caller.kind == "user":
        member = await _accept_signed_in(people, invitation, acceptance, caller, origin)
    elif acceptance.current_password is not None:
        member = await _accept_with_password(people, invitation, acceptance, origin)
    else:
        member = await _accept_with_new_account(people, invitation, acceptance, origin, now)
    account = None if member.new else member.proven.user
    with run_as_caller(make_user_caller(member.proven.user)):
        async with record_sign_in_refusals(people, account), people.database.write() as session:
            user = await _add_new_member(people, session, invitation, member, now)
            signed_in = await complete_sign_in(
                people,
                session,
                user,
                invitation.organisation_id,
                origin=origin,
                proof=member.proof,
                now=now,
            )
    if member.factor is not None and member.factor != GivenFactor():
        await forget_factor_attempt(people, FactorSubjects.of(user.id, origin))
    return signed_in


async def _accept_signed_in(
    people: PeopleContext,
    invitation: Invitation,
    acceptance: InvitationAccept,
    caller: Principal,
    origin: ClientInfo,
) -> _NewMember:
    """Accept as the signed-in person. A session token alone does not allow a new password."""
    with run_with_full_scope():
        async with people.database.read() as reader:
            user = (await reader.scalars(select(User).where(User.id == caller.key_id))).one()
    if user.email != invitation.email:
        raise ForbiddenError(
            "The invitation is for another address. Sign in with the account of that address.",
            code="invitation_for_another",
        )
    if user.password_hash is not None:
        return await _accept_with_password(people, invitation, acceptance, origin, user)
    if acceptance.password is not None or acceptance.current_password is not None:
        raise make_no_password_error()
    _check_no_name(acceptance)
    # The session may be stolen: the new one does not allow a change of second factors.
    return _NewMember(VerifiedUser(user), None, new=False, proof=SignInProof("provider", is_fresh=False))


def _check_no_name(acceptance: InvitationAccept) -> None:
    """Refuse a name for an existing account (InvalidError `name_not_taken`): it would be silently ignored."""
    if acceptance.name is not None:
        raise InvalidError(
            "An existing account has a name already. Leave `name` out, and change it with `PATCH /v1/me`.",
            code="name_not_taken",
        ).at("body.name")


async def _accept_with_password(
    people: PeopleContext,
    invitation: Invitation,
    acceptance: InvitationAccept,
    origin: ClientInfo,
    user: User | None = None,
) -> _NewMember:
    """Accept with an account whose password the person knows, and choose a new password."""
    if acceptance.current_password is None or acceptance.password is None:
        raise InvalidError(
            "Give your `current_password`, and a new `password`: others may know the present one.",
            code="passwords_needed",
        )
    _check_no_name(acceptance)
    current, password = acceptance.current_password.get_secret_value(), acceptance.password.get_secret_value()
    wrong = "There is no account with the invitation's address that has this `current_password`."
    user_id = None if user is None else user.id
    proven = await verify_password(people, invitation.email, current, origin, user_id=user_id, wrong=wrong)
    normal = check_password(password, (proven.user.name, invitation.email), field=_PASSWORD)
    if normal == normalise_password(current):
        raise InvalidError(
            "The new password is the present one. Choose another one.", code="password_unchanged"
        ).at(_PASSWORD)
    factor = None
    if user is None:
        factor = GivenFactor(totp=acceptance.totp, recovery_code=acceptance.recovery_code)
        if factor != GivenFactor():
            await count_factor_attempt(people, FactorSubjects.of(proven.user.id, origin))
    subjects = AttemptSubjects.of(invitation.email, origin)
    return _NewMember(proven, await people.hasher.hash(normal, subjects), new=False, factor=factor)


async def _accept_with_new_account(
    people: PeopleContext,
    invitation: Invitation,
    acceptance: InvitationAccept,
    origin: ClientInfo,
    now: datetime,
) -> _NewMember:
    """Accept with a new account. Only the holder of an account's password learns that the account exists."""
    if acceptance.name is None or acceptance.password is None:
        raise InvalidError(
            "Give `name` and `password` to create an account. If you have an account with this address, "
            "give its `current_password` and a new `password`.",
            code="name_and_password_needed",
        )
    email, password = invitation.email, acceptance.password.get_secret_value()
    normal = check_password(password, (acceptance.name, email), field=_PASSWORD)
    subjects = AttemptSubjects.of(email, origin)
    await count_attempt(people, subjects)
    with run_with_full_scope():
        async with people.database.read() as reader:
            account = await repository.find_account_by_email(reader, email)
    # The same password proves the same person. Without an account the check takes as long.
    if await people.hasher.verify(normal, None if account is None else account.password_hash, subjects):
        raise ConflictError(
            "You have an account with this address and this password. Give it as `current_password`, and a "
            "new one as `password`.",
            code="account_exists",
        )
    hashed = await people.hasher.hash(normal, subjects)
    # The attempt still counts for the account: with self-made invitations one could guess without a limit.
    await attempt_limiter.forget_attempt(people.database, subjects.address)
    return _NewMember(
        VerifiedUser(make_user(email, acceptance.name, hashed, now, acceptance.locale)), hashed, new=True
    )


async def _add_new_member(
    people: PeopleContext,
    session: WriteSession,
    invitation: Invitation,
    member: _NewMember,
    now: datetime,
) -> User:
    """Mark an invitation as accepted, store a new person, and add the membership."""
    use = update(Invitation).where(
        Invitation.id == invitation.id,
        Invitation.accepted_at.is_(None),
        Invitation.revoked_at.is_(None),
    )
    if await session.scalar(use.values(accepted_at=now).returning(Invitation.id)) is None:
        raise TokenRefusedError
    await lock_organisation(session, invitation.organisation_id)
    if member.new:
        user = member.proven.user
        session.add(user)
        await session.flush()
    else:
        user = await member.proven.lock(session)
        if user.second_factor_at is not None and member.factor is not None:
            await _verify_factor(people, session, user, member.factor, now)
    await add_member(session, invitation, user, now)
    if not member.new:
        await replace_credentials(people, session, user, member.hashed, now)
    return user


async def _verify_factor(
    people: PeopleContext, session: WriteSession, user: User, factor: GivenFactor, now: datetime
) -> None:
    """Verify the second factor of an account: its password alone must not open it here either."""
    if factor == GivenFactor():
        raise InvalidError(
            "Your account has a second factor. Give `totp` or `recovery_code` too, or sign in with the "
            "factor first and send that token as `Authorization`.",
            code="second_factor_code_needed",
        )
    await verify_factor(session, people, user, factor, now=now)
