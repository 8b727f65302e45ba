"""REST for purposes: the catalogues, and what each site has declared, approved and ended."""

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Path

from app.catalogue.device_event_types import EVENT_TYPES
from app.catalogue.purposes import PURPOSES
from app.platform.http.contract.dependencies import Reads, Writes
from app.platform.http.contract.etags import Matching
from app.platform.http.contract.fields import given
from app.platform.http.contract.pagination import Page
from app.platform.http.contract.problems import documented
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
Which = Annotated[str, Path(description="Its name in `GET /v1/purposes`", examples=["noise"])]
_ALL: Final = Page[PurposeOut](data=[PurposeOut.of(each) for each in PURPOSES], next=None)
_TYPES: Final = Page[CatalogueEventOut](data=[CatalogueEventOut.of(each) for each in EVENT_TYPES], next=None)


@catalogue.get(
    "/purposes", operation_id="list_purposes", summary="The catalogue of purposes", responses=documented(401)
)
async def list_purposes() -> Page[PurposeOut]:
    """Every purpose that a site can declare: each metric and each type of events belongs to one of them."""
    return _ALL


@catalogue.get(
    "/event-catalogue",
    operation_id="list_event_catalogue",
    summary="The catalogue of types of events",
    responses=documented(401),
)
async def list_event_catalogue() -> Page[CatalogueEventOut]:
    """Every type of events that is taken, and what each may carry. What is not here is refused."""
    return _TYPES


@router.get(
    "",
    operation_id="list_site_purposes",
    summary="Purposes of a site",
    responses=documented(401, 403, 404),
)
async def list_site_purposes(site_id: str, principal: SitesReader, session: Reads) -> Page[SitePurposeOut]:
    """All purposes of the catalogue, each as the site has declared it, or as `not_declared`."""
    site = await purpose_service.find_site(session, site_id, principal)
    rows = await purpose_service.declared_at(session, site)
    now = await purpose_service.moment(session)
    shown = [SitePurposeOut.of(site, each, rows.get(each.name), now) for each in PURPOSES]
    return Page(data=shown, next=None)


@router.get(
    "/{purpose}",
    operation_id="get_site_purpose",
    summary="A purpose of a site",
    responses=documented(401, 403, 404),
)
async def get_site_purpose(
    site_id: str, purpose: Which, principal: SitesReader, session: Reads
) -> SitePurposeOut:
    """What the site has declared, in which state it is, and what it lacks."""
    found = purpose_service.known(purpose)
    site = await purpose_service.find_site(session, site_id, principal)
    row = await purpose_service.find(session, site, found)
    return SitePurposeOut.of(site, found, row, await purpose_service.moment(session))


@router.put(
    "/{purpose}",
    operation_id="set_site_purpose",
    summary="Declare a purpose",
    responses=documented(400, 401, 403, 404, 413, 415, 422),
)
async def set_site_purpose(
    site_id: str,
    purpose: Which,
    body: SitePurposeSet,
    principal: SitesWriter,
    session: Writes,
    *,
    matching: Matching,
) -> SitePurposeOut:
    """Declare a purpose, or declare it anew in place of all that was said.

    A sensitive one takes no data until it is approved; one that was approved, and says something else now,
    takes none until it is approved anew. Without `starts_at` such a one keeps the time that it has.
    """
    site, found, row = await purpose_service.begin(session, site_id, purpose, principal)
    matching.check(SitePurposeOut.of(site, found, row, await purpose_service.moment(session)))
    words = body.words()
    if found.sensitive and "starts_at" not in body.model_fields_set and row is not None:
        words["starts_at"] = row.starts_at
    row = await purpose_service.declare(session, site, found, row, values=words, principal=principal)
    return SitePurposeOut.of(site, found, row, await purpose_service.moment(session))


@router.patch(
    "/{purpose}",
    operation_id="update_site_purpose",
    summary="Change a purpose",
    responses=documented(400, 401, 403, 404, 413, 415, 422),
)
async def update_site_purpose(
    site_id: str,
    purpose: Which,
    body: SitePurposeChange,
    principal: SitesWriter,
    session: Writes,
    *,
    matching: Matching,
) -> SitePurposeOut:
    """Change the fields that are given. An approval is taken away by it."""
    site, found, row = await purpose_service.begin(session, site_id, purpose, principal)
    if row is None:
        raise NotFoundError("declared purpose", purpose)
    matching.check(SitePurposeOut.of(site, found, row, await purpose_service.moment(session)))
    row = await purpose_service.declare(session, site, found, row, values=given(body), principal=principal)
    return SitePurposeOut.of(site, found, row, await purpose_service.moment(session))


@router.post(
    "/{purpose}/end",
    operation_id="end_site_purpose",
    summary="End a purpose",
    responses=documented(400, 401, 403, 404, 409, 413, 415, 422),
)
async def end_site_purpose(
    site_id: str,
    purpose: Which,
    body: PurposeEnd,
    principal: SitesWriter,
    session: Writes,
    *,
    matching: Matching,
) -> SitePurposeOut:
    """End it now, or at a time to come: from then on its data are refused. What is stored stays.

    How long that stays is the site's retention.
    """
    site, found, row = await purpose_service.begin(session, site_id, purpose, principal)
    if row is None:
        raise NotFoundError("declared purpose", purpose)
    matching.check(SitePurposeOut.of(site, found, row, await purpose_service.moment(session)))
    await purpose_service.end(session, row, body.at)
    return SitePurposeOut.of(site, found, row, await purpose_service.moment(session))


@router.post(
    "/{purpose}/approve",
    operation_id="approve_site_purpose",
    summary="Approve a sensitive purpose",
    responses=documented(401, 403, 404, 409),
)
async def approve_site_purpose(
    site_id: str, purpose: Which, principal: SitesWriter, session: Writes, *, matching: Matching
) -> SitePurposeOut:
    """Approve what another person declared: its data are taken from now on, or from its beginning on.

    For a person who signed in, and may write sites of the whole organisation. Send an `If-Match`: what is
    approved is then what was read.
    """
    site, found, row = await purpose_service.begin(session, site_id, purpose, principal)
    if row is None:
        raise NotFoundError("declared purpose", purpose)
    matching.check(SitePurposeOut.of(site, found, row, await purpose_service.moment(session)))
    await purpose_service.approve(session, site, found, row, principal)
    return SitePurposeOut.of(site, found, row, await purpose_service.moment(session))


@router.delete(
    "/{purpose}",
    operation_id="delete_site_purpose",
    summary="End a purpose now",
    status_code=204,
    responses=documented(401, 403, 404, 409),
)
async def delete_site_purpose(
    site_id: str, purpose: Which, principal: SitesWriter, session: Writes, *, matching: Matching
) -> None:
    """The same as `POST …/end` without a time: what was declared is not forgotten, it ends."""
    site, found, row = await purpose_service.begin(session, site_id, purpose, principal)
    if row is None:
        raise NotFoundError("declared purpose", purpose)
    matching.check(SitePurposeOut.of(site, found, row, await purpose_service.moment(session)))
    await purpose_service.end(session, row, None)
