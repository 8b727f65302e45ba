"""REST for purposes: the catalogues, and what each site has declared, approved and ended."""

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Path

from app.catalogue.device_event_types import EVENT_TYPES
from app.catalogue.purposes import PURPOSES
from app.platform.http.contract.dependencies import ReadSessionDep, WriteSessionDep
from app.platform.http.contract.etags import PreconditionDep
from app.platform.http.contract.fields import collect_sent_fields
from app.platform.http.contract.pagination import Page
from app.platform.http.contract.problems import document_problems
from app.platform.http.contract.strict_body import StrictRoute
from app.platform.identity.principals import current_principal
from app.platform.kernel.errors import NotFoundError
from app.registry import purpose_service
from app.registry.dependencies import SitesReader, SitesWriter
from app.registry.purpose_schemas import (
    CatalogueEventOut,
    PurposeEnd,
    PurposeOut,
    SitePurposeChange,
    SitePurposeOut,
    SitePurposeSet,
)

catalogue: Final = APIRouter(prefix="/v1", tags=["Purposes"], dependencies=[Depends(current_principal)])
router: Final = APIRouter(prefix="/v1/sites/{site_id}/purposes", tags=["Purposes"], route_class=StrictRoute)
PurposePathName = Annotated[str, Path(description="Its name in `GET /v1/purposes`", examples=["noise"])]
_ALL: Final = Page[PurposeOut](data=[PurposeOut.of(each) for each in PURPOSES], next=None)
_TYPES: Final = Page[CatalogueEventOut](data=[CatalogueEventOut.of(each) for each in EVENT_TYPES], next=None)


@catalogue.get(
    "/purposes",
    operation_id="list_purposes",
    summary="The catalogue of purposes",
    responses=document_problems(401),
)
async def list_purposes() -> Page[PurposeOut]:
    """Every purpose that a site can declare: each metric and each type of events belongs to one of them."""
    return _ALL


@catalogue.get(
    "/event-catalogue",
    operation_id="list_event_catalogue",
    summary="The catalogue of types of events",
    responses=document_problems(401),
)
async def list_event_catalogue() -> Page[CatalogueEventOut]:
    """Every type of events that is taken, and what each may carry. What is not here is refused."""
    return _TYPES


@router.get(
    "",
    operation_id="list_site_purposes",
    summary="Purposes of a site",
    responses=document_problems(401, 403, 404),
)
async def list_site_purposes(
    site_id: str, principal: SitesReader, session: ReadSessionDep
) -> Page[SitePurposeOut]:
    """All purposes of the catalogue, each as the site has declared it, or as `not_declared`."""
    site = await purpose_service.get_site(session, site_id, principal)
    rows = await purpose_service.read_site_purposes(session, site)
    now = await purpose_service.read_database_clock(session)
    shown = [SitePurposeOut.of(site, each, rows.get(each.name), now) for each in PURPOSES]
    return Page(data=shown, next=None)


@router.get(
    "/{purpose}",
    operation_id="get_site_purpose",
    summary="A purpose of a site",
    responses=document_problems(401, 403, 404),
)
async def get_site_purpose(
    site_id: str, purpose: PurposePathName, principal: SitesReader, session: ReadSessionDep
) -> SitePurposeOut:
    """What the site has declared, in which state it is, and what it lacks."""
    found = purpose_service.get_purpose(purpose)
    site = await purpose_service.get_site(session, site_id, principal)
    row = await purpose_service.find_site_purpose(session, site, found)
    return SitePurposeOut.of(site, found, row, await purpose_service.read_database_clock(session))


@router.put(
    "/{purpose}",
    operation_id="set_site_purpose",
    summary="Declare a purpose",
    responses=document_problems(400, 401, 403, 404, 413, 415, 422),
)
async def set_site_purpose(
    site_id: str,
    purpose: PurposePathName,
    body: SitePurposeSet,
    principal: SitesWriter,
    session: WriteSessionDep,
    *,
    matching: PreconditionDep,
) -> SitePurposeOut:
    """Declare a purpose, or declare it anew in place of all that was said.

    A sensitive one takes no data until it is approved; one that was approved, and says something else now,
    takes none until it is approved anew. Without `starts_at` such a one keeps the time that it has.
    """
    site, found, row = await purpose_service.lock_site_purpose(session, site_id, purpose, principal)
    matching.check(SitePurposeOut.of(site, found, row, await purpose_service.read_database_clock(session)))
    words = body.words()
    if found.sensitive and "starts_at" not in body.model_fields_set and row is not None:
        words["starts_at"] = row.starts_at
    row = await purpose_service.declare_purpose(session, site, found, row, values=words, principal=principal)
    return SitePurposeOut.of(site, found, row, await purpose_service.read_database_clock(session))


