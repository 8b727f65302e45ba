"""Serves `/v1/rules/backtest` and `/v1/rules/backtests`: creates, lists, reads and cancels back-tests."""

import asyncio
import time
from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Response

from app.platform.db.database import Database
from app.platform.http.contract.fields import Identifier
from app.platform.http.contract.pagination import Page
from app.platform.http.contract.problems import document_problems
from app.platform.http.contract.session_dependencies import DatabaseDependency, ReadSessionDep
from app.platform.http.contract.sorting import PageRequest
from app.platform.identity.caller_authentication import require_scope
from app.platform.kernel.ids import parse_id
from app.platform.kernel.tenant_scope import TenantScope
from app.rules.backtests import backtest_requests
from app.rules.backtests.models import Backtest
from app.rules.backtests.prometheus_metrics import BACKTESTS_FINISHED
from app.rules.backtests.schemas import BacktestCreate, BacktestOut, BacktestResult, State
from app.rules.definitions.router import Reader, RuleRoute, Writer

# Must be included before the router of rules, which would take `backtests` for a rule id.
router = APIRouter(prefix="/v1/rules", tags=["Rules"], route_class=RuleRoute)

_WAIT_S: Final = 5.0
_LONGEST_WAIT_S: Final = 30.0
_POLL_S: Final = 0.1
_UNFINISHED: Final = ("queued", "running")
# Results contain measured values.
_SEES_VALUES: Final = (Depends(require_scope("telemetry:read")),)


async def _poll(database: Database, backtest_id: UUID, visible: TenantScope, wait_s: float) -> Backtest:
    """Poll a back-test until it finishes or the timeout expires."""
    until = time.monotonic() + wait_s
    while True:
        async with database.read() as session:
            found = await backtest_requests.find_backtest(session, backtest_id, visible, result=True)
        left_s = until - time.monotonic()
        if found.state not in _UNFINISHED or left_s <= 0:
            return found
        await asyncio.sleep(min(_POLL_S, left_s))


@router.post(
    "/backtest",
    summary="Try a rule on stored samples",
    dependencies=_SEES_VALUES,
    responses={
        202: {"model": BacktestResult, "description": "Not finished yet: read it again under its `id`"},
        **document_problems(404),
    },
)
async def create_backtest(
    principal: Writer,
    database: DatabaseDependency,
    response: Response,
    body: BacktestCreate,
    wait: Annotated[
        float, Query(ge=0, le=_LONGEST_WAIT_S, description="How long to wait for the result, in seconds")
    ] = _WAIT_S,
) -> BacktestResult:
    """Return the alerts that a rule would have made. Nothing is recorded or delivered.

    Samples are evaluated in measurement time, as they would be live. Late samples are left out. The rule
    starts at rest at `from`, with full windows. A silence that is long enough by then becomes an alert that
    starts at `from`. Attributes, tags and hours are those of today. With `version` or `compare_to`, two rules
    are evaluated, and each alert says which of them makes it.

    The response is 200 if the back-test finishes within `wait`, else 202: then read it under its `id`. An
    organisation may have up to three unfinished back-tests (429 `too_many_backtests`). Back-tests of several
    organisations share the worker fairly. Results contain measured values: the key also needs
    `telemetry:read`.
    """
    async with database.write() as session:
        backtest_id = await backtest_requests.enqueue_backtest(session, principal, body)
    found = await _poll(database, backtest_id, principal.visible(), wait)
    if found.state in _UNFINISHED:
        response.status_code = 202
    return BacktestResult.of(found)


@router.get("/backtests", summary="List back-tests")
async def list_backtests(
    principal: Reader,
    session: ReadSessionDep,
    page: Annotated[PageRequest, Depends(backtest_requests.BACKTESTS.page_request)],
    *,
    state: Annotated[State | None, Query(description="Only those in this state")] = None,
    site: Annotated[Identifier | None, Query(description="Only of this site")] = None,
) -> Page[BacktestOut]:
    """List back-tests without their results, by default the newest first.

    Finished back-tests are deleted after seven days.
    """
    found = await backtest_requests.read_backtest_page(
        session, principal.visible(), page, state=state, site_id=site
    )
    rows, following = backtest_requests.BACKTESTS.cut(found, page)
    return Page(data=[BacktestOut.of(row) for row in rows], next=following)


@router.get("/backtests/{backtest_id}", summary="Read a back-test", dependencies=_SEES_VALUES)
async def get_backtest(principal: Reader, session: ReadSessionDep, backtest_id: str) -> BacktestResult:
    """Read the progress of a back-test, and its result once it is done.

    Results contain measured values: the key also needs `telemetry:read`.
    """
    identifier = parse_id(backtest_id, "back-test")
    return BacktestResult.of(
        await backtest_requests.find_backtest(session, identifier, principal.visible(), result=True)
    )


@router.delete(
    "/backtests/{backtest_id}",
    status_code=204,
    summary="Cancel a back-test",
    responses=document_problems(409),
)
async def cancel_backtest(principal: Writer, database: DatabaseDependency, backtest_id: str) -> None:
    """Cancel a queued or running back-test. It stays in the list. A finished one is refused with 409."""
    async with database.write() as session:
        cancelled = await backtest_requests.mark_backtest_cancelled(
            session, parse_id(backtest_id, "back-test"), principal.visible()
        )
    if cancelled:
        BACKTESTS_FINISHED.labels("cancelled").inc()
