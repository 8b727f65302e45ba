"""`/v1/alerts`: the HTTP of alerts, and nothing else."""

from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query

from app.alerts import repository, service
from app.alerts.repository import AlertFilter
from app.alerts.schemas import AlertOut, AlertState
from app.core.auth import Principal, requires
from app.core.database import Database
from app.core.errors import InvalidError
from app.core.fields import BoxId, InstantParameter
from app.core.ids import parse_id
from app.core.pagination import DEFAULT_LIMIT, Cursor, Limit, Page, cut, decode_cursor, encode_cursor
from app.core.problems import documented
from app.core.strict_body import StrictRoute
from app.core.web import Reads, get_database
from app.rules.schemas import Severity
from app.webhooks.outbox import wake_after

router = APIRouter(prefix="/v1/alerts", tags=["Alerts"], route_class=StrictRoute)

_KIND = "alerts"
Reader = Annotated[Principal, Depends(requires("alerts:read"))]
Writer = Annotated[Principal, Depends(requires("alerts:write"))]


def _filter(
    *,
    principal: Reader,
    state: Annotated[AlertState | None, Query(description="Only firing, or only resolved ones")] = None,
    site: Annotated[str | None, Query(description="Only of this site")] = None,
    box: Annotated[BoxId | None, Query(description="Only of this box")] = None,
    rule: Annotated[str | None, Query(description="Only of this rule")] = None,
    severity: Annotated[Severity | None, Query(description="Only of this severity")] = None,
    start: Annotated[
        InstantParameter | None, Query(alias="from", description="Started at this time or later")
    ] = None,
    end: Annotated[InstantParameter | None, Query(alias="to", description="Started before this time")] = None,
    cursor: Cursor = None,
) -> AlertFilter:
    if start is not None and end is not None and start >= end:
        raise InvalidError("`from` must be before `to`.", code="range_reversed")
    return AlertFilter(
        organisation_id=principal.visible(),
        state=state,
        site_id=None if site is None else parse_id(site, "site"),
        box=box,
        rule_id=None if rule is None else parse_id(rule, "rule"),
        severity=severity,
        start=start,
        end=end,
        before=None if cursor is None else decode_cursor(_KIND, cursor, UUID)[0],
    )


@router.get(
    "",
    summary="List alerts",
    operation_id="list_alerts",
    responses=documented(401, 403, 404, 422),
)
async def list_alerts(
    session: Reads, wanted: Annotated[AlertFilter, Depends(_filter)], limit: Limit = DEFAULT_LIMIT
) -> Page[AlertOut]:
    """List alerts, the newest first. `?state=firing` gives what is the matter now."""
    rows = await repository.page(session, wanted, limit + 1)
    rows, following = cut(rows, limit, lambda row: encode_cursor(_KIND, str(row[0].id)))
    return Page(data=[AlertOut.of(*row) for row in rows], next=following)


@router.get(
    "/{alert_id}",
    summary="Read an alert",
    operation_id="get_alert",
    responses=documented(401, 403, 404),
)
async def get_alert(principal: Reader, session: Reads, alert_id: str) -> AlertOut:
    """Read one alert."""
    return AlertOut.of(*await repository.find(session, parse_id(alert_id, "alert"), principal.visible()))


@router.post(
    "/{alert_id}/acknowledge",
    summary="Acknowledge an alert",
    operation_id="acknowledge_alert",
    responses=documented(401, 403, 404, 409),
)
async def acknowledge_alert(
    principal: Writer, database: Annotated[Database, Depends(get_database)], alert_id: str
) -> AlertOut:
    """Say that somebody sees to a firing alert; endpoints receive `alert.acknowledged`.

    The first acknowledgement stands: the same call again answers with the same. An alert that resolved
    without one answers 409 `already_resolved`.
    """
    # A session of its own: the dispatcher is woken once the commit is done.
    async with database.write() as session:
        done = await service.acknowledge(session, principal, parse_id(alert_id, "alert"), datetime.now(UTC))
        shown = AlertOut.of(done.alert, done.rule_name)
    if done.new:
        await wake_after(database)
    return shown
