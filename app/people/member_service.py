"""What happens when members are changed, removed, or get a token for a new password.

Nobody gives a role that may do more than they may themselves, nor changes somebody who has one; and an
organisation keeps an owner. What concerns a person in all their organisations needs the reach of the program,
for these have to be seen: the caller's own reach is checked here.
"""

from collections.abc import Callable
from contextlib import nullcontext
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from app.people import repository
from app.people.audit_notes import record_members
from app.people.member_roles import SCOPES_OF, Role
from app.people.models import Membership, PasswordResetToken, User
from app.people.password_service import RESET_PREFIX, delete_reset_tokens, make_no_password_error
from app.people.schemas import MemberChange
from app.people.sessions import end_sessions
from app.platform.config.sign_in_settings import SessionSettings
from app.platform.db.database import Database, WriteSession
from app.platform.http.contract.etags import skip_precondition
from app.platform.http.contract.fields import collect_sent_fields
from app.platform.identity.principals import ALL_SCOPES, Principal
from app.platform.kernel.api_keys import generate_key, hash_key
from app.platform.kernel.errors import ConflictError, ForbiddenError, InvalidError, NotFoundError
from app.platform.kernel.ids import new_id, parse_id
from app.platform.kernel.tenant_scope import TenantScope, run_with_full_scope
from app.registry import service as sites
from app.registry.models import Organisation
from app.registry.repository import find_organisation
from app.registry.service import check_key_has_no_expiry

_WHAT: Final = "member"


def check_role_grant(principal: Principal, role: Role) -> None:
    """Refuse to give a role, or to touch who has it, that may do what the caller may not (ForbiddenError)."""
    sites.check_scopes_covered(principal, SCOPES_OF[role])


async def check_member_sites(
    session: WriteSession, principal: Principal, owner: Organisation, role: Role, site_ids: list[UUID] | None
) -> None:
    """Refuse sites that are not in the organisation's reach (NotFoundError), and owners of some sites only.

    Raises:
        InvalidError: `owner_of_sites`.
    """
    if role == "owner" and site_ids is not None:
        raise InvalidError(
            "An owner is one of the whole organisation: leave `site_ids` out.", code="owner_of_sites"
        )
    await sites.check_key_sites(session, principal, owner, site_ids)


async def get_member(
    session: AsyncSession, identifier: str, visible: TenantScope, *, lock: bool = False
) -> tuple[Membership, User]:
    """One member (NotFoundError)."""
    found = await repository.find_member(session, parse_id(identifier, _WHAT), visible, lock=lock)
    if found is None:
        raise NotFoundError(_WHAT, identifier)
    return found


async def _to_change(
    session: WriteSession, principal: Principal, identifier: str
) -> tuple[Membership, User, Organisation]:
    """A member whom the caller may change. Whoever else changes members of the organisation waits."""
    membership, _ = await get_member(session, identifier, principal.visible())
    organisation = await find_organisation(
        session, membership.organisation_id, principal.visible(), lock=True
    )
    if organisation is None:
        raise NotFoundError(_WHAT, identifier)
    membership, user = await get_member(session, identifier, principal.visible(), lock=True)
    check_role_grant(principal, membership.role)
    return membership, user, organisation


async def _keep_an_owner(session: WriteSession, membership: Membership) -> None:
    """Refuse to take away the last owner (ConflictError `last_owner`)."""
    if membership.role == "owner" and not await repository.count_owners(
        session, membership.organisation_id, but=membership.id
    ):
        raise ConflictError(
            "This is the organisation's last owner: make somebody else one first.", code="last_owner"
        )


async def _check_all_theirs(session: WriteSession, principal: Principal, user: User) -> None:
    """Refuse what concerns a person everywhere to whoever does not reach all of their organisations.

    Raises:
        ConflictError: `member_elsewhere`: otherwise each of them could take over the person's part in others.
        ForbiddenError: The person may do more somewhere than the caller.
    """
    places = await repository.list_memberships(session, user.id)
    if not all(principal.visible().includes(place.organisation.id) for place in places):
        raise ConflictError(
            "This person belongs to other organisations too: only an administrator of the platform may.",
            code="member_elsewhere",
        )
    for place in places:
        check_role_grant(principal, place.membership.role)


