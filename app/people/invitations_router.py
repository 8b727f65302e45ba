"""Serves the REST endpoints of invitations. They are accepted by their token, without an API key."""

from datetime import UTC, datetime
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query, Request
from sqlalchemy.ext.asyncio import AsyncSession

from app.people import invitation_acceptance, invitation_service, repository
from app.people.access_audit_entries import record_invitations
from app.people.members_router import MembersReader, MembersWriter
from app.people.models import Invitation
from app.people.repository import InvitationState
from app.people.schemas import (
    InvitationAccept,
    InvitationCreate,
    InvitationCreated,
    InvitationOut,
    SessionCreated,
)
from app.people.sessions import ClientInfo
from app.people.sign_in_dependencies import PeopleDependency
from app.platform.http.contract.etags import PreconditionDep
from app.platform.http.contract.fields import Name
from app.platform.http.contract.pagination import Page
from app.platform.http.contract.problems import document_problems
from app.platform.http.contract.session_dependencies import SealerDependency, WriteSessionDep
from app.platform.http.contract.sorting import PageRequest
from app.platform.http.contract.strict_body import AnonymousRoute, StrictRoute
from app.platform.identity.caller_authentication import CallerAuthenticator, bearer
from app.platform.kernel.application_resources import get_resource
from app.platform.kernel.errors import ConflictError, NotFoundError
from app.platform.kernel.ids import parse_id
from app.platform.kernel.tenant_scope import TenantScope
from app.registry.dependencies import OrganisationFilter

router: Final = APIRouter(prefix="/v1/invitations", tags=["Members"], route_class=StrictRoute)
anonymous_router: Final = APIRouter(prefix="/v1/invitations", tags=["Members"], route_class=AnonymousRoute)


async def _get(
    session: AsyncSession, identifier: str, visible: TenantScope, *, lock: bool = False
) -> Invitation:
    row = await repository.find_invitation(session, parse_id(identifier, "invitation"), visible, lock=lock)
    if row is None:
        raise NotFoundError("invitation", identifier)
    return row


@router.post("", summary="Invite a person", status_code=201, responses=document_problems(404))
async def create_invitation(
    body: InvitationCreate,
    principal: MembersWriter,
    session: WriteSessionDep,
    people: PeopleDependency,
    sealer: SealerDependency,
) -> InvitationCreated:
    """Invite an e-mail address. The role cannot have scopes that the caller lacks.

    If there is a mail server, the link is mailed to the address, in `language`; `mail_status` shows the
    outcome. The response shows the token once. Anyone who has it can become the member: if no mail is sent,
    hand it over so that only the person reads it. A new invitation revokes an earlier one of the same
    address.
    """
    now = datetime.now(UTC)
    token, row = await invitation_service.invite_member(
        session, principal, body, people=people, sealer=sealer, now=now
    )
    return InvitationCreated.of(row, now, token=token, link=people.link(token))


@anonymous_router.post(
    "/accept",
    summary="Accept an invitation",
    status_code=201,
    responses=document_problems(401, 403, 409),
)
async def accept_invitation(
    body: InvitationAccept,
    request: Request,
    people: PeopleDependency,
) -> SessionCreated:
    """Become a member, and sign in to the organisation.

    - To create an account, give `name` and `password`. It is separate from an account with the same address.
    - To use an existing account with this address, give its `current_password` and a new `password`, without
      `name`. If it has a second factor, add `totp` or `recovery_code`. All other sign-ins and all second
      factors of the account end.
    - If you sign in through the OpenID Connect provider, call with the token of a sign-in, without name and
      password.

    Attempts are limited as in `POST /v1/sessions`.
    """
    now = datetime.now(UTC)
    caller = None
    # Not a dependency: the token is optional, and the OpenAPI document shows no authentication.
    if (credentials := await bearer(request)) is not None:
        authenticator = get_resource(request.app, CallerAuthenticator)
        caller = await authenticator.authenticate(credentials.credentials, now)
    return await invitation_acceptance.accept_open_invitation(
        people, body, caller, ClientInfo.of(request), now
    )


@router.get("", summary="List invitations")
async def list_invitations(
    principal: MembersReader,
    session: WriteSessionDep,
    page_request: Annotated[PageRequest, Depends(repository.INVITATIONS.page_request)],
    *,
    organisation: OrganisationFilter = None,
    state: Annotated[InvitationState | None, Query(description="Only invitations in this state")] = None,
    q: Annotated[Name | None, Query(description="Part of the address, case-insensitive")] = None,
) -> Page[InvitationOut]:
    """List invitations without tokens, by default the oldest first. The audit log records each reading."""
    now = datetime.now(UTC)
    rows = await repository.list_invitations(
        session, principal.visible(), page_request, organisation=organisation, state=state, search=q, now=now
    )
    page, following = repository.INVITATIONS.cut(rows, page_request)
    await record_invitations(session, page)
    return Page(data=[InvitationOut.of(row, now) for row in page], next=following)


@router.get("/{invitation_id}", summary="Read an invitation")
async def get_invitation(
    invitation_id: str, principal: MembersReader, session: WriteSessionDep
) -> InvitationOut:
    """Read an invitation without its token. The audit log records each reading."""
    row = await _get(session, invitation_id, principal.visible())
    await record_invitations(session, [row])
    return InvitationOut.of(row, datetime.now(UTC))


@router.delete(
    "/{invitation_id}",
    summary="Revoke an invitation",
    status_code=204,
    responses=document_problems(409),
)
async def revoke_invitation(
    invitation_id: str, principal: MembersWriter, session: WriteSessionDep, matching: PreconditionDep
) -> None:
    """Revoke an invitation: it can no longer be accepted. The list shows it for thirty more days."""
    row = await _get(session, invitation_id, principal.visible(), lock=True)
    now = datetime.now(UTC)
    matching.check(InvitationOut.of(row, now))
    if row.accepted_at is not None:
        raise ConflictError(
            "The invitation was accepted already. Remove the member instead.", code="invitation_accepted"
        )
    row.revoked_at = row.revoked_at or now
    row.mail_token = None
