"""Changes and removes members of organisations, and resets their passwords and second factors.

A caller cannot grant a role with scopes that it lacks, nor change a member with such a role. An organisation
always has an owner. A change that affects a person in all their organisations runs with the full tenant
scope, since it must see them all; so the caller's own scope is checked here.
"""

from collections.abc import Callable
from contextlib import nullcontext
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from app.audit.audit_log_queries import find_key_creators
from app.people import repository
from app.people.access_audit_entries import record_members
from app.people.account_mail_queue import queue_account_mail
from app.people.issued_tokens import (
    find_scope_of_members,
    invalidate_issued_tokens,
    lock_issued_invitations,
)
from app.people.member_roles import SCOPES_OF, Role
from app.people.models import Membership, PasswordResetToken, User
from app.people.password_service import RESET_PREFIX, delete_reset_tokens, make_no_password_error
from app.people.schemas import MemberChange
from app.people.second_factor_repository import delete_factors, make_factor_subject
from app.people.sessions import end_sessions
from app.people.settings import SessionSettings
from app.people.sign_in_dependencies import PeopleContext
from app.platform.db.database import Database, WriteSession
from app.platform.http.contract.etags import skip_precondition
from app.platform.http.contract.fields import collect_sent_fields
from app.platform.identity.attempt_limiter import clear_attempts
from app.platform.identity.caller_authentication import ALL_SCOPES, Principal
from app.platform.kernel.errors import ConflictError, ForbiddenError, InvalidError, NotFoundError
from app.platform.kernel.ids import new_id, parse_id
from app.platform.kernel.secret_tokens import generate_key, hash_key
from app.platform.kernel.tenant_scope import TenantScope, run_with_full_scope
from app.registry import box_service
from app.registry.box_service import check_key_has_no_expiry
from app.registry.models import Organisation
from app.registry.organisation_repository import find_organisation

_WHAT: Final = "member"


def check_role_grant(principal: Principal, role: Role) -> None:
    """Refuse to grant a role, or to change its holder, if the caller lacks its scopes (ForbiddenError)."""
    box_service.check_scopes_covered(principal, SCOPES_OF[role])


async def check_member_sites(
    session: WriteSession, principal: Principal, owner: Organisation, role: Role, site_ids: list[UUID] | None
) -> None:
    """Check the sites of a membership.

    Args:
        session: The transaction.
        principal: The caller.
        owner: The organisation of the membership.
        role: The role.
        site_ids: The only sites of the membership; None: all.

    Raises:
        NotFoundError: A site does not belong to the organisation or its clients.
        InvalidError: `owner_of_sites`: the role of an owner cannot be limited to sites.
    """
    if role == "owner" and site_ids is not None:
        raise InvalidError(
            "An owner cannot be limited to sites. Leave `site_ids` out, or choose another role.",
            code="owner_of_sites",
        )
    await box_service.check_key_sites(session, principal, owner, site_ids)


async def get_member(
    session: AsyncSession, identifier: str, visible: TenantScope, *, lock: bool = False
) -> tuple[Membership, User]:
    """Get a member.

    Args:
        session: The session.
        identifier: The membership's id, as in the path.
        visible: The caller's tenant scope.
        lock: Lock the membership and the person until the transaction ends.

    Raises:
        NotFoundError: The member does not exist, or is outside the tenant scope.
    """
    found = await repository.find_member(session, parse_id(identifier, _WHAT), visible, lock=lock)
    if found is None:
        raise NotFoundError(_WHAT, identifier)
    return found


async def _lock_member(
    session: WriteSession, principal: Principal, identifier: str
) -> tuple[Membership, User, Organisation]:
    """Lock a member that the caller may change, and its organisation against other changes of members."""
    membership, _ = await get_member(session, identifier, principal.visible())
    await lock_issued_invitations(session, membership.user_id)
    organisation = await find_organisation(
        session, membership.organisation_id, principal.visible(), lock=True
    )
    if organisation is None:
        raise NotFoundError(_WHAT, identifier)
    membership, user = await get_member(session, identifier, principal.visible(), lock=True)
    check_role_grant(principal, membership.role)
    return membership, user, organisation


