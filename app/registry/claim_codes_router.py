"""Serves the REST endpoints of claims: codes with which an installer registers boxes without an API key."""

from datetime import UTC, datetime
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query, Request
from sqlalchemy.ext.asyncio import AsyncSession

from app.platform.http.contract.etags import PreconditionDep
from app.platform.http.contract.fields import Identifier, collect_sent_fields
from app.platform.http.contract.pagination import Page
from app.platform.http.contract.problems import document_problems
from app.platform.http.contract.session_dependencies import (
    DatabaseDependency,
    ReadSessionDep,
    WriteSessionDep,
)
from app.platform.http.contract.sorting import PageRequest
from app.platform.http.contract.strict_body import AnonymousRoute, StrictRoute
from app.platform.kernel.errors import InvalidError, NotFoundError
from app.platform.kernel.ids import parse_id
from app.platform.kernel.tenant_scope import TenantScope
from app.registry import enrolment_repository, enrolment_service
from app.registry.box_schemas import BoxCreated
from app.registry.box_service import check_expiry_within_key
from app.registry.dependencies import (
    EnrolmentDependency,
    NameFilter,
    NewBoxLimitsDependency,
    OrganisationFilter,
    SitesReader,
    SitesWriter,
    sync_broker_accounts,
)
from app.registry.enrolment_schemas import (
    CLAIM_LONGEST,
    ClaimChange,
    ClaimCreate,
    ClaimCreated,
    ClaimOut,
    ClaimState,
    Redemption,
)
from app.registry.models import Claim

router: Final = APIRouter(prefix="/v1/claims", tags=["Enrolment"], route_class=StrictRoute)
_PageQuery = Annotated[PageRequest, Depends(enrolment_repository.CLAIMS.page_request)]
anonymous_router: Final = APIRouter(prefix="/v1/claims", tags=["Enrolment"], route_class=AnonymousRoute)


async def _get(session: AsyncSession, identifier: str, visible: TenantScope, *, lock: bool = False) -> Claim:
    row = await enrolment_repository.find_claim(session, parse_id(identifier, "claim"), visible, lock=lock)
    if row is None:
        raise NotFoundError("claim", identifier)
    return row


@router.post("", summary="Create a claim code", status_code=201, responses=document_problems(404))
async def create_claim(body: ClaimCreate, principal: SitesWriter, session: WriteSessionDep) -> ClaimCreated:
    """Create a claim code for an installer. The response shows the code once: hand it on."""
    now = datetime.now(UTC)
    row, code = await enrolment_service.make_claim(session, principal, body, now)
    return ClaimCreated(**ClaimOut.of(row, now).model_dump(), code=code)


@anonymous_router.post(
    "/redeem",
    summary="Register a box with a claim code",
    status_code=201,
    responses=document_problems(404, 409),
)
async def redeem_claim(
    body: Redemption,
    request: Request,
    database: DatabaseDependency,
    settings: EnrolmentDependency,
    limits: NewBoxLimitsDependency,
) -> BoxCreated:
    """Register a box at the claim's site. The code replaces an API key.

    The response shows the box's credentials once: store them. They work immediately. Attempts are limited by
    address and by code: after 429, wait for `Retry-After`.
    """
    host = request.client.host if request.client else None
    created = await enrolment_service.redeem_claim(
        database, body, settings, limits, host=host, now=datetime.now(UTC)
    )
    await sync_broker_accounts(request, database)
    return BoxCreated.with_password(created.box, created.password)


@router.get("", summary="List claims")
async def list_claims(
    principal: SitesReader,
    session: ReadSessionDep,
    page_request: _PageQuery,
    *,
    organisation: OrganisationFilter = None,
    site: Annotated[Identifier | None, Query(description="Only for this site")] = None,
    state: Annotated[ClaimState | None, Query(description="Only claims in this state")] = None,
    q: NameFilter = None,
) -> Page[ClaimOut]:
    """List claims, by default the oldest first. `hint` shows how a code begins; the code is never shown."""
    now = datetime.now(UTC)
    rows = await enrolment_repository.list_claims(
        session,
        principal.visible(),
        page_request,
        organisation=organisation,
        site=site,
        state=state,
        search=q,
        now=now,
    )
    page, following = enrolment_repository.CLAIMS.cut(rows, page_request)
    return Page(data=[ClaimOut.of(row, now) for row in page], next=following)


@router.get("/{claim_id}", summary="Read a claim")
async def get_claim(claim_id: str, principal: SitesReader, session: ReadSessionDep) -> ClaimOut:
    """Read a claim. Its code is never shown."""
    return ClaimOut.of(await _get(session, claim_id, principal.visible()), datetime.now(UTC))


@router.patch("/{claim_id}", summary="Change a claim")
async def update_claim(
    claim_id: str,
    body: ClaimChange,
    principal: SitesWriter,
    session: WriteSessionDep,
    matching: PreconditionDep,
) -> ClaimOut:
    """Change the name or the expiry of a claim. It can expire at most 90 days from now."""
    now = datetime.now(UTC)
    row = await _get(session, claim_id, principal.visible(), lock=True)
    matching.check(ClaimOut.of(row, now))
    changes = collect_sent_fields(body)
    if "expires_at" in changes and changes["expires_at"] <= now:
        raise InvalidError("`expires_at` is in the past. To end a claim, delete it.", code="expired")
    if "expires_at" in changes and changes["expires_at"] > now + CLAIM_LONGEST:
        raise InvalidError("`expires_at` is more than 90 days ahead.", code="invalid_duration")
    if "expires_at" in changes:
        check_expiry_within_key(principal, None, changes["expires_at"])
    for name, value in changes.items():
        setattr(row, name, value)
    await session.flush()
    return ClaimOut.of(row, now)


@router.delete("/{claim_id}", summary="Revoke a claim", status_code=204)
async def revoke_claim(
    claim_id: str, principal: SitesWriter, session: WriteSessionDep, matching: PreconditionDep
) -> None:
    """Revoke a claim: its code registers no more boxes. Boxes that it registered are not affected."""
    row = await _get(session, claim_id, principal.visible(), lock=True)
    now = datetime.now(UTC)
    matching.check(ClaimOut.of(row, now))
    row.revoked_at = row.revoked_at or now
