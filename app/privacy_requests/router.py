"""`/v1/rights-requests`: made by anybody without a key, handled by those who answer for the site."""

from datetime import UTC, datetime
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query, Request
from sqlalchemy.ext.asyncio import AsyncSession

from app.audit.audit_recorder import AccessedSubject, record_access
from app.platform.db.database import WriteSession
from app.platform.http.contract.dependencies import WriteSessionDep
from app.platform.http.contract.etags import PreconditionDep
from app.platform.http.contract.fields import Identifier, collect_sent_fields
from app.platform.http.contract.pagination import Page
from app.platform.http.contract.problems import document_problems
from app.platform.http.contract.sorting import PageRequest
from app.platform.http.contract.strict_body import AnonymousRoute, StrictRoute
from app.platform.identity.principals import Principal, require_scope
from app.platform.kernel.errors import ConflictError
from app.platform.kernel.ids import parse_id
from app.privacy_requests import public_requests, repository, service
from app.privacy_requests.models import RightsRequest
from app.privacy_requests.schemas import (
    RightsAnswer,
    RightsAsk,
    RightsExtension,
    RightsFindings,
    RightsKind,
    RightsRequestChange,
    RightsRequestCreate,
    RightsRequestMade,
    RightsRequestOut,
    RightsState,
    RightsStatus,
)
from app.registry.dependencies import OrganisationFilter

_PREFIX: Final = "/v1/rights-requests"
_TAGS: Final = ["People's rights"]
router: Final = APIRouter(prefix=_PREFIX, tags=[*_TAGS], route_class=StrictRoute)
anonymous_router: Final = APIRouter(prefix=_PREFIX, tags=[*_TAGS], route_class=AnonymousRoute)

_Reader = Annotated[Principal, Depends(require_scope("rights:read", whole=True))]
_Writer = Annotated[Principal, Depends(require_scope("rights:write", whole=True))]


def _host(request: Request) -> str | None:
    return request.client.host if request.client else None


@anonymous_router.post(
    "",
    operation_id="create_rights_request",
    summary="Use a right",
    status_code=201,
    responses=document_problems(400, 404, 413, 415, 422, 429),
)
async def create_rights_request(body: RightsRequestCreate, request: Request) -> RightsRequestMade:
    """Ask what is held, object to it, or have it erased, corrected or restricted. Anybody may, without a key.

    The organisation that answers for the site has to answer within a month. The answer is read with the
    token that is shown here and never again; nobody has to say who they are.
    """
    state = request.app.state
    return await public_requests.submit_request(state.database, body, state.settings, host=_host(request))


@anonymous_router.post(
    "/status",
    operation_id="get_rights_request_status",
    summary="See how far a request is",
    responses=document_problems(400, 404, 413, 415, 422, 429),
)
async def get_rights_request_status(body: RightsAsk, request: Request) -> RightsStatus:
    """What became of a request, and its answer, for who has its token."""
    state = request.app.state
    return await public_requests.read_request_status(
        state.database, body, state.settings, host=_host(request)
    )


@anonymous_router.post(
    "/withdraw",
    operation_id="withdraw_rights_request",
    summary="Withdraw a request",
    responses=document_problems(400, 404, 409, 413, 415, 422, 429),
)
async def withdraw_rights_request(body: RightsAsk, request: Request) -> RightsStatus:
    """End a request that was not answered yet, for who has its token."""
    state = request.app.state
    return await public_requests.withdraw_own_request(
        state.database, body, state.settings, host=_host(request)
    )


async def _record(session: WriteSession, rows: list[RightsRequest]) -> None:
    await record_access(
        session, "rights_request", [AccessedSubject(row.organisation_id, row.id) for row in rows]
    )


async def _get(session: AsyncSession, identifier: str, principal: Principal) -> RightsRequest:
    """One request, locked."""
    return await repository.get_request(
        session, parse_id(identifier, "request"), principal.visible(), lock=True
    )


@router.get(
    "",
    operation_id="list_rights_requests",
    summary="List requests",
    responses=document_problems(401, 403, 422, 503),
)
async def list_rights_requests(
    principal: _Reader,
    session: WriteSessionDep,
    asked: Annotated[PageRequest, Depends(repository.REQUESTS.page_request)],
    *,
    organisation: OrganisationFilter = None,
    site: Annotated[Identifier | None, Query(description="Only those about this site")] = None,
    state: Annotated[RightsState | None, Query(description="Only those in this state")] = None,
    kind: Annotated[RightsKind | None, Query(description="Only of this kind")] = None,
    overdue: Annotated[bool, Query(description="Only those that should have been answered by now")] = False,
) -> Page[RightsRequestOut]:
    """Requests, by default the oldest first. Each reading is recorded."""
    now = datetime.now(UTC)
    rows = await repository.list_requests(
        session,
        principal.visible(),
        asked,
        organisation=organisation,
        site=site,
        state=state,
        kind=kind,
        overdue_at=now if overdue else None,
    )
    page, following = repository.REQUESTS.cut(rows, asked)
    await _record(session, list(page))
    return Page(data=[RightsRequestOut.of(row, now) for row in page], next=following)


