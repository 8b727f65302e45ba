"""Serves the REST endpoints that create many boxes, from JSON or CSV, and that change many boxes."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Final

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse

from app.platform.config.api_settings import ApiSettings
from app.platform.db.alert_closer_protocol import AlertCloserDependency
from app.platform.db.database import Database
from app.platform.http.contract.problems import document_problems
from app.platform.http.contract.session_dependencies import DatabaseDependency
from app.platform.http.contract.strict_body import StrictRoute
from app.platform.kernel.application_resources import get_resource
from app.platform.kernel.errors import ForbiddenError
from app.registry import box_service, bulk_box_operation_service
from app.registry.box_csv import ANSWER_COLUMNS, EXAMPLE, write_credentials_table
from app.registry.box_schemas import BoxCreated, BoxesChecked, BoxesCreate, BoxesCreated, Credentials
from app.registry.bulk_box_operation_plan import BoxStep, compute_preview_token
from app.registry.bulk_box_operation_schemas import BoxesChanged, BoxesOperation, BoxResult
from app.registry.bulk_box_operation_service import BulkContext
from app.registry.csv_body_route import MEDIA_TYPE, TableRoute, check_table, wants_table
from app.registry.dependencies import (
    BoxesWriter,
    CurrentSilenceCriterion,
    NewBoxLimitsDependency,
    publish_configs,
    sync_broker_accounts,
)

router: Final = APIRouter(prefix="/v1/boxes", tags=["Boxes"], route_class=TableRoute)
_CREDENTIALS: Final = (
    f"{','.join(ANSWER_COLUMNS)}\r\nbox-0001,01936f3c-6f0a-7c1e-9a51-0d9f3b8e7a10,,box-0001,…\r\n"
)


@router.post(
    "/bulk",
    summary="Create many boxes",
    status_code=201,
    response_model=BoxesCreated,
    responses={
        **document_problems(404),
        200: {"model": BoxesChecked, "description": "All boxes are valid; with `dry_run`"},
        201: {"content": {MEDIA_TYPE: {"schema": {"type": "string"}, "example": _CREDENTIALS}}},
    },
    openapi_extra={
        # Declared as binary: generated clients would send a text as JSON.
        "requestBody": {
            "content": {MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}, "example": EXAMPLE}}
        }
    },
)
async def create_boxes(
    *,
    body: BoxesCreate,
    request: Request,
    principal: BoxesWriter,
    database: DatabaseDependency,
    limits: NewBoxLimitsDependency,
    dry_run: Annotated[bool, Query(description="Check everything, and create nothing")] = False,
) -> BoxesCreated | Response:
    """Create up to 1,000 boxes. If one is invalid, none is created.

    Send JSON, or a table (`text/csv`) with a header, as English, French and German spreadsheets write it. On
    an error, `errors` names the `index` of each invalid box (JSON), or its `line` (CSV). A response lists up
    to 100 faults of a table, and counts the others in `errors_omitted`. With `Accept: text/csv` the response
    is a table too, with the credentials.

    With `dry_run` the same checks run, and nothing is created: the answer is 200 if all boxes are valid.
    """
    async with database.write(changes_access=not dry_run) as session:
        created = await box_service.add_boxes(
            session, principal.visible(), body.boxes, limits, datetime.now(UTC), numbered=True
        )
        check_table(request)
        if dry_run:
            await session.rollback()
    if dry_run:
        return JSONResponse(BoxesChecked(valid=len(created)).model_dump())
    await sync_broker_accounts(request, database)
    boxes = [BoxCreated.with_password(box, password) for box, password in created]
    if not wants_table(request):
        return BoxesCreated(data=boxes)
    headers = {"Cache-Control": "no-store"}
    return Response(
        write_credentials_table(boxes),
        status_code=201,
        media_type=f"{MEDIA_TYPE}; charset=utf-8",
        headers=headers,
    )


class _OperationRoute(StrictRoute):
    """A route without a body limit of its own: a body may list ten thousand ids."""

    max_body = None


operations: Final = APIRouter(prefix="/v1/boxes/bulk", tags=["Boxes"], route_class=_OperationRoute)
_READING: Final = "sites:read"
# No slice begins after the first half of the request's deadline; publishing takes at most a quarter of it.
_SHARE_OF_SLICES: Final = 0.5
_SHARE_OF_PUBLISHING: Final = 0.25


@operations.post("/operations", summary="Change many boxes", responses=document_problems(404))
async def change_boxes(
    *,
    body: BoxesOperation,
    request: Request,
    principal: BoxesWriter,
    database: DatabaseDependency,
    silence: CurrentSilenceCriterion,
    close_alerts: AlertCloserDependency,
) -> BoxesChanged:
    """Configure, label, move or delete up to 10,000 boxes, or rotate or revoke their credentials.

    Select the boxes by a filter (`select`) or a list (`ids`). With `dry_run` nothing changes: the response
    shows the result of each box, and a token (`preview`). Sent with that token, the operation does exactly
    what the preview showed, or answers 409 `selection_changed` and does nothing. A filter needs the token.

    Each box has its own result: an error of one does not affect the others. The response shows new
    credentials once: store them. `select` and `dry_run` need the scope `sites:read` too.
    """
    reads = principal.may(_READING)
    if not reads and (body.select is not None or body.dry_run):
        raise ForbiddenError(
            f"`select` and `dry_run` show boxes: {principal.called} needs {_READING} for them. Send `ids`.",
            extra={"scopes": [_READING]},
        )
    seconds = get_resource(request.app, ApiSettings).deadline_s
    slices_end = asyncio.get_running_loop().time() + seconds * _SHARE_OF_SLICES
    context = BulkContext(
        database,
        principal,
        silence,
        close_alerts,
        lambda: asyncio.get_running_loop().time() > slices_end,
    )
    async with database.read() as reader:
        planned = await bulk_box_operation_service.plan_operation(reader, body, context)
    if body.dry_run:
        return _build_response(body, planned, reads=reads)
    done = await bulk_box_operation_service.execute_plan(body, planned, context)
    if any(step.result == "changed" for step in done):
        await _update_broker(body, request, database, seconds * _SHARE_OF_PUBLISHING)
    return _build_response(body, done, reads=reads)


async def _update_broker(body: BoxesOperation, request: Request, database: Database, seconds: float) -> None:
    """Update the broker once for all boxes. `vigie maintain` publishes configurations that are left over."""
    if body.operation.type == "configure":
        await publish_configs(request, database, within_s=seconds)
    elif body.operation.type in {"rotate_credentials", "revoke_credentials", "delete"}:
        await sync_broker_accounts(request, database, next_step="send the operation again")


def _build_response(body: BoxesOperation, steps: Sequence[BoxStep], *, reads: bool) -> BoxesChanged:
    results = [
        BoxResult(
            id=step.id,
            result=step.result,
            code=step.code,
            detail=step.detail,
            before=dict(step.before) if reads and step.before is not None else None,
            after=dict(step.after) if reads and step.after is not None else None,
            credentials=None
            if step.password is None
            else Credentials(username=step.id, password=step.password),
        )
        for step in steps
    ]
    counts = {kind: sum(step.result == kind for step in steps) for kind in ("changed", "unchanged", "error")}
    return BoxesChanged(
        operation=body.operation.type,
        dry_run=body.dry_run,
        selected=len(steps),
        changed=counts["changed"],
        unchanged=counts["unchanged"],
        failed=counts["error"],
        preview=compute_preview_token(body.operation, steps) if body.dry_run else None,
        results=results,
    )
