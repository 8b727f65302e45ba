"""Serves the REST endpoints of an organisation's members, their roles and password resets."""

from datetime import UTC, datetime
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query

from app.people import member_service, repository
from app.people.access_audit_entries import record_members
from app.people.member_roles import Role
from app.people.models import Membership, User
from app.people.schemas import MemberChange, MemberOut, ResetCreated
from app.people.sign_in_dependencies import PeopleDependency
from app.platform.http.contract.etags import PreconditionDep
from app.platform.http.contract.fields import Name
from app.platform.http.contract.pagination import Page
from app.platform.http.contract.problems import document_problems
from app.platform.http.contract.session_dependencies import WriteSessionDep
from app.platform.http.contract.sorting import PageRequest
from app.platform.http.contract.strict_body import StrictRoute
from app.platform.identity.caller_authentication import Principal, require_scope
from app.registry.dependencies import OrganisationFilter

router: Final = APIRouter(prefix="/v1/members", tags=["Members"], route_class=StrictRoute)
MembersReader = Annotated[Principal, Depends(require_scope("members:read"))]
MembersWriter = Annotated[Principal, Depends(require_scope("members:write"))]


def _to_response(member: tuple[Membership, User]) -> MemberOut:
    return MemberOut.of(*member)


@router.get("", summary="List members")
async def list_members(
    principal: MembersReader,
    session: WriteSessionDep,
    page_request: Annotated[PageRequest, Depends(repository.MEMBERS.page_request)],
    *,
    organisation: OrganisationFilter = None,
    role: Annotated[Role | None, Query(description="Only members with this role")] = None,
    q: Annotated[Name | None, Query(description="Part of the name or the address, case-insensitive")] = None,
) -> Page[MemberOut]:
    """List members, by default the oldest first. Integrators see those of their clients too.

    The audit log records each reading.
    """
    rows = await repository.list_members(
        session, principal.visible(), page_request, organisation=organisation, role=role, search=q
    )
    page, following = repository.MEMBERS.cut(rows, page_request)
    await record_members(session, [membership for membership, _ in page])
    return Page(data=[MemberOut.of(*row) for row in page], next=following)


@router.get("/{member_id}", summary="Read a member")
async def get_member(member_id: str, principal: MembersReader, session: WriteSessionDep) -> MemberOut:
    """Read a member. The audit log records each reading."""
    membership, user = await member_service.get_member(session, member_id, principal.visible())
    await record_members(session, [membership])
    return MemberOut.of(membership, user)


@router.patch("/{member_id}", summary="Change a member", responses=document_problems(409))
async def update_member(
    member_id: str,
    body: MemberChange,
    principal: MembersWriter,
    people: PeopleDependency,
    matching: PreconditionDep,
) -> MemberOut:
    """Change a member's role or sites. The change applies from the member's next request on.

    The role cannot have scopes that the caller lacks. The last owner cannot be changed. `disabled` prevents
    the person from signing in to any organisation: the caller needs access to all of the person's
    organisations. Open invitations and tokens for new passwords of a disabled person, or of one who is no
    longer an owner, become invalid.
    """
    return _to_response(
        await member_service.change_member(
            people.database, principal, member_id, body, datetime.now(UTC), check=matching.on(_to_response)
        )
    )


@router.delete("/{member_id}", summary="Remove a member", status_code=204, responses=document_problems(409))
async def remove_member(
    member_id: str, principal: MembersWriter, people: PeopleDependency, matching: PreconditionDep
) -> None:
    """Remove a member from the organisation immediately. The person's sign-ins there end.

    Open invitations and tokens for new passwords that the person created there become invalid.
    A person without any membership is deleted.
    """
    now = datetime.now(UTC)
    await member_service.remove_member(
        people.database, principal, member_id, now, check=matching.on(_to_response)
    )


@router.post(
    "/{member_id}/password-reset",
    summary="Create a password reset token for a member",
    status_code=201,
)
async def create_password_reset(
    member_id: str, principal: MembersWriter, people: PeopleDependency
) -> ResetCreated:
    """Create a token with which the member chooses a new password. The response shows it once: hand it over.

    If the person belongs to several organisations, the caller needs access to all of them. If the person has
    no password, since they sign in through the OpenID Connect provider, only platform administrators can
    create it.
    """
    token, row = await member_service.create_reset_token(
        people.database, principal, member_id, people.settings, datetime.now(UTC)
    )
    return ResetCreated(token=token, link=people.link(token), expires_at=row.expires_at)


@router.delete(
    "/{member_id}/second-factors",
    summary="Remove the second factors of a member",
    status_code=204,
    responses=document_problems(409),
)
async def remove_member_second_factors(
    member_id: str, principal: MembersWriter, people: PeopleDependency
) -> None:
    """Remove the second factors of a member who lost them. All sign-ins of the person end.

    The member then signs in with the password alone, and enrols new factors. If the person belongs to several
    organisations, the caller needs access to all of them (`member_elsewhere`).
    """
    await member_service.reset_second_factors(people, principal, member_id, datetime.now(UTC))
