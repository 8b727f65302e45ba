"""Creates invitations for e-mail addresses, and adds the members that accept them."""

from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from sqlalchemy import select

from app.people import member_service, repository
from app.people.models import Invitation, Membership, User
from app.people.schemas import InvitationCreate, Locale
from app.people.sign_in_dependencies import PeopleContext
from app.platform.db.database import WriteSession
from app.platform.identity.caller_authentication import Principal
from app.platform.kernel.errors import ConflictError
from app.platform.kernel.ids import new_id
from app.platform.kernel.secret_tokens import generate_key, hash_key
from app.platform.secrets.sealed_columns import INVITATION_TOKEN
from app.platform.secrets.sealing import SecretSealer
from app.registry.box_service import check_key_has_no_expiry, resolve_organisation
from app.registry.models import Organisation

INVITATION_PREFIX: Final = "vgi_"


async def invite_member(
    session: WriteSession,
    principal: Principal,
    new_invitation: InvitationCreate,
    *,
    people: PeopleContext,
    sealer: SecretSealer,
    now: datetime,
) -> tuple[str, Invitation]:
    """Create an invitation, and revoke earlier open ones of the address in this organisation.

    If there is a mail server, the mail is due now, and `app.people.invitation_mailer` sends it.

    Args:
        session: The transaction.
        principal: The caller.
        new_invitation: The invitation.
        people: The dependencies of sign-in.
        sealer: Encrypts the token for the mailer.
        now: The time of creation.

    Returns:
        The only copy of the token, and the invitation.

    Raises:
        NotFoundError: The organisation or a site does not exist.
        ForbiddenError: The role has scopes that the caller lacks; `outlives_key`: the caller's key expires.
        ConflictError: `already_member`.
        InvalidError: `owner_of_sites`, `foreign_organisation`.
    """
    member_service.check_role_grant(principal, new_invitation.role)
    # A membership has no expiry, and the member can create keys without one.
    check_key_has_no_expiry(principal)
    organisation = await resolve_organisation(session, principal, new_invitation.organisation_id)
    await member_service.check_member_sites(
        session, principal, organisation, new_invitation.role, new_invitation.site_ids
    )
    if await repository.is_member(session, organisation.id, new_invitation.email):
        raise _already_member()
    for former in await repository.lock_open_invitations(
        session, new_invitation.email, now, organisation=organisation.id
    ):
        former.revoked_at = now
        former.mail_token = None
    token = generate_key(INVITATION_PREFIX)
    row = Invitation(
        id=new_id(),
        organisation_id=organisation.id,
        email=new_invitation.email,
        role=new_invitation.role,
        site_ids=new_invitation.site_ids,
        token_hash=hash_key(token),
        invited_by=principal.key_id,
        invited_by_name=principal.name,
        created_at=now,
        expires_at=now + timedelta(seconds=people.settings.invitation_s),
        language=new_invitation.language,
    )
    if people.installation.smtp.host is not None and sealer.ready:
        row.mail_status, row.mail_due_at = "pending", now
        row.mail_token = INVITATION_TOKEN.seal(sealer, token, row.id)
    session.add(row)
    await session.flush()
    return token, row


def _already_member() -> ConflictError:
    return ConflictError("A person with this address is a member already.", code="already_member")


def make_user(email: str, name: str, password_hash: str | None, now: datetime, locale: Locale = "en") -> User:
    """Build a new person, which the caller stores.

    Args:
        email: The address, in lower case.
        name: The name.
        password_hash: The hash of the password; None: no password.
        now: The time of creation.
        locale: The language.
    """
    return User(
        id=new_id(),
        email=email,
        name=name,
        locale=locale,
        password_hash=password_hash,
        created_at=now,
        updated_at=now,
    )


async def lock_organisation(session: WriteSession, organisation_id: UUID) -> None:
    """Lock an organisation against concurrent changes of its members. Lock it before its members."""
    # Inserts of rows that refer to it do not wait: a sign-in, which has locked its person, would deadlock.
    statement = select(Organisation.id).where(Organisation.id == organisation_id)
    await session.execute(statement.with_for_update(key_share=True))


async def add_member(session: WriteSession, invitation: Invitation, user: User, now: datetime) -> None:
    """Add the membership of an invitation. The caller ends earlier credentials in the same transaction.

    Args:
        session: The transaction, which has locked the organisation.
        invitation: The invitation.
        user: The person, locked or new.
        now: The time.

    Raises:
        ConflictError: `already_member`.
    """
    if await repository.is_member(session, invitation.organisation_id, user.email):
        raise _already_member()
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
