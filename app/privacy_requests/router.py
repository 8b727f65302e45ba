"""Serves `/v1/rights-requests`: anonymous callers submit requests, and the organisation answers them."""

from datetime import UTC, datetime
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query, Request
from sqlalchemy.ext.asyncio import AsyncSession

from app.audit.audit_recorder import AccessedSubject, record_access
from app.platform.db.database import WriteSession
from app.platform.http.contract.etags import PreconditionDep
from app.platform.http.contract.fields import Identifier, collect_sent_fields
from app.platform.http.contract.pagination import Page
from app.platform.http.contract.problems import document_problems
from app.platform.http.contract.session_dependencies import DatabaseDependency, WriteSessionDep
from app.platform.http.contract.sorting import PageRequest
from app.platform.http.contract.strict_body import AnonymousRoute, StrictRoute
from app.platform.identity.caller_authentication import Principal, require_scope
from app.platform.kernel.errors import ConflictError
from app.platform.kernel.ids import parse_id
from app.privacy_requests import public_requests, request_queries, service
from app.privacy_requests.models import RightsRequest
from app.privacy_requests.public_requests import RightsSettingsDependency
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


@anonymous_router.post("", summary="Use a right", status_code=201, responses=document_problems(404))
async def create_rights_request(
    body: RightsRequestCreate,
    request: Request,
    database: DatabaseDependency,
    settings: RightsSettingsDependency,
) -> RightsRequestMade:
    """Ask for access to data, object to their processing, or have them erased, corrected or restricted.

    No API key is needed, and you need not say who you are. The organisation of the site has to answer within
    a month. Store the token of the response: you need it to read the answer, and it is not shown again.
    """
    host = public_requests.get_client_host(request)
    return await public_requests.submit_request(database, body, settings, host=host)


@anonymous_router.post(
    "/status",
    summary="Read the status of your request",
    responses=document_problems(404),
)
async def get_rights_request_status(
    body: RightsAsk, request: Request, database: DatabaseDependency, settings: RightsSettingsDependency
) -> RightsStatus:
    """Return the status and the answer of a request. The token of the request is required."""
    host = public_requests.get_client_host(request)
    return await public_requests.read_request_status(database, body, settings, host=host)


@anonymous_router.post("/withdraw", summary="Withdraw a request", responses=document_problems(404, 409))
async def withdraw_rights_request(
    body: RightsAsk, request: Request, database: DatabaseDependency, settings: RightsSettingsDependency
) -> RightsStatus:
    """Withdraw a request that has no answer yet. The token of the request is required."""
    host = public_requests.get_client_host(request)
    return await public_requests.withdraw_own_request(database, body, settings, host=host)


async def _record(session: WriteSession, rows: list[RightsRequest]) -> None:
    await record_access(
        session, "rights_request", [AccessedSubject(row.organisation_id, row.id) for row in rows]
    )


async def _get(session: AsyncSession, identifier: str, principal: Principal) -> RightsRequest:
    """Return a request, locked for an update."""
    return await request_queries.get_request(
        session, parse_id(identifier, "request"), principal.visible(), lock=True
    )


@router.get("", summary="List requests")
async def list_rights_requests(
    principal: _Reader,
    session: WriteSessionDep,
    page_request: Annotated[PageRequest, Depends(request_queries.REQUESTS.page_request)],
    *,
    organisation: OrganisationFilter = None,
    site: Annotated[Identifier | None, Query(description="Only requests about this site.")] = None,
    state: Annotated[RightsState | None, Query(description="Only requests in this state.")] = None,
    kind: Annotated[RightsKind | None, Query(description="Only requests of this kind.")] = None,
    overdue: Annotated[bool, Query(description="Only open requests past their deadline.")] = False,
) -> Page[RightsRequestOut]:
    """List requests, by default the oldest first. The audit log records each access."""
    now = datetime.now(UTC)
    rows = await request_queries.list_requests(
        session,
        principal.visible(),
        page_request,
        organisation=organisation,
        site=site,
        state=state,
        kind=kind,
        overdue_at=now if overdue else None,
    )
    page, following = request_queries.REQUESTS.cut(rows, page_request)
    await _record(session, list(page))
    return Page(data=[RightsRequestOut.of(row, now) for row in page], next=following)


@router.get("/{request_id}", summary="Read a request")
async def get_rights_request(
    request_id: str, principal: _Reader, session: WriteSessionDep
) -> RightsRequestOut:
    """Return a request. The audit log records each access."""
    row = await request_queries.get_request(session, parse_id(request_id, "request"), principal.visible())
    await _record(session, [row])
    return RightsRequestOut.of(row, datetime.now(UTC))


@router.get("/{request_id}/findings", summary="Count the data that a request is about")
async def get_rights_request_findings(
    request_id: str, principal: _Reader, session: WriteSessionDep
) -> RightsFindings:
    """Count the stored data of the request's site and period.

    Without a period, the 31 days before the request are counted. The audit log records each access.
    """
    row = await request_queries.get_request(session, parse_id(request_id, "request"), principal.visible())
    await _record(session, [row])
    return await service.count_findings(session, row, datetime.now(UTC))


@router.patch("/{request_id}", summary="Change a request", responses=document_problems(409))
async def update_rights_request(
    request_id: str,
    body: RightsRequestChange,
    principal: _Writer,
    session: WriteSessionDep,
    matching: PreconditionDep,
) -> RightsRequestOut:
    """Change the state of an open request, or its internal note. The requester sees the state only."""
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


@router.post("/{request_id}/extend", summary="Extend the deadline of a request")
async def extend_rights_request(
    request_id: str,
    body: RightsExtension,
    principal: _Writer,
    session: WriteSessionDep,
    matching: PreconditionDep,
) -> RightsRequestOut:
    """Extend the deadline by two months. This is possible once, before the deadline.

    The requester sees the reason (GDPR, Article 12(3)).
    """
    now = datetime.now(UTC)
    row = await _get(session, request_id, principal)
    matching.check(RightsRequestOut.of(row, now))
    service.extend_request(row, principal, body.reason, now)
    await session.flush()
    return RightsRequestOut.of(row, now)


@router.post("/{request_id}/answer", summary="Answer a request")
async def answer_rights_request(
    request_id: str,
    body: RightsAnswer,
    principal: _Writer,
    session: WriteSessionDep,
    matching: PreconditionDep,
) -> RightsRequestOut:
    """Answer a request. The answer is final.

    It does not start an erasure or a correction: use the other endpoints for these.
    """
    now = datetime.now(UTC)
    row = await _get(session, request_id, principal)
    matching.check(RightsRequestOut.of(row, now))
    service.answer_request(row, principal, body, now)
    await session.flush()
    return RightsRequestOut.of(row, now)


@router.delete(
    "/{request_id}",
    summary="Delete a request",
    status_code=204,
    responses=document_problems(409),
)
async def delete_rights_request(
    request_id: str, principal: _Writer, session: WriteSessionDep, matching: PreconditionDep
) -> None:
    """Delete a request that was answered or withdrawn. The requester can no longer read it."""
    row = await _get(session, request_id, principal)
    matching.check(RightsRequestOut.of(row, datetime.now(UTC)))
    if row.closed_at is None:
        raise ConflictError("The request is open. Answer it before you delete it.", code="request_open")
    await session.delete(row)
    await session.flush()
