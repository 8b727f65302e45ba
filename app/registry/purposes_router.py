"""Serves the purposes of one site or of all, and the catalogues of purposes and of types of box events."""

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Path, Query

from app.catalogue.device_event_types import EVENT_TYPES
from app.catalogue.purposes import PURPOSES
from app.platform.http.contract.etags import PreconditionDep
from app.platform.http.contract.fields import Name, collect_sent_fields
from app.platform.http.contract.pagination import Page
from app.platform.http.contract.problems import document_problems
from app.platform.http.contract.session_dependencies import ReadSessionDep, WriteSessionDep
from app.platform.http.contract.sorting import PageRequest
from app.platform.http.contract.strict_body import StrictRoute
from app.platform.identity.caller_authentication import current_principal
from app.platform.kernel.errors import NotFoundError
from app.registry import purpose_service, site_repository
from app.registry.dependencies import OrganisationFilter, SitesReader, SitesWriter
from app.registry.purpose_schemas import (
    CatalogueEventOut,
    DeclaredPurposeOut,
    PurposeEnd,
    PurposeOut,
    SitePurposeChange,
    SitePurposeOut,
    SitePurposeSet,
)
from app.registry.site_purpose_queries import SITE_PURPOSES, DeclaredState, read_declared_purposes

catalogue: Final = APIRouter(prefix="/v1", tags=["Purposes"], dependencies=[Depends(current_principal)])
declared: Final = APIRouter(prefix="/v1/site-purposes", tags=["Purposes"])
router: Final = APIRouter(prefix="/v1/sites/{site_id}/purposes", tags=["Purposes"], route_class=StrictRoute)
PurposePathName = Annotated[str, Path(description="Its name in `GET /v1/purposes`", examples=["noise"])]
_ALL: Final = Page[PurposeOut](data=[PurposeOut.of(each) for each in PURPOSES], next=None)
_TYPES: Final = Page[CatalogueEventOut](data=[CatalogueEventOut.of(each) for each in EVENT_TYPES], next=None)


@catalogue.get("/purposes", summary="List the catalogue of purposes")
async def list_purposes() -> Page[PurposeOut]:
    """List all purposes that a site can declare. Each metric and each event type belongs to one of them."""
    return _ALL


@catalogue.get("/event-catalogue", summary="List the catalogue of event types")
async def list_event_catalogue() -> Page[CatalogueEventOut]:
    """List all accepted event types and their fields. Events of other types are refused."""
    return _TYPES


@declared.get("", summary="List the declared purposes of all sites")
async def list_declared_purposes(
    principal: SitesReader,
    session: ReadSessionDep,
    page_request: Annotated[PageRequest, Depends(SITE_PURPOSES.page_request)],
    *,
    state: Annotated[DeclaredState | None, Query(description="Only in this state")] = None,
    organisation: OrganisationFilter = None,
    q: Annotated[Name | None, Query(description="Part of the name of the site, case-insensitive")] = None,
) -> Page[DeclaredPurposeOut]:
    """List declared purposes with their sites, for example those that wait for an approval."""
    now = await purpose_service.read_database_clock(session)
    rows = await read_declared_purposes(
        session, principal.visible(), page_request, now, state=state, organisation=organisation, search=q
    )
    page, following = SITE_PURPOSES.cut(rows, page_request)
    shown = [DeclaredPurposeOut.of_site(row.Site, row.SitePurpose, now) for row in page]
    return Page(data=shown, next=following)


@router.get("", summary="List a site's purposes")
async def list_site_purposes(
    site_id: str, principal: SitesReader, session: ReadSessionDep
) -> Page[SitePurposeOut]:
    """List all purposes of the catalogue with the site's declarations; others are `not_declared`."""
    site = await site_repository.get_site(session, site_id, principal.visible())
    rows = await purpose_service.read_site_purposes(session, site)
    now = await purpose_service.read_database_clock(session)
    shown = [SitePurposeOut.of(site, each, rows.get(each.name), now) for each in PURPOSES]
    return Page(data=shown, next=None)


@router.get("/{purpose}", summary="Read a site's purpose")
async def get_site_purpose(
    site_id: str, purpose: PurposePathName, principal: SitesReader, session: ReadSessionDep
) -> SitePurposeOut:
    """Read the site's declaration of a purpose, its state, and its missing fields."""
    found = purpose_service.get_purpose(purpose)
    site = await site_repository.get_site(session, site_id, principal.visible())
    row = await purpose_service.find_site_purpose(session, site, found)
    return SitePurposeOut.of(site, found, row, await purpose_service.read_database_clock(session))