@router.get(
    "/{request_id}",
    operation_id="get_rights_request",
    summary="Read a request",
    responses=document_problems(401, 403, 404, 503),
)
async def get_rights_request(
    request_id: str, principal: _Reader, session: WriteSessionDep
) -> RightsRequestOut:
    """One request. Each reading is recorded."""
    row = await repository.get_request(session, parse_id(request_id, "request"), principal.visible())
    await _record(session, [row])
    return RightsRequestOut.of(row, datetime.now(UTC))


@router.get(
    "/{request_id}/findings",
    operation_id="get_rights_request_findings",
    summary="What is held of a request's site and time",
    responses=document_problems(401, 403, 404, 422, 503),
)
async def get_rights_request_findings(
    request_id: str, principal: _Reader, session: WriteSessionDep
) -> RightsFindings:
    """Count what is held of a request's site and time; without a time, of the month before it."""
    row = await repository.get_request(session, parse_id(request_id, "request"), principal.visible())
    await _record(session, [row])
    return await service.count_findings(session, row, datetime.now(UTC))


@router.patch(
    "/{request_id}",
    operation_id="update_rights_request",
    summary="Change a request",
    responses=document_problems(400, 401, 403, 404, 409, 413, 415, 422),
)
async def update_rights_request(
    request_id: str,
    body: RightsRequestChange,
    principal: _Writer,
    session: WriteSessionDep,
    matching: PreconditionDep,
) -> RightsRequestOut:
    """Say that a request is being worked on, or note something. Who made it sees the state, and no note."""
    now = datetime.now(UTC)
    row = await _get(session, request_id, principal)
    matching.check(RightsRequestOut.of(row, now))
    changes = collect_sent_fields(body)
    if "state" in changes:
        service.check_open(row)
    for name, value in changes.items():
        setattr(row, name, value)
    if changes:
        service.record_handler(row, principal, now)
    await session.flush()
    return RightsRequestOut.of(row, now)


@router.post(
    "/{request_id}/extend",
    operation_id="extend_rights_request",
    summary="Take longer for a request",
    responses=document_problems(400, 401, 403, 404, 409, 413, 415, 422),
)
async def extend_rights_request(
    request_id: str,
    body: RightsExtension,
    principal: _Writer,
    session: WriteSessionDep,
    matching: PreconditionDep,
) -> RightsRequestOut:
    """Extend a request's month by two more, once, within that month; who made it is told the reason."""
    now = datetime.now(UTC)
    row = await _get(session, request_id, principal)
    matching.check(RightsRequestOut.of(row, now))
    service.extend_request(row, principal, body.reason, now)
    await session.flush()
    return RightsRequestOut.of(row, now)


@router.post(
    "/{request_id}/answer",
    operation_id="answer_rights_request",
    summary="Answer a request",
    responses=document_problems(400, 401, 403, 404, 409, 413, 415, 422),
)
async def answer_rights_request(
    request_id: str,
    body: RightsAnswer,
    principal: _Writer,
    session: WriteSessionDep,
    matching: PreconditionDep,
) -> RightsRequestOut:
    """Answer a request, for good. What follows from it, such as an erasure, is done elsewhere."""
    now = datetime.now(UTC)
    row = await _get(session, request_id, principal)
    matching.check(RightsRequestOut.of(row, now))
    service.answer_request(row, principal, body, now)
    await session.flush()
    return RightsRequestOut.of(row, now)


@router.delete(
    "/{request_id}",
    operation_id="delete_rights_request",
    summary="Delete a request",
    status_code=204,
    responses=document_problems(401, 403, 404, 409),
)
async def delete_rights_request(
    request_id: str, principal: _Writer, session: WriteSessionDep, matching: PreconditionDep
) -> None:
    """Remove a request that was answered or withdrawn; who made it can read it no more."""
    row = await _get(session, request_id, principal)
    matching.check(RightsRequestOut.of(row, datetime.now(UTC)))
    if row.closed_at is None:
        raise ConflictError("It is open: answer it first.", code="request_open")
    await session.delete(row)
    await session.flush()
