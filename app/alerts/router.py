"""`/v1/alerts`: the HTTP of alerts, and nothing else."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Body, Depends, Query

from app.alerts import repository, service
from app.alerts.alert_presentation import AlertPresenter, Presenter
from app.alerts.repository import AlertFilter
from app.alerts.schemas import (
    EXAMPLE_COMMENT,
    AlertOut,
    AlertState,
    Assignment,
    CommentCreate,
    ManyAcknowledgedOut,
    ManyToAcknowledge,
    Remark,
    TimelineOut,
)
from app.alerts.service import AlertActionResult
from app.notifications.events.outbox import wake_dispatcher_after
from app.platform.db.database import Database, WriteSession
from app.platform.http.contract.dependencies import ReadSessionDep, get_database
from app.platform.http.contract.fields import BoxId, InstantParameter, Name
from app.platform.http.contract.pagination import Page
from app.platform.http.contract.problems import document_problems
from app.platform.http.contract.sorting import PageRequest
from app.platform.http.contract.strict_body import StrictRoute
from app.platform.identity.principals import Principal, require_scope
from app.platform.kernel.errors import InvalidError
from app.platform.kernel.ids import parse_id
from app.registry.dependencies import OrganisationFilter
from app.registry.labels import Tag
from app.rules.definitions.condition_fields import MetricName
from app.rules.definitions.severity import Severity

router = APIRouter(prefix="/v1/alerts", tags=["Alerts"], route_class=StrictRoute)

Reader = Annotated[Principal, Depends(require_scope("alerts:read"))]
Writer = Annotated[Principal, Depends(require_scope("alerts:write"))]
DatabaseDependency = Annotated[Database, Depends(get_database)]
OptionalRemark = Annotated[Remark | None, Body(examples=[{"comment": EXAMPLE_COMMENT}])]


async def _filter(
    *,
    principal: Reader,
    organisation: OrganisationFilter = None,
    state: Annotated[AlertState | None, Query(description="Only firing, or only resolved ones")] = None,
    site: Annotated[str | None, Query(description="Only of this site")] = None,
    box: Annotated[BoxId | None, Query(description="Only of this box")] = None,
    rule: Annotated[str | None, Query(description="Only of this rule")] = None,
    severity: Annotated[Severity | None, Query(description="Only of this severity")] = None,
    min_severity: Annotated[Severity | None, Query(description="Only of this severity or more")] = None,
    min_highest_severity: Annotated[
        Severity | None, Query(description="Only those that were of this severity or more at some time")
    ] = None,
    metric: Annotated[MetricName | None, Query(description="Only those that this metric decided")] = None,
    tag: Annotated[Tag | None, Query(description="Only of boxes that have this tag now")] = None,
    acknowledged: Annotated[
        bool | None, Query(description="Only those that somebody sees to, or that nobody does")
    ] = None,
    assignee: Annotated[Name | None, Query(description="Only this one's")] = None,
    suppressed: Annotated[
        bool | None, Query(description="Only those that are muted, or that are not")
    ] = None,
    dry_run: Annotated[bool, Query(description="Those of rules on trial, in place of the others")] = False,
    start: Annotated[
        InstantParameter | None, Query(alias="from", description="Started at this time or later")
    ] = None,
    end: Annotated[InstantParameter | None, Query(alias="to", description="Started before this time")] = None,
) -> AlertFilter:
    if start is not None and end is not None and start >= end:
        raise InvalidError("`from` must be before `to`.", code="range_reversed")
    return AlertFilter(
        visible=principal.visible(),
        state=state,
        site_id=None if site is None else parse_id(site, "site"),
        box=box,
        rule_id=None if rule is None else parse_id(rule, "rule"),
        severity=severity,
        min_severity=min_severity,
        min_highest_severity=min_highest_severity,
        metric=metric,
        tag=tag,
        acknowledged=acknowledged,
        assignee=assignee,
        suppressed=suppressed,
        dry_run=dry_run,
        start=start,
        end=end,
        organisation_id=organisation,
    )


@router.get(
    "",
    summary="List alerts",
    operation_id="list_alerts",
    responses=document_problems(401, 403, 404, 422),
)
async def list_alerts(
    session: ReadSessionDep,
    presenter: Presenter,
    wanted: Annotated[AlertFilter, Depends(_filter)],
    asked: Annotated[PageRequest, Depends(repository.ALERTS.page_request)],
) -> Page[AlertOut]:
    """List alerts, by default the newest first.

    `?state=firing` gives what is the matter now, with `&sort=-severity` the gravest first.
    """
    rows, following = repository.ALERTS.cut(await repository.list_alerts(session, wanted, asked), asked)
    return Page(data=await presenter.show(session, rows), next=following)


@router.get(
    "/{alert_id}",
    summary="Read an alert",
    operation_id="get_alert",
    responses=document_problems(401, 403, 404),
)
async def get_alert(
    principal: Reader, session: ReadSessionDep, presenter: Presenter, alert_id: str
) -> AlertOut:
    """Read one alert."""
    found = await repository.find_alert(session, parse_id(alert_id, "alert"), principal.visible())
    return await presenter.show_one(session, found)


@router.get(
    "/{alert_id}/timeline",
    summary="What happened to an alert",
    operation_id="get_alert_timeline",
    responses=document_problems(401, 403, 404, 422),
)
async def get_alert_timeline(
    *,
    principal: Reader,
    session: ReadSessionDep,
    alert_id: str,
    asked: Annotated[PageRequest, Depends(repository.TIMELINE.page_request)],
) -> Page[TimelineOut]:
    """List what samples, people and time did to an alert, by default the oldest first."""
    alert, _ = await repository.find_alert(session, parse_id(alert_id, "alert"), principal.visible())
    rows, following = repository.TIMELINE.cut(
        await repository.list_timeline_entries(session, alert.id, asked), asked
    )
    return Page(data=[TimelineOut.of(row) for row in rows], next=following)


@router.post(
    "/acknowledge",
    summary="Acknowledge many alerts",
    operation_id="acknowledge_alerts",
    responses=document_problems(400, 401, 403, 413, 415, 422),
)
async def acknowledge_alerts(
    principal: Writer, database: DatabaseDependency, body: ManyToAcknowledge
) -> ManyAcknowledgedOut:
    """Say that somebody sees to alerts: each that can be acknowledged is, whatever becomes of the others."""
    async with database.write() as session:
        done = await service.acknowledge_alerts(session, principal, body.ids, body.comment, datetime.now(UTC))
    if done.told:
        await wake_dispatcher_after(database)
    return ManyAcknowledgedOut.of(done.new, done.before, done.refused)


@router.post(
    "/{alert_id}/acknowledge",
    summary="Acknowledge an alert",
    operation_id="acknowledge_alert",
    responses=document_problems(400, 401, 403, 404, 409, 413, 415, 422),
)
async def acknowledge_alert(
    principal: Writer,
    database: DatabaseDependency,
    presenter: Presenter,
    alert_id: str,
    body: OptionalRemark = None,
) -> AlertOut:
    """Say that somebody sees to a firing alert; endpoints receive `alert.acknowledged`.

    The first acknowledgement stands: the same call again answers with the same, and only adds its comment. An
    alert that resolved without one answers 409 `already_resolved`. It ends when samples make the alert more
    severe: something milder was acknowledged.
    """
    # A session of its own: the dispatcher is woken once the commit is done.
    async with database.write() as session:
        done = await service.acknowledge_alert(
            session, principal, parse_id(alert_id, "alert"), _comment(body), datetime.now(UTC)
        )
        shown = await _shown(session, presenter, done)
    if done.told:
        await wake_dispatcher_after(database)
    return shown


@router.post(
    "/{alert_id}/unacknowledge",
    summary="Take back an acknowledgement",
    operation_id="unacknowledge_alert",
    responses=document_problems(400, 401, 403, 404, 409, 413, 415, 422),
)
async def unacknowledge_alert(
    principal: Writer,
    database: DatabaseDependency,
    presenter: Presenter,
    alert_id: str,
    body: OptionalRemark = None,
) -> AlertOut:
    """Say that nobody sees to a firing alert after all.

    Escalations and reminders are counted anew from now on. One that was not acknowledged stays as it is.
    """
    async with database.write() as session:
        done = await service.unacknowledge_alert(
            session, principal, parse_id(alert_id, "alert"), _comment(body), datetime.now(UTC)
        )
        return await _shown(session, presenter, done)


@router.post(
    "/{alert_id}/assign",
    summary="Assign an alert",
    operation_id="assign_alert",
    responses=document_problems(400, 401, 403, 404, 413, 415, 422),
)
async def assign_alert(
    principal: Writer, database: DatabaseDependency, presenter: Presenter, alert_id: str, body: Assignment
) -> AlertOut:
    """Say whose an alert is, firing or not. That is no acknowledgement: whoever sees to it says so."""
    async with database.write() as session:
        done = await service.assign_alert(
            session,
            principal,
            parse_id(alert_id, "alert"),
            assignee=body.assignee,
            comment=body.comment,
            now=datetime.now(UTC),
        )
        return await _shown(session, presenter, done)


@router.post(
    "/{alert_id}/comments",
    status_code=201,
    summary="Comment on an alert",
    operation_id="comment_alert",
    responses=document_problems(400, 401, 403, 404, 413, 415, 422),
)
async def comment_alert(
    principal: Writer, database: DatabaseDependency, presenter: Presenter, alert_id: str, body: CommentCreate
) -> AlertOut:
    """Keep what somebody says in the alert's timeline, firing or not."""
    async with database.write() as session:
        done = await service.add_comment(
            session, principal, parse_id(alert_id, "alert"), body.comment, datetime.now(UTC)
        )
        return await _shown(session, presenter, done)


def _comment(body: Remark | None) -> str | None:
    return None if body is None else body.comment


async def _shown(session: WriteSession, presenter: AlertPresenter, done: AlertActionResult) -> AlertOut:
    return await presenter.show_one(session, (done.alert, done.rule_name))
