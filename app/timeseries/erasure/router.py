"""REST for erasures: of a box, and of all boxes of a site."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Final

from fastapi import APIRouter, Depends

from app.platform.http.contract.dependencies import ReadSessionDep, WriteSessionDep
from app.platform.http.contract.pagination import Page
from app.platform.http.contract.problems import document_problems
from app.platform.http.contract.sorting import PageRequest
from app.platform.http.contract.strict_body import StrictRoute
from app.registry.dependencies import SitesReader, SitesWriter
from app.timeseries.erasure import service
from app.timeseries.erasure.models import Erasure
from app.timeseries.erasure.schemas import ErasureCreate, ErasureOut

router: Final = APIRouter(prefix="/v1", route_class=StrictRoute)
_PageRequestDep = Annotated[PageRequest, Depends(service.ERASURES.asked)]


@router.post(
    "/boxes/{box}/erasures",
    operation_id="create_box_erasure",
    summary="Erase what a box measured",
    tags=["Boxes"],
    status_code=202,
    responses=document_problems(400, 401, 403, 404, 409, 413, 415, 422, 429),
)
async def create_box_erasure(
    box: str, body: ErasureCreate, principal: SitesWriter, session: WriteSessionDep
) -> ErasureOut:
    """Erase samples, events, summaries, latest values and what was refused, of a range of time, for good.

    From now on the box's samples and events of that range are refused (`erased_range`). The rest is done
    within minutes: look at it again. Who asked and why, and what was removed, is in the audit log.
    """
    return ErasureOut.of(await service.request_box_erasure(session, principal, box, body, datetime.now(UTC)))


@router.get(
    "/boxes/{box}/erasures",
    operation_id="list_box_erasures",
    summary="List erasures of a box",
    tags=["Boxes"],
    responses=document_problems(401, 403, 404, 422),
)
async def list_box_erasures(
    box: str, principal: SitesReader, session: ReadSessionDep, page_request: _PageRequestDep
) -> Page[ErasureOut]:
    """Erasures that concern the box, those of its whole site among them, by default the newest first."""
    return _page(await service.list_erasures(session, principal, page_request, box=box), page_request)


@router.get(
    "/boxes/{box}/erasures/{erasure_id}",
    operation_id="get_box_erasure",
    summary="Read an erasure of a box",
    tags=["Boxes"],
    responses=document_problems(401, 403, 404),
)
async def get_box_erasure(
    box: str, erasure_id: str, principal: SitesReader, session: ReadSessionDep
) -> ErasureOut:
    """How far it is, and what it removed."""
    return ErasureOut.of(await service.find_erasure(session, principal, erasure_id, box=box))


@router.post(
    "/sites/{site_id}/erasures",
    operation_id="create_site_erasure",
    summary="Erase what the boxes of a site measured",
    tags=["Sites"],
    status_code=202,
    responses=document_problems(400, 401, 403, 404, 409, 413, 415, 422, 429),
)
async def create_site_erasure(
    site_id: str, body: ErasureCreate, principal: SitesWriter, session: WriteSessionDep
) -> ErasureOut:
    """Erase a range of time of all boxes that stand at the site now, as `POST /v1/boxes/{box}/erasures`."""
    return ErasureOut.of(
        await service.request_site_erasure(session, principal, site_id, body, datetime.now(UTC))
    )


@router.get(
    "/sites/{site_id}/erasures",
    operation_id="list_site_erasures",
    summary="List erasures at a site",
    tags=["Sites"],
    responses=document_problems(401, 403, 404, 422),
)
async def list_site_erasures(
    site_id: str, principal: SitesReader, session: ReadSessionDep, page_request: _PageRequestDep
) -> Page[ErasureOut]:
    """Erasures of the site and of its boxes, by default the newest first."""
    return _page(await service.list_erasures(session, principal, page_request, site=site_id), page_request)


@router.get(
    "/sites/{site_id}/erasures/{erasure_id}",
    operation_id="get_site_erasure",
    summary="Read an erasure at a site",
    tags=["Sites"],
    responses=document_problems(401, 403, 404),
)
async def get_site_erasure(
    site_id: str, erasure_id: str, principal: SitesReader, session: ReadSessionDep
) -> ErasureOut:
    """How far it is, and what it removed."""
    return ErasureOut.of(await service.find_erasure(session, principal, erasure_id, site=site_id))


def _page(rows: Sequence[Erasure], page_request: PageRequest) -> Page[ErasureOut]:
    page, following = service.ERASURES.cut(rows, page_request)
    return Page(data=[ErasureOut.of(row) for row in page], next=following)
