"""Links a verified identity of an OpenID Connect provider to an account or an invitation.

A person is found by the provider's subject. The first time they are found by their e-mail address: it must be
verified by the provider, and there must be an account or an invitation for it. Since the address of an
account was not verified before, others may know its password, or have enrolled its second factors: linking
ends these and all sessions. An account that is linked already is never found by its address, which may belong
to another person by now.

Lasting decisions are confirmed on a page of Vigie (`OidcSignInState.confirmed`): the acceptance of an
invitation, and the choice of the account if several organisations know the address. Otherwise an organisation
could invite an address and send a link that signs its owner in to that organisation unknowingly, instead of
to their employer.
"""

import unicodedata
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import delete, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from app.people import repository
from app.people.access_audit_entries import record_sign_in_refusals
from app.people.invitation_service import add_member, lock_organisation, make_user
from app.people.models import Invitation, OidcIdentity, User
from app.people.oidc_provider import VerifiedIdentity
from app.people.oidc_state import OidcSignInState
from app.people.password_service import replace_credentials
from app.people.schemas import SessionCreated
from app.people.sessions import BY_PROVIDER, ClientInfo, make_user_caller
from app.people.sign_in import complete_sign_in
from app.people.sign_in_dependencies import PeopleContext
from app.platform.db.database import WriteSession
from app.platform.http.contract.fields import NAME_LIMIT, check_text
from app.platform.http.contract.problems import CodedValueError
from app.platform.kernel.email_addresses import normalise_email_address
from app.platform.kernel.errors import ConflictError, ForbiddenError, InvalidError, NotFoundError
from app.platform.kernel.tenant_scope import run_as_caller, run_with_full_scope
from app.registry.models import Organisation


class _FoundAccount(NamedTuple):
    """The account of an identity.

    Attributes:
        user: The person; a new one is not stored yet.
        linked: Whether the provider's subject is linked to this account.
        new: Whether the account is created now.
        member: Whether no invitation is needed.
        left: The account to which the subject was linked until now, if that changes.
    """

    user: User
    linked: bool = False
    new: bool = False
    member: bool = False
    left: UUID | None = None


def _make_not_invited_error() -> ForbiddenError:
    return ForbiddenError(
        "There is no account and no invitation for you, or the provider did not verify your address. Ask "
        "an owner of the organisation for an invitation.",
        code="not_invited",
    )


def _get_name(claim: Any, email: str) -> str:  # noqa: ANN401 (whatever JSON holds)
    name = unicodedata.normalize("NFC", str(claim or ""))[:NAME_LIMIT]
    try:
        return check_text(name, limit=NAME_LIMIT)
    except CodedValueError:
        return email.partition("@")[0]


def _get_verified_address(claims: Mapping[str, Any]) -> str | None:
    """Get the verified e-mail address, in lower case; None if the provider did not verify it."""
    # A text "true" is not accepted: the specification requires a boolean.
    if claims.get("email_verified") is not True:
        return None
    try:
        return normalise_email_address(str(claims.get("email"))).lower()
    except InvalidError:
        return None


def _new_user(claims: Mapping[str, Any], email: str, now: datetime) -> User:
    user = make_user(email, _get_name(claims.get("name"), email), None, now)
    user.locale = "fr" if str(claims.get("locale")).lower().startswith("fr") else "en"
    return user


async def _find(
    people: PeopleContext, identity: VerifiedIdentity, state: OidcSignInState, now: datetime
) -> _FoundAccount:
    known = (
        select(User)
        .join(OidcIdentity, OidcIdentity.user_id == User.id)
        .where(OidcIdentity.issuer == identity.issuer, OidcIdentity.subject == identity.subject)
    )
    email = _get_verified_address(identity.claims)
    with run_with_full_scope():
        async with people.database.read() as session:
            user = await session.scalar(known)
            if (
                user is not None
                and (found := await _use_linked_account(session, user, email, state, now)) is not None
            ):
                return found
            if email is None:
                raise _make_not_invited_error()
            account = await _find_account(session, identity.issuer, email, state, now)
    left = None if user is None else user.id
    if account is not None:
        return _FoundAccount(account, member=True, left=left)
    return _FoundAccount(_new_user(identity.claims, email, now), new=True, left=left)


async def _use_linked_account(
    session: AsyncSession, user: User, email: str | None, state: OidcSignInState, now: datetime
) -> _FoundAccount | None:
    """Decide about the linked account; None if the subject must be linked to another account.

    That is the case if the person confirmed an organisation in which they have another account, or if the
    linked account is disabled and another organisation invites them: an organisation must not be able to
    block the invitations of others by disabling an account.

    Raises:
        ForbiddenError: `not_invited`: the account has no membership, and another address.
    """
    inviting = joined = frozenset[UUID]()
    if state.confirmed and email is not None:
        inviting = await repository.find_inviting_organisations(session, email, now)
        joined = await repository.find_joined_organisations(session, email)
    own = await _find_organisations(session, user)
    if state.organisation in joined - own:
        return None
    if user.disabled_at is not None:
        return None if state.organisation in inviting else _FoundAccount(user, linked=True, member=True)
    if not own and email != user.email:
        raise _make_not_invited_error()
    joins = email == user.email and state.organisation in inviting - own
    return _FoundAccount(user, linked=True, member=bool(own) and not joins)