async def _check_not_last_owner(session: WriteSession, membership: Membership) -> None:
    """Refuse to remove the last owner (ConflictError `last_owner`)."""
    if membership.role == "owner" and not await repository.count_owners(
        session, membership.organisation_id, but=membership.id
    ):
        raise ConflictError(
            "This is the organisation's last owner. Make another member an owner first.", code="last_owner"
        )


async def _check_all_memberships(session: WriteSession, principal: Principal, user: User) -> None:
    """Refuse a change of the whole account if the caller cannot access all organisations of the person.

    Otherwise one organisation could take over the person's access to another one.

    Raises:
        ConflictError: `member_elsewhere`: the person has an organisation outside the caller's tenant scope.
        ForbiddenError: The person has a role with scopes that the caller lacks.
    """
    memberships = await repository.list_memberships(session, user.id)
    if not all(principal.visible().includes(each.organisation.id) for each in memberships):
        raise ConflictError(
            "This person belongs to other organisations too. Only an administrator of the platform can do "
            "this.",
            code="member_elsewhere",
        )
    for each in memberships:
        check_role_grant(principal, each.membership.role)


async def _set_disabled(
    session: WriteSession, principal: Principal, user: User, *, disabled: bool, now: datetime
) -> None:
    """Disable or enable an account. Its sessions end, and do not come back when it is enabled again."""
    await _check_all_memberships(session, principal, user)
    user.disabled_at = now if disabled else None
    user.updated_at = now
    await end_sessions(session, user.id, now)
    await delete_reset_tokens(session, user.id)
    await invalidate_issued_tokens(session, user.id, now)


def _grants_more(role: Role, site_ids: list[UUID] | None, before: Membership) -> bool:
    """Whether a role and sites allow a member anything that the present ones do not."""
    former, of_sites = SCOPES_OF[before.role], before.site_ids
    wider = of_sites is not None and (site_ids is None or not set(site_ids) <= set(of_sites))
    return wider or (ALL_SCOPES not in former and not set(SCOPES_OF[role]) <= set(former))


async def change_member(
    database: Database,
    principal: Principal,
    identifier: str,
    change: MemberChange,
    now: datetime,
    *,
    check: Callable[[tuple[Membership, User]], None] = skip_precondition,
) -> tuple[Membership, User]:
    """Change a member's role or sites, or disable the person's account.

    Args:
        database: The database.
        principal: The caller.
        identifier: The membership's id.
        change: The fields to change.
        now: The time of the change.
        check: Checks the precondition (`If-Match`) on the locked member.

    Raises:
        NotFoundError: The member or a site does not exist.
        ForbiddenError: A role has scopes that the caller lacks; `outlives_key`: the caller's key expires, and
            the change grants more access.
        ConflictError: `last_owner`, `member_elsewhere`.
        InvalidError: `owner_of_sites`.
    """
    changes = collect_sent_fields(change)
    with run_with_full_scope() if "disabled" in changes else nullcontext():
        async with database.write() as session:
            membership, user, organisation = await _lock_member(session, principal, identifier)
            check((membership, user))
            role: Role = changes.get("role", membership.role)
            site_ids = changes.get("site_ids", membership.site_ids)
            check_role_grant(principal, role)
            await check_member_sites(session, principal, organisation, role, site_ids)
            disabled = changes.get("disabled", user.disabled_at is not None)
            if _grants_more(role, site_ids, membership) or (user.disabled_at is not None and not disabled):
                check_key_has_no_expiry(principal)
            if role != "owner" or disabled:
                await _check_not_last_owner(session, membership)
            if disabled != (user.disabled_at is not None):
                await _set_disabled(session, principal, user, disabled=disabled, now=now)
            # Only owners create tokens for others.
            if membership.role == "owner" != role:
                scope = await find_scope_of_members(session, organisation)
                await invalidate_issued_tokens(session, user.id, now, scope)
            if (role, site_ids) != (membership.role, membership.site_ids):
                membership.role, membership.site_ids, membership.updated_at = role, site_ids, now
            # The response shows the person even if nothing changes.
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
    """Remove a member from an organisation, and end the person's sign-ins and issued tokens there.

    Args:
        database: The database.
        principal: The caller.
        identifier: The membership's id.
        now: The time of the removal.
        check: Checks the precondition (`If-Match`) on the locked member.

    Raises:
        NotFoundError, ForbiddenError, ConflictError: As `change_member`.
    """
    # Row-level security shows sign-ins only to their person.
    with run_with_full_scope():
        async with database.write() as session:
            membership, user, organisation = await _lock_member(session, principal, identifier)
            check((membership, user))
            await _check_not_last_owner(session, membership)
            await end_sessions(session, user.id, now, organisation=organisation.id)
            scope = await find_scope_of_members(session, organisation)
            await invalidate_issued_tokens(session, user.id, now, scope)
            await session.delete(membership)


