"""How somebody is invited under an e-mail address, and made a member."""

from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from sqlalchemy import select

from app.people import member_service, repository
from app.people.context import PeopleContext
from app.people.models import Invitation, Membership, User
from app.people.schemas import InvitationCreate, Locale
from app.platform.db.database import WriteSession
from app.platform.identity.principals import Principal
from app.platform.kernel.api_keys import generate_key, hash_key
from app.platform.kernel.errors import ConflictError
from app.platform.kernel.ids import new_id
from app.platform.secrets.sealed_columns import INVITATION_TOKEN
from app.platform.secrets.sealing import SecretSealer
from app.registry import service as sites
from app.registry.models import Organisation
from app.registry.service import check_key_has_no_expiry

INVITATION_PREFIX: Final = "vgi_"


async def invite_member(
    session: WriteSession,
    principal: Principal,
    wanted: InvitationCreate,
    *,
    people: PeopleContext,
    sealer: SecretSealer,
    now: datetime,
) -> tuple[str, Invitation]:
    """Make an invitation; what the address had open in this organisation ends.

    Where there is a mail server, its mail is to be sent, which `app.people.invitation_mailer` does.

    Raises:
        NotFoundError: No such organisation, or site.
        ForbiddenError: A role that may do more than the caller; `outlives_key`: a key that ends.
        ConflictError: `already_member`.
        InvalidError: `owner_of_sites`, `foreign_organisation`.
    """
    member_service.check_role_grant(principal, wanted.role)
    # A person has no end, and can make keys that have none.
    check_key_has_no_expiry(principal)
    organisation = await sites.resolve_organisation(session, principal, wanted.organisation_id)
    await member_service.check_member_sites(session, principal, organisation, wanted.role, wanted.site_ids)
    if await repository.is_member(session, organisation.id, wanted.email):
        raise _already_member()
    for former in await repository.lock_open_invitations(
        session, wanted.email, now, organisation=organisation.id
    ):
        former.revoked_at = now
        former.mail_token = None
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
        language=wanted.language,
    )
    if people.installation.smtp.host is not None and sealer.ready:
        row.mail_status, row.mail_due_at = "pending", now
        row.mail_token = INVITATION_TOKEN.seal(sealer, token, row.id)
    session.add(row)
    await session.flush()
    return token, row


def _already_member() -> ConflictError:
    return ConflictError("Somebody with this address is a member already.", code="already_member")


def make_user(email: str, name: str, password_hash: str | None, now: datetime, locale: Locale = "en") -> User:
    """A person to be."""
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
    """Have whoever else adds or changes members of an organisation wait; before any of them is locked."""
    # What only refers to the organisation does not wait: a sign-in, which holds its person, would do so in a
    # circle.
    wanted = select(Organisation.id).where(Organisation.id == organisation_id)
    await session.execute(wanted.with_for_update(key_share=True))


async def add_member(session: WriteSession, invitation: Invitation, user: User, now: datetime) -> None:
    """Make a person what an invitation says (ConflictError `already_member`).

    What the person could sign in with before has to end in the same transaction: others may have it.
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