async def _find_account(
    session: AsyncSession, issuer: str, email: str, state: OidcSignInState, now: datetime
) -> User | None:
    """Find the account of an address; None if a new one is created with an invitation.

    Raises:
        ConflictError: `organisation_unconfirmed`: the person must confirm an organisation.
    """
    organisation = state.organisation
    user = await repository.find_account_by_email(
        session, email, organisation=organisation, unknown_to=issuer
    )
    own = frozenset[UUID]() if user is None else await _find_organisations(session, user)
    if state.confirmed:
        return user if organisation in own else None
    if not own:
        return None
    # Another organisation may have created this account by an invitation: the person must confirm it.
    known_to = await repository.find_inviting_organisations(
        session, email, now
    ) | await repository.find_joined_organisations(session, email)
    if known_to - own:
        raise await _make_unconfirmed_error(session, known_to)
    return user


async def _find_organisations(session: AsyncSession, user: User) -> frozenset[UUID]:
    """Find the organisations of a person."""
    return frozenset(each.organisation.id for each in await repository.list_memberships(session, user.id))


async def sign_in_through_provider(
    people: PeopleContext,
    identity: VerifiedIdentity,
    state: OidcSignInState,
    origin: ClientInfo,
    now: datetime,
) -> SessionCreated:
    """Sign in a person that the provider has identified.

    Args:
        people: The dependencies of sign-in.
        identity: The verified identity.
        state: The state of the sign-in.
        origin: The client.
        now: The time.

    Raises:
        ForbiddenError: `not_invited`, `account_disabled`, `no_membership`.
        NotFoundError: The person is neither a member of the requested organisation nor invited to it.
        ConflictError: `account_exists`: two first sign-ins ran concurrently; `organisation_unconfirmed`: the
            person must confirm an invitation or an organisation.
    """
    async with record_sign_in_refusals(people, None):
        found = await _find(people, identity, state, now)
    with run_as_caller(make_user_caller(found.user)):
        account = None if found.new else found.user
        async with record_sign_in_refusals(people, account), people.database.write() as session:
            try:
                user = await _link_and_join(people, session, found, identity, state, now=now)
            except IntegrityError:
                raise _make_account_exists_error() from None
            return await complete_sign_in(
                people, session, user, state.organisation, origin=origin, proof=BY_PROVIDER, now=now
            )


def _make_account_exists_error() -> ConflictError:
    return ConflictError("Your account was just created. Start the sign-in again.", code="account_exists")


async def _make_unconfirmed_error(session: AsyncSession, organisations: Iterable[UUID]) -> ConflictError:
    statement = select(Organisation.id, Organisation.name).order_by(Organisation.name)
    rows = await session.execute(statement.where(Organisation.id.in_(organisations)))
    return ConflictError(
        "Organisations have invited you, or have an account with your address. Follow the link of an "
        "invitation, or start with `POST /v1/oidc/start` and the organisation that you choose.",
        code="organisation_unconfirmed",
        extra={"organisations": [{"id": str(row.id), "name": row.name} for row in rows]},
    )


async def _lock_chosen_invitation(
    session: WriteSession, email: str, state: OidcSignInState, now: datetime
) -> Invitation:
    """Lock the invitation of the organisation that the person confirmed.

    Raises:
        ForbiddenError: `not_invited`.
        ConflictError: `organisation_unconfirmed`.
        NotFoundError: Only other organisations have invited the person.
    """
    invitations = await repository.lock_open_invitations(session, email, now)
    if not invitations:
        raise _make_not_invited_error()
    if not state.confirmed:
        raise await _make_unconfirmed_error(session, {each.organisation_id for each in invitations})
    for invitation in invitations:
        if invitation.organisation_id == state.organisation:
            return invitation
    raise NotFoundError("organisation", state.organisation)


async def _link_and_join(
    people: PeopleContext,
    session: WriteSession,
    found: _FoundAccount,
    identity: VerifiedIdentity,
    state: OidcSignInState,
    *,
    now: datetime,
) -> User:
    invitation = None
    if not found.member:
        invitation = await _lock_chosen_invitation(session, found.user.email, state, now)
        await lock_organisation(session, invitation.organisation_id)
    if found.new:
        user = found.user
        session.add(user)
        await session.flush()
    else:
        user = await repository.lock_user(session, found.user.id)
    if user.disabled_at is not None:
        raise ForbiddenError(
            "Your account is disabled. Ask an owner of your organisation.", code="account_disabled"
        )
    if invitation is not None:
        invitation.accepted_at = now
        await add_member(session, invitation, user, now)
    if not found.linked:
        await _link(session, found, identity, now)
    if not found.new and (invitation is not None or not found.linked):
        await replace_credentials(people, session, user, None, now)
    await session.flush()
    return user


async def _link(
    session: WriteSession, found: _FoundAccount, identity: VerifiedIdentity, now: datetime
) -> None:
    """Link the subject to an account (ConflictError `account_exists`: the account has another subject)."""
    issuer, subject, user_id = identity.issuer, identity.subject, found.user.id
    others = select(OidcIdentity.user_id).where(OidcIdentity.issuer == issuer)
    if await session.scalar(others.where(OidcIdentity.user_id == user_id)) is not None:
        raise _make_account_exists_error()
    if found.left is not None:
        former = delete(OidcIdentity).where(OidcIdentity.issuer == issuer, OidcIdentity.subject == subject)
        await session.execute(former.where(OidcIdentity.user_id == found.left))
    session.add(OidcIdentity(issuer=issuer, subject=subject, user_id=user_id, created_at=now))