def _is_more(role: Role, site_ids: list[UUID] | None, before: Membership) -> bool:
    """Whether a member may do anything with these that they might not before."""
    former, of_sites = SCOPES_OF[before.role], before.site_ids
    wider = of_sites is not None and (site_ids is None or not set(site_ids) <= set(of_sites))
    return wider or (ALL_SCOPES not in former and not set(SCOPES_OF[role]) <= set(former))


async def change_member(
    database: Database,
    principal: Principal,
    identifier: str,
    wanted: MemberChange,
    now: datetime,
    *,
    check: Callable[[tuple[Membership, User]], None] = skip_precondition,
) -> tuple[Membership, User]:
    """Change what a member that passes a check is, or whether the person may sign in at all.

    Raises:
        NotFoundError: No such member, or site.
        ForbiddenError: A role that may do more than the caller; `outlives_key`: a key that ends, where the
            person may do more by it.
        ConflictError: `last_owner`, `member_elsewhere`.
        InvalidError: `owner_of_sites`.
    """
    changes = collect_sent_fields(wanted)
    with run_with_full_scope() if "disabled" in changes else nullcontext():
        async with database.write() as session:
            membership, user, organisation = await _to_change(session, principal, identifier)
            check((membership, user))
            role: Role = changes.get("role", membership.role)
            site_ids = changes.get("site_ids", membership.site_ids)
            check_role_grant(principal, role)
            await check_member_sites(session, principal, organisation, role, site_ids)
            disabled = changes.get("disabled", user.disabled_at is not None)
            if _is_more(role, site_ids, membership) or (user.disabled_at is not None and not disabled):
                check_key_has_no_expiry(principal)
            if role != "owner" or disabled:
                await _keep_an_owner(session, membership)
            if disabled != (user.disabled_at is not None):
                await _check_all_theirs(session, principal, user)
                user.disabled_at = now if disabled else None
                user.updated_at = now
                # What ends so does not come back when the person may sign in again.
                await end_sessions(session, user.id, now)
                await delete_reset_tokens(session, user.id)
            if (role, site_ids) != (membership.role, membership.site_ids):
                membership.role, membership.site_ids, membership.updated_at = role, site_ids, now
            # Also where nothing changes, the answer shows the person.
            await record_members(session, [membership])
            return membership, user


async def remove_member(
    database: Database,
    principal: Principal,
    identifier: str,
    now: datetime,
    *,
    check: Callable[[tuple[Membership, User]], None] = skip_precondition,
) -> None:
    """Take a member that passes a check out of an organisation, and end their sign-ins there for good.

    Raises:
        NotFoundError, ForbiddenError, ConflictError: As `change_member`.
    """
    # Sign-ins are seen by their person alone.
    with run_with_full_scope():
        async with database.write() as session:
            membership, user, organisation = await _to_change(session, principal, identifier)
            check((membership, user))
            await _keep_an_owner(session, membership)
            await end_sessions(session, user.id, now, organisation=organisation.id)
            await session.delete(membership)


async def create_reset_token(
    database: Database, principal: Principal, identifier: str, settings: SessionSettings, now: datetime
) -> tuple[str, PasswordResetToken]:
    """Make a token with which a member gives themselves a new password; the ones before it end.

    Raises:
        NotFoundError: No such member.
        ForbiddenError: `own_password`, `outlives_key`, or a person who may do more than the caller.
        ConflictError: `member_elsewhere`; `make_no_password_error`, where the person signs in through the
        provider.
    """
    check_key_has_no_expiry(principal)
    with run_with_full_scope():
        async with database.write() as session:
            # Whoever takes this person into another organisation waits, and then ends what is made here.
            _, user = await get_member(session, identifier, principal.visible(), lock=True)
            if principal.kind == "user" and user.id == principal.key_id:
                # Whoever found a token lying about could stay for good.
                raise ForbiddenError(
                    "Change your own password with `POST /v1/me/password`.", code="own_password"
                )
            await _check_all_theirs(session, principal, user)
            if user.password_hash is None and not principal.platform:
                # The provider says who they are. A password would let in whoever made the token.
                raise make_no_password_error()
            await delete_reset_tokens(session, user.id)
            token = generate_key(RESET_PREFIX)
            row = PasswordResetToken(
                id=new_id(),
                user_id=user.id,
                token_hash=hash_key(token),
                created_by=principal.key_id,
                created_at=now,
                expires_at=now + timedelta(seconds=settings.reset_s),
            )
            session.add(row)
            return token, row
