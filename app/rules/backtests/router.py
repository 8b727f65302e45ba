"""`/v1/rules/backtest` and `/v1/rules/backtests`: the HTTP of back-tests, and nothing else."""

import asyncio
import time
from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Response

from app.platform.db.database import Database
from app.platform.http.contract.dependencies import ReadSessionDep
from app.platform.http.contract.fields import Identifier
from app.platform.http.contract.pagination import Page
from app.platform.http.contract.problems import document_problems
from app.platform.http.contract.sorting import PageRequest
from app.platform.identity.principals import require_scope
from app.platform.kernel.ids import parse_id
from app.platform.kernel.tenant_scope import TenantScope
from app.platform.observability.metrics_and_logs import BACKTESTS_FINISHED
from app.rules.backtests import service
from app.rules.backtests.models import Backtest
from app.rules.backtests.schemas import BacktestCreate, BacktestOut, BacktestResult, State
from app.rules.definitions.router import Opened, Reader, RuleRoute, Writer

# Before the router of rules: there `backtests` would be taken for the id of one.
router = APIRouter(prefix="/v1/rules", tags=["Rules"], route_class=RuleRoute)

_WAIT_S: Final = 5.0
_LONGEST_WAIT_S: Final = 30.0
_LOOK_EVERY_S: Final = 0.1
_UNFINISHED: Final = ("queued", "running")
# What comes of a back-test has measured values.
_SEES_VALUES: Final = (Depends(require_scope("telemetry:read")),)


async def _await(database: Database, backtest_id: UUID, visible: TenantScope, wait_s: float) -> Backtest:
    """Look at a back-test until it is finished, or the time is up."""
    until = time.monotonic() + wait_s
    while True:
        async with database.read() as session:
            found = await service.find_backtest(session, backtest_id, visible, result=True)
        left_s = until - time.monotonic()
        if found.state not in _UNFINISHED or left_s <= 0:
            return found
        await asyncio.sleep(min(_LOOK_EVERY_S, left_s))


@router.post(
    "/backtest",
    summary="Try a rule on stored samples",
    operation_id="create_backtest",
    dependencies=_SEES_VALUES,
    responses={
        202: {"model": BacktestResult, "description": "It goes on: look at it again"},
        **document_problems(400, 401, 403, 404, 413, 415, 422, 429),
    },
)
async def create_backtest(
    principal: Writer,
    database: Opened,
    response: Response,
    body: BacktestCreate,
    wait: Annotated[
        float, Query(ge=0, le=_LONGEST_WAIT_S, description="How long to wait for the result, in seconds")
    ] = _WAIT_S,
) -> BacktestResult:
    """Say which alerts a rule would have made, and tell nobody of them.

    The samples are judged as they would be live, in their own time: what came late is left out, and the rule
    begins at rest at `from`, its windows full; a silence that was long enough by then is an alert from there
    on. Attributes, tags and hours are today's. With `version` or `compare_to` two rules are tried, and each
    alert says which of them makes it.

    Answers 200 when it is done within `wait`, else 202: then ask for it under its `id`. An organisation has
    up to three that are not finished (429 `too_many_backtests`); they take turns with those of others. Its
    alerts have measured values: the key needs `telemetry:read` too.
    """
    async with database.write() as session:
        backtest_id = await service.enqueue_backtest(session, principal, body)
    found = await _await(database, backtest_id, principal.visible(), wait)
    if found.state in _UNFINISHED:
        response.status_code = 202
    return BacktestResult.of(found)


@router.get(
    "/backtests",
    summary="List back-tests",
    operation_id="list_backtests",
    responses=document_problems(401, 403, 422),
)
async def list_backtests(
    principal: Reader,
    session: ReadSessionDep,
    asked: Annotated[PageRequest, Depends(service.BACKTESTS.page_request)],
    *,
    state: Annotated[State | None, Query(description="Only those in this state")] = None,
    site: Annotated[Identifier | None, Query(description="Only of this site")] = None,
) -> Page[BacktestOut]:
    """List back-tests, by default the newest first, without results. Finished ones are kept for a week."""
    found = await service.read_backtest_page(session, principal.visible(), asked, state=state, site_id=site)
    rows, following = service.BACKTESTS.cut(found, asked)
    return Page(data=[BacktestOut.of(row) for row in rows], next=following)


@router.get(
    "/backtests/{backtest_id}",
    summary="Read a back-test",
    operation_id="get_backtest",
    dependencies=_SEES_VALUES,
    responses=document_problems(401, 403, 404),
)
async def get_backtest(principal: Reader, session: ReadSessionDep, backtest_id: str) -> BacktestResult:
    """Read how far a back-test is, and its result once it is done: the key needs `telemetry:read` too."""
    identifier = parse_id(backtest_id, "back-test")
    return BacktestResult.of(
        await service.find_backtest(session, identifier, principal.visible(), result=True)
    )


@router.delete(
    "/backtests/{backtest_id}",
    status_code=204,
    summary="Cancel a back-test",
    operation_id="cancel_backtest",
    responses=document_problems(401, 403, 404, 409),
)
async def cancel_backtest(principal: Writer, database: Opened, backtest_id: str) -> None:
    """Cancel a back-test that waits or is under way; it stays in the list. A finished one: 409."""
    async with database.write() as session:
        cancelled = await service.mark_backtest_cancelled(
            session, parse_id(backtest_id, "back-test"), principal.visible()
        )
    if cancelled:
        BACKTESTS_FINISHED.labels("cancelled").inc()
