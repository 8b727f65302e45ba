"""REST for the newest values of boxes."""

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Response

from app.platform.http.contract.dependencies import Reads, json_answer
from app.platform.http.contract.pagination import DEFAULT_LIMIT, Cursor, Limit, Page, cut, encode_cursor
from app.platform.http.contract.problems import documented
from app.platform.identity.principals import Principal, requires
from app.platform.kernel.ids import parse_id
from app.registry import box_repository
from app.timeseries.series import latest_queries
from app.timeseries.series.schemas import Latest

router: Final = APIRouter(prefix="/v1", tags=["Readings"])
Reader = Annotated[Principal, Depends(requires("telemetry:read"))]


@router.get(
    "/boxes/{box}/latest",
    operation_id="get_box_latest",
    summary="Newest values of a box",
    response_model=Latest,
    responses=documented(401, 403, 404),
)
async def get_box_latest(box: str, principal: Reader, session: Reads) -> Response:
    """The newest value of each metric that the box ever sent, by measurement time."""
    found = await box_repository.get_box(session, box, principal.visible())
    return json_answer(await latest_queries.latest_of_box(session, found))


@router.get(
    "/sites/{site_id}/latest",
    operation_id="list_site_latest",
    summary="Newest values of a site's boxes",
    response_model=Page[Latest],
    responses=documented(401, 403, 404, 422),
)
async def list_site_latest(
    site_id: str, principal: Reader, session: Reads, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> Response:
    """The same for each box of a site, in the order of their ids."""
    identifier = parse_id(site_id, "site")
    rows = await latest_queries.latest_of_site(session, identifier, principal.visible(), cursor, limit)
    page, following = cut(rows, limit, lambda row: encode_cursor(latest_queries.SITE_LATEST, row.box))
    return json_answer({"data": [row.written() for row in page], "next": following})