@router.put("/{purpose}", summary="Declare a purpose")
async def set_site_purpose(
    site_id: str,
    purpose: PurposePathName,
    body: SitePurposeSet,
    principal: SitesWriter,
    session: WriteSessionDep,
    *,
    matching: PreconditionDep,
) -> SitePurposeOut:
    """Declare a purpose, or replace its declaration.

    Data of a sensitive purpose are refused until a second person approves it. A change of an approved one
    needs a new approval. Without `starts_at`, a sensitive purpose that is declared already retains its start.
    """
    site, found, row = await purpose_service.lock_site_purpose(session, site_id, purpose, principal)
    matching.check(SitePurposeOut.of(site, found, row, await purpose_service.read_database_clock(session)))
    values = body.column_values()
    if found.sensitive and "starts_at" not in body.model_fields_set and row is not None:
        values["starts_at"] = row.starts_at
    row = await purpose_service.declare_purpose(session, site, found, row, values=values, principal=principal)
    return SitePurposeOut.of(site, found, row, await purpose_service.read_database_clock(session))


@router.patch("/{purpose}", summary="Change a purpose")
async def update_site_purpose(
    site_id: str,
    purpose: PurposePathName,
    body: SitePurposeChange,
    principal: SitesWriter,
    session: WriteSessionDep,
    *,
    matching: PreconditionDep,
) -> SitePurposeOut:
    """Change the given fields. A change revokes the approval."""
    site, found, row = await purpose_service.lock_site_purpose(session, site_id, purpose, principal)
    if row is None:
        raise NotFoundError("declared purpose", purpose)
    matching.check(SitePurposeOut.of(site, found, row, await purpose_service.read_database_clock(session)))
    row = await purpose_service.declare_purpose(
        session, site, found, row, values=collect_sent_fields(body), principal=principal
    )
    return SitePurposeOut.of(site, found, row, await purpose_service.read_database_clock(session))


@router.post("/{purpose}/end", summary="End a purpose")
async def end_site_purpose(
    site_id: str,
    purpose: PurposePathName,
    body: PurposeEnd,
    principal: SitesWriter,
    session: WriteSessionDep,
    *,
    matching: PreconditionDep,
) -> SitePurposeOut:
    """End a purpose now or at a future time: from then on its data are refused.

    Stored data stay as long as the site's retention says.
    """
    site, found, row = await purpose_service.lock_site_purpose(session, site_id, purpose, principal)
    if row is None:
        raise NotFoundError("declared purpose", purpose)
    matching.check(SitePurposeOut.of(site, found, row, await purpose_service.read_database_clock(session)))
    await purpose_service.end_purpose(session, row, body.at)
    return SitePurposeOut.of(site, found, row, await purpose_service.read_database_clock(session))


@router.post("/{purpose}/approve", summary="Approve a sensitive purpose")
async def approve_site_purpose(
    site_id: str,
    purpose: PurposePathName,
    principal: SitesWriter,
    session: WriteSessionDep,
    *,
    matching: PreconditionDep,
) -> SitePurposeOut:
    """Approve a purpose that another person declared. Its data are accepted from now on, or from `starts_at`.

    The caller must be a signed-in person with `sites:write` for the whole organisation. Send `If-Match` to
    approve exactly the declaration that you read.
    """
    site, found, row = await purpose_service.lock_site_purpose(session, site_id, purpose, principal)
    if row is None:
        raise NotFoundError("declared purpose", purpose)
    matching.check(SitePurposeOut.of(site, found, row, await purpose_service.read_database_clock(session)))
    await purpose_service.approve_purpose(session, site, found, row, principal)
    return SitePurposeOut.of(site, found, row, await purpose_service.read_database_clock(session))


@router.delete("/{purpose}", summary="End a purpose now", status_code=204, responses=document_problems(409))
async def delete_site_purpose(
    site_id: str,
    purpose: PurposePathName,
    principal: SitesWriter,
    session: WriteSessionDep,
    *,
    matching: PreconditionDep,
) -> None:
    """End a purpose now, as `POST …/end` without a time. The declaration is not deleted."""
    site, found, row = await purpose_service.lock_site_purpose(session, site_id, purpose, principal)
    if row is None:
        raise NotFoundError("declared purpose", purpose)
    matching.check(SitePurposeOut.of(site, found, row, await purpose_service.read_database_clock(session)))
    await purpose_service.end_purpose(session, row, None)
