"""REST for many boxes at once, as JSON or as a table."""

from datetime import UTC, datetime
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Request, Response

from app.core.database import Database
from app.core.problems import documented
from app.core.web import get_database
from app.sites import service
from app.sites.box_csv import ANSWER_COLUMNS, EXAMPLE, write_table
from app.sites.box_schemas import BoxCreated, BoxesCreate, BoxesCreated
from app.sites.dependencies import BoxesWriter, sync_accounts
from app.sites.table_route import MEDIA_TYPE, TableRoute, check_table, wants_table

router: Final = APIRouter(prefix="/v1/boxes", tags=["Boxes"], route_class=TableRoute)
Connected = Annotated[Database, Depends(get_database)]
_CREDENTIALS: Final = (
    f"{','.join(ANSWER_COLUMNS)}\r\nbox-0001,01936f3c-6f0a-7c1e-9a51-0d9f3b8e7a10,,box-0001,…\r\n"
)


@router.post(
    "/bulk",
    operation_id="create_boxes",
    summary="Create many boxes",
    status_code=201,
    response_model=BoxesCreated,
    responses={
        **documented(400, 401, 403, 404, 409, 413, 415, 422, 503),
        201: {"content": {MEDIA_TYPE: {"schema": {"type": "string"}, "example": _CREDENTIALS}}},
    },
    openapi_extra={
        "requestBody": {"content": {MEDIA_TYPE: {"schema": {"type": "string"}, "example": EXAMPLE}}}
    },
)
async def create_boxes(
    body: BoxesCreate, request: Request, principal: BoxesWriter, database: Connected
) -> BoxesCreated | Response:
    """Register up to 1,000 boxes: all of them or, if one is faulty, none.

    As JSON, where `errors` names the `index` of each box at fault; or as a table (`text/csv`) with a header,
    where it names the `line`. All faults of a table are in one answer: up to 100 one by one, and the number
    of the others (`errors_omitted`). English, French and German spreadsheets may have written it. With
    `Accept: text/csv` the answer is a table too, with the credentials.
    """
    settings = request.app.state.settings
    async with database.write() as session:
        made = await service.add_boxes(
            session, principal.visible(), body.boxes, settings, datetime.now(UTC), numbered=True
        )
        check_table(request)
    await sync_accounts(request, database)
    boxes = [BoxCreated.with_password(box, password) for box, password in made]
    if not wants_table(request):
        return BoxesCreated(data=boxes)
    headers = {"Cache-Control": "no-store"}
    return Response(
        write_table(boxes), status_code=201, media_type=f"{MEDIA_TYPE}; charset=utf-8", headers=headers
    )
