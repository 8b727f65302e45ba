"""REST for the newest values of boxes."""

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Response

from app.platform.http.contract.dependencies import ReadSessionDep, make_json_response
from app.platform.http.contract.pagination import DEFAULT_LIMIT, Cursor, Limit, Page, cut_page, encode_cursor
from app.platform.http.contract.problems import document_problems
from app.platform.identity.principals import Principal, require_scope
from app.platform.kernel.ids import parse_id
from app.registry import box_repository
from app.timeseries.series import latest_queries
from app.timeseries.series.schemas import Latest

router: Final = APIRouter(prefix="/v1", tags=["Readings"])
Reader = Annotated[Principal, Depends(require_scope("telemetry:read"))]


@router.get(
    "/boxes/{box}/latest",
    operation_id="get_box_latest",
    summary="Newest values of a box",
    response_model=Latest,
    responses=document_problems(401, 403, 404),
)
async def get_box_latest(box: str, principal: Reader, session: ReadSessionDep) -> Response:
    """The newest value of each metric that the box ever sent, by measurement time."""
    found = await box_repository.get_box(session, box, principal.visible())
    return make_json_response(await latest_queries.read_box_latest(session, found))


@router.get(
    "/sites/{site_id}/latest",
    operation_id="list_site_latest",
    summary="Newest values of a site's boxes",
    response_model=Page[Latest],
    responses=document_problems(401, 403, 404, 422),
)
async def list_site_latest(
    site_id: str,
    principal: Reader,
    session: ReadSessionDep,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Response:
    """The same for each box of a site, in the order of their ids."""
    identifier = parse_id(site_id, "site")
    rows = await latest_queries.read_site_latest(session, identifier, principal.visible(), cursor, limit)
    page, following = cut_page(rows, limit, lambda row: encode_cursor(latest_queries.SITE_LATEST, row.box))
    return make_json_response({"data": [row.written() for row in page], "next": following})