async def _is_own_account(session: WriteSession, principal: Principal, user: User) -> bool:
    """Whether the caller is the person, or an API key that the person created, perhaps by other keys.

    Otherwise a stolen session could create a key, and do with it what the session may not do.
    """
    if principal.kind == "user":
        return user.id == principal.key_id
    return str(user.id) in await find_key_creators(session, principal.key_id)


async def reset_second_factors(
    people: PeopleContext, principal: Principal, identifier: str, now: datetime
) -> None:
    """Delete the second factors of a member who lost them, and end all their sign-ins.

    Args:
        people: The dependencies of sign-in.
        principal: The caller.
        identifier: The membership's id.
        now: The time.

    Raises:
        NotFoundError: The member does not exist, or has no second factor.
        ForbiddenError: `own_second_factors`, `outlives_key`, or the person has scopes that the caller lacks.
        ConflictError: `member_elsewhere`.
    """
    check_key_has_no_expiry(principal)
    with run_with_full_scope():
        async with people.database.write() as session:
            _, user = await get_member(session, identifier, principal.visible(), lock=True)
            if await _is_own_account(session, principal, user):
                # A stolen session could otherwise remove the factors that protect the account.
                raise ForbiddenError(
                    "Remove your own second factors with `DELETE /v1/me/totp` and "
                    "`DELETE /v1/me/passkeys/{id}`, not by a key of yours.",
                    code="own_second_factors",
                )
            await _check_all_memberships(session, principal, user)
            if user.second_factor_at is None:
                raise NotFoundError("second factor of the member", identifier)
            await delete_factors(session, user)
            queue_account_mail(session, people.installation, user, "factors_removed", now)
            await end_sessions(session, user.id, now)
    # Failed attempts at the lost factors must not lock out the new ones.
    await clear_attempts(people.database, make_factor_subject(user.id))


async def create_reset_token(
    database: Database, principal: Principal, identifier: str, settings: SessionSettings, now: datetime
) -> tuple[str, PasswordResetToken]:
    """Create a token with which a member chooses a new password, and delete earlier ones.

    Args:
        database: The database.
        principal: The caller.
        identifier: The membership's id.
        settings: The lifetime of the token.
        now: The time of creation.

    Returns:
        The only copy of the token, and its row.

    Raises:
        NotFoundError: The member does not exist.
        ForbiddenError: `own_password`, `outlives_key`, or the person has scopes that the caller lacks.
        ConflictError: `member_elsewhere`; `no_password`: the person signs in through the provider.
    """
    check_key_has_no_expiry(principal)
    with run_with_full_scope():
        async with database.write() as session:
            # A concurrent accept of an invitation by this person waits for the lock, and then deletes the
            # token.
            _, user = await get_member(session, identifier, principal.visible(), lock=True)
            if await _is_own_account(session, principal, user):
                # A stolen session could otherwise set a password and last for ever.
                raise ForbiddenError(
                    "Change your own password with `POST /v1/me/password`, not by a key of yours.",
                    code="own_password",
                )
            await _check_all_memberships(session, principal, user)
            if user.password_hash is None and not principal.platform:
                # The person is identified by the provider. With a password the token's creator could sign in.
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
