"""Serves the REST endpoints that erase stored data of a box, or of all boxes of a site."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Final

from fastapi import APIRouter, Depends

from app.platform.http.contract.pagination import Page
from app.platform.http.contract.session_dependencies import ReadSessionDep, WriteSessionDep
from app.platform.http.contract.sorting import PageRequest
from app.platform.http.contract.strict_body import StrictRoute
from app.registry.dependencies import SitesReader, SitesWriter
from app.timeseries.erasure import erasure_requests
from app.timeseries.erasure.models import Erasure
from app.timeseries.erasure.schemas import ErasureCreate, ErasureOut

router: Final = APIRouter(prefix="/v1", route_class=StrictRoute)
_PageRequestDep = Annotated[PageRequest, Depends(erasure_requests.ERASURES.page_request)]


@router.post("/boxes/{box}/erasures", summary="Erase data of a box", tags=["Boxes"], status_code=202)
async def create_box_erasure(
    box: str, body: ErasureCreate, principal: SitesWriter, session: WriteSessionDep
) -> ErasureOut:
    """Erase samples, events, roll-ups, latest values and quarantined messages of a time range for good.

    New samples and events of that range are refused from now on (`erased_range`). The erasure itself takes
    minutes: read it again to see its progress. The audit log records the request, its reason and the counts.
    """
    return ErasureOut.of(
        await erasure_requests.request_box_erasure(session, principal, box, body, datetime.now(UTC))
    )


@router.get("/boxes/{box}/erasures", summary="List erasures of a box", tags=["Boxes"])
async def list_box_erasures(
    box: str, principal: SitesReader, session: ReadSessionDep, page_request: _PageRequestDep
) -> Page[ErasureOut]:
    """List erasures of the box, including those of its whole site, by default the newest first."""
    return _page(
        await erasure_requests.list_erasures(session, principal, page_request, box=box), page_request
    )


@router.get("/boxes/{box}/erasures/{erasure_id}", summary="Read an erasure of a box", tags=["Boxes"])
async def get_box_erasure(
    box: str, erasure_id: str, principal: SitesReader, session: ReadSessionDep
) -> ErasureOut:
    """Read the progress of an erasure and the number of removed rows."""
    return ErasureOut.of(await erasure_requests.find_erasure(session, principal, erasure_id, box=box))


@router.post(
    "/sites/{site_id}/erasures",
    summary="Erase data of a site's boxes",
    tags=["Sites"],
    status_code=202,
)
async def create_site_erasure(
    site_id: str, body: ErasureCreate, principal: SitesWriter, session: WriteSessionDep
) -> ErasureOut:
    """Erase a time range of all boxes that are at the site now. See `POST /v1/boxes/{box}/erasures`."""
    return ErasureOut.of(
        await erasure_requests.request_site_erasure(session, principal, site_id, body, datetime.now(UTC))
    )


@router.get("/sites/{site_id}/erasures", summary="List erasures at a site", tags=["Sites"])
async def list_site_erasures(
    site_id: str, principal: SitesReader, session: ReadSessionDep, page_request: _PageRequestDep
) -> Page[ErasureOut]:
    """List erasures of the site and of its boxes, by default the newest first."""
    return _page(
        await erasure_requests.list_erasures(session, principal, page_request, site=site_id), page_request
    )


@router.get("/sites/{site_id}/erasures/{erasure_id}", summary="Read an erasure at a site", tags=["Sites"])
async def get_site_erasure(
    site_id: str, erasure_id: str, principal: SitesReader, session: ReadSessionDep
) -> ErasureOut:
    """Read the progress of an erasure and the number of removed rows."""
    return ErasureOut.of(await erasure_requests.find_erasure(session, principal, erasure_id, site=site_id))


def _page(rows: Sequence[Erasure], page_request: PageRequest) -> Page[ErasureOut]:
    page, following = erasure_requests.ERASURES.cut(rows, page_request)
    return Page(data=[ErasureOut.of(row) for row in page], next=following)
