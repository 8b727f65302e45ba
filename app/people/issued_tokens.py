"""Invalidates the tokens that a person or an API key created for others, once these rights are withdrawn.

Otherwise the creator could keep a token, and come back with it: as the member whose password it resets, or
with another address.
"""

from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, delete, select, update

from app.people.models import Invitation, Membership, PasswordResetToken
from app.platform.db.database import WriteSession
from app.platform.identity.api_keys import resolve_tenant_scope
from app.platform.kernel.tenant_scope import FULL_SCOPE, TenantScope
from app.registry.models import Organisation


def _of_issuer(issuer: UUID) -> ColumnElement[bool]:
    open_ones = Invitation.accepted_at.is_(None) & Invitation.revoked_at.is_(None)
    return open_ones & (Invitation.invited_by == issuer)


async def lock_issued_invitations(session: WriteSession, issuer: UUID) -> None:
    """Lock the unused invitations of a person. Lock them before the organisation, as accepting one does."""
    statement = select(Invitation.id).where(_of_issuer(issuer)).order_by(Invitation.id)
    await session.execute(statement.with_for_update())


async def find_scope_of_members(session: WriteSession, organisation: Organisation) -> TenantScope:
    """Find the tenant scope of an organisation's members: with its clients, and for the platform all."""
    clients = await session.scalars(select(Organisation.id).where(Organisation.parent_id == organisation.id))
    return resolve_tenant_scope(organisation.id, clients, None, platform=organisation.platform)


async def invalidate_issued_tokens(
    session: WriteSession, issuer: UUID, now: datetime, scope: TenantScope = FULL_SCOPE
) -> None:
    """Delete the unused reset tokens that a person or an API key created, and revoke their invitations.

    Args:
        session: The transaction.
        issuer: The person or the key.
        now: The time.
        scope: Only invitations to these organisations, and reset tokens of their members.
    """
    members = select(Membership.user_id).where(*scope.within(Membership.organisation_id))
    await session.execute(
        delete(PasswordResetToken).where(
            PasswordResetToken.created_by == issuer,
            PasswordResetToken.used_at.is_(None),
            PasswordResetToken.user_id.in_(members),
        )
    )
    revoke = update(Invitation).where(_of_issuer(issuer), *scope.within(Invitation.organisation_id))
    await session.execute(revoke.values(revoked_at=now, mail_token=None))