@router.patch(
    "/{purpose}",
    operation_id="update_site_purpose",
    summary="Change a purpose",
    responses=document_problems(400, 401, 403, 404, 413, 415, 422),
)
async def update_site_purpose(
    site_id: str,
    purpose: PurposePathName,
    body: SitePurposeChange,
    principal: SitesWriter,
    session: WriteSessionDep,
    *,
    matching: PreconditionDep,
) -> SitePurposeOut:
    """Change the fields that are given. An approval is taken away by it."""
    site, found, row = await purpose_service.lock_site_purpose(session, site_id, purpose, principal)
    if row is None:
        raise NotFoundError("declared purpose", purpose)
    matching.check(SitePurposeOut.of(site, found, row, await purpose_service.read_database_clock(session)))
    row = await purpose_service.declare_purpose(
        session, site, found, row, values=collect_sent_fields(body), principal=principal
    )
    return SitePurposeOut.of(site, found, row, await purpose_service.read_database_clock(session))


@router.post(
    "/{purpose}/end",
    operation_id="end_site_purpose",
    summary="End a purpose",
    responses=document_problems(400, 401, 403, 404, 409, 413, 415, 422),
)
async def end_site_purpose(
    site_id: str,
    purpose: PurposePathName,
    body: PurposeEnd,
    principal: SitesWriter,
    session: WriteSessionDep,
    *,
    matching: PreconditionDep,
) -> SitePurposeOut:
    """End it now, or at a time to come: from then on its data are refused. What is stored stays.

    How long that stays is the site's retention.
    """
    site, found, row = await purpose_service.lock_site_purpose(session, site_id, purpose, principal)
    if row is None:
        raise NotFoundError("declared purpose", purpose)
    matching.check(SitePurposeOut.of(site, found, row, await purpose_service.read_database_clock(session)))
    await purpose_service.end_purpose(session, row, body.at)
    return SitePurposeOut.of(site, found, row, await purpose_service.read_database_clock(session))


@router.post(
    "/{purpose}/approve",
    operation_id="approve_site_purpose",
    summary="Approve a sensitive purpose",
    responses=document_problems(401, 403, 404, 409),
)
async def approve_site_purpose(
    site_id: str,
    purpose: PurposePathName,
    principal: SitesWriter,
    session: WriteSessionDep,
    *,
    matching: PreconditionDep,
) -> SitePurposeOut:
    """Approve what another person declared: its data are taken from now on, or from its beginning on.

    For a person who signed in, and may write sites of the whole organisation. Send an `If-Match`: what is
    approved is then what was read.
    """
    site, found, row = await purpose_service.lock_site_purpose(session, site_id, purpose, principal)
    if row is None:
        raise NotFoundError("declared purpose", purpose)
    matching.check(SitePurposeOut.of(site, found, row, await purpose_service.read_database_clock(session)))
    await purpose_service.approve_purpose(session, site, found, row, principal)
    return SitePurposeOut.of(site, found, row, await purpose_service.read_database_clock(session))


@router.delete(
    "/{purpose}",
    operation_id="delete_site_purpose",
    summary="End a purpose now",
    status_code=204,
    responses=document_problems(401, 403, 404, 409),
)
async def delete_site_purpose(
    site_id: str,
    purpose: PurposePathName,
    principal: SitesWriter,
    session: WriteSessionDep,
    *,
    matching: PreconditionDep,
) -> None:
    """The same as `POST …/end` without a time: what was declared is not forgotten, it ends."""
    site, found, row = await purpose_service.lock_site_purpose(session, site_id, purpose, principal)
    if row is None:
        raise NotFoundError("declared purpose", purpose)
    matching.check(SitePurposeOut.of(site, found, row, await purpose_service.read_database_clock(session)))
    await purpose_service.end_purpose(session, row, None)
