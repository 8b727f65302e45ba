"""Serves `/v1/alerts`: lists, details, explanations, acknowledgements, assignments and comments of alerts."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Body, Depends, Query, Response

from app.alerts import repository, service
from app.alerts.alert_presentation import INCIDENTS_SCOPE, MEASUREMENTS_SCOPE, AlertPresenter, Presenter
from app.alerts.explanation_queries import read_rule_at_firing, read_samples_around
from app.alerts.models import Alert
from app.alerts.repository import AlertFilter
from app.alerts.schemas import (
    EXAMPLE_COMMENT,
    LISTED_DELIVERIES,
    LISTED_ENTRIES,
    AlertEscalation,
    AlertOut,
    AlertState,
    Assignment,
    CommentCreate,
    ExplanationOut,
    ManyAcknowledgedOut,
    ManyToAcknowledge,
    Remark,
    TimelineOut,
)
from app.alerts.service import AlertActionResult
from app.notifications.api.delivery_queries import find_last_attempts, list_alert_deliveries
from app.notifications.api.delivery_schemas import LISTED_ATTEMPTS, DeliveryOut
from app.notifications.events.outbox import wake_dispatcher_after
from app.platform.db.database import WriteSession
from app.platform.http.contract.fields import BoxId, InstantParameter, Name
from app.platform.http.contract.pagination import Page
from app.platform.http.contract.problems import document_problems
from app.platform.http.contract.remembered_arguments import remember_arguments
from app.platform.http.contract.session_dependencies import (
    DatabaseDependency,
    ReaderDependency,
    ReadSessionDep,
    make_page_response,
)
from app.platform.http.contract.sorting import PageRequest
from app.platform.http.contract.strict_body import StrictRoute
from app.platform.identity.caller_authentication import Principal, require_scope
from app.platform.kernel.errors import ForbiddenError, InvalidError
from app.platform.kernel.ids import parse_id
from app.registry.dependencies import OrganisationFilter
from app.registry.labels import Tag
from app.rules.definitions.condition_fields import MetricName
from app.rules.definitions.severity import Severity

router = APIRouter(prefix="/v1/alerts", tags=["Alerts"], route_class=StrictRoute)

Reader = Annotated[Principal, Depends(require_scope("alerts:read"))]
Writer = Annotated[Principal, Depends(require_scope("alerts:write"))]
OptionalRemark = Annotated[Remark | None, Body(examples=[{"comment": EXAMPLE_COMMENT}])]


async def _filter(
    *,
    principal: Reader,
    organisation: OrganisationFilter = None,
    state: Annotated[AlertState | None, Query(description="Only firing, or only resolved alerts")] = None,
    site: Annotated[str | None, Query(description="Only of this site")] = None,
    box: Annotated[BoxId | None, Query(description="Only of this box")] = None,
    rule: Annotated[str | None, Query(description="Only of this rule")] = None,
    severity: Annotated[Severity | None, Query(description="Only of this severity")] = None,
    min_severity: Annotated[Severity | None, Query(description="Only of at least this severity")] = None,
    min_highest_severity: Annotated[
        Severity | None, Query(description="Only with at least this severity at some time")
    ] = None,
    metric: Annotated[
        MetricName | None, Query(description="Only with this metric in the deciding part of the condition")
    ] = None,
    tag: Annotated[Tag | None, Query(description="Only of boxes that have this tag now")] = None,
    acknowledged: Annotated[
        bool | None, Query(description="Only acknowledged alerts (`true`), or only others (`false`)")
    ] = None,
    assignee: Annotated[Name | None, Query(description="Only assigned to this person or team")] = None,
    suppressed: Annotated[
        bool | None, Query(description="Only muted alerts (`true`), or only others (`false`)")
    ] = None,
    incident: Annotated[
        str | None, Query(description="Only on a sound event of this incident; needs `incidents:read`")
    ] = None,
    dry_run: Annotated[bool, Query(description="Alerts of dry-run rules instead of the others")] = False,
    start: Annotated[
        InstantParameter | None, Query(alias="from", description="Started at this time or later")
    ] = None,
    end: Annotated[InstantParameter | None, Query(alias="to", description="Started before this time")] = None,
) -> AlertFilter:
    if start is not None and end is not None and start >= end:
        raise InvalidError("`from` must be before `to`.", code="range_reversed")
    if incident is not None and not principal.may(INCIDENTS_SCOPE):
        raise ForbiddenError(
            f"{principal.called} lacks the scope `{INCIDENTS_SCOPE}`, which `incident` needs.",
            extra={"scope": INCIDENTS_SCOPE},
        )
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
        incident_id=None if incident is None else parse_id(incident, "incident"),
    )


@router.get("", summary="List alerts", response_model=Page[AlertOut], responses=document_problems(404))
@remember_arguments
async def list_alerts(
    reader: ReaderDependency,
    presenter: Presenter,
    filter_: Annotated[AlertFilter, Depends(_filter)],
    query: Annotated[PageRequest, Depends(repository.ALERTS.page_request)],
) -> Response:
    """List alerts, by default the newest first.

    `?state=firing&sort=-severity` lists the current alerts, the most severe first.
    """
    found = await reader.fetch(repository.compile_alert_page(filter_, query))
    rows, following = repository.ALERTS.cut(found, query)
    return make_page_response(await presenter.format_rows(rows), following)


@router.get("/{alert_id}", summary="Read an alert")
async def get_alert(
    principal: Reader, session: ReadSessionDep, presenter: Presenter, alert_id: str
) -> AlertOut:
    """Read one alert."""
    found = await repository.find_alert(session, parse_id(alert_id, "alert"), principal.visible())
    return await presenter.show_one(session, found)


@router.get("/{alert_id}/timeline", summary="Read the timeline of an alert")
async def get_alert_timeline(
    *,
    principal: Reader,
    session: ReadSessionDep,
    alert_id: str,
    query: Annotated[PageRequest, Depends(repository.TIMELINE.page_request)],
) -> Page[TimelineOut]:
    """List all changes of an alert by samples, people and timers, by default the oldest first."""
    alert, _ = await repository.find_alert(session, parse_id(alert_id, "alert"), principal.visible())
    rows, following = repository.TIMELINE.cut(
        await repository.list_timeline_entries(session, alert.id, query), query
    )
    return Page(data=[TimelineOut.of(row) for row in rows], next=following)


@router.post("/acknowledge", summary="Acknowledge many alerts")
async def acknowledge_alerts(
    principal: Writer, database: DatabaseDependency, body: ManyToAcknowledge
) -> ManyAcknowledgedOut:
    """Acknowledge alerts. Each alert succeeds or fails independently of the others."""
    async with database.write() as session:
        result = await service.acknowledge_alerts(
            session, principal, body.ids, body.comment, datetime.now(UTC)
        )
    if result.has_events:
        await wake_dispatcher_after(database)
    return ManyAcknowledgedOut.of(result.new, result.before, result.refused)


@router.post("/{alert_id}/acknowledge", summary="Acknowledge an alert")
async def acknowledge_alert(
    principal: Writer,
    database: DatabaseDependency,
    presenter: Presenter,
    alert_id: str,
    body: OptionalRemark = None,
) -> AlertOut:
    """Acknowledge a firing alert, to say that you take care of it. Endpoints receive `alert.acknowledged`.

    The first acknowledgement stays: further requests only add their comments. An alert that resolved without
    one is refused with 409 `already_resolved`. The acknowledgement ends when samples raise the severity.
    """
    # A separate session: the dispatcher must be woken after the commit.
    async with database.write() as session:
        result = await service.acknowledge_alert(
            session, principal, parse_id(alert_id, "alert"), _comment(body), datetime.now(UTC)
        )
        shown = await _present(session, presenter, result)
    if result.has_events:
        await wake_dispatcher_after(database)
    return shown


@router.post("/{alert_id}/unacknowledge", summary="Withdraw an acknowledgement")
async def unacknowledge_alert(
    principal: Writer,
    database: DatabaseDependency,
    presenter: Presenter,
    alert_id: str,
    body: OptionalRemark = None,
) -> AlertOut:
    """Withdraw the acknowledgement of a firing alert.

    Escalations and reminders count again from now. An alert without an acknowledgement is not changed.
    """
    async with database.write() as session:
        result = await service.unacknowledge_alert(
            session, principal, parse_id(alert_id, "alert"), _comment(body), datetime.now(UTC)
        )
        return await _present(session, presenter, result)


@router.post("/{alert_id}/assign", summary="Assign an alert")
async def assign_alert(
    principal: Writer, database: DatabaseDependency, presenter: Presenter, alert_id: str, body: Assignment
) -> AlertOut:
    """Assign an alert, firing or not, to a person or a team. This does not acknowledge it."""
    async with database.write() as session:
        result = await service.assign_alert(
            session,
            principal,
            parse_id(alert_id, "alert"),
            assignee=body.assignee,
            comment=body.comment,
            now=datetime.now(UTC),
        )
        return await _present(session, presenter, result)


@router.post("/{alert_id}/escalate", summary="Escalate an alert")
async def escalate_alert(
    principal: Writer,
    database: DatabaseDependency,
    presenter: Presenter,
    alert_id: str,
    body: AlertEscalation,
) -> AlertOut:
    """Raise the severity of a firing alert. Endpoints receive `alert.escalated` with the reason `person`.

    Samples cannot lower the severity below it any more. An acknowledgement stays. A severity that is not
    higher than the present one is refused (409 `severity_not_higher`).
    """
    async with database.write() as session:
        result = await service.escalate_alert(
            session,
            principal,
            parse_id(alert_id, "alert"),
            severity=body.severity,
            comment=body.comment,
            now=datetime.now(UTC),
        )
        shown = await _present(session, presenter, result)
    if result.has_events:
        await wake_dispatcher_after(database)
    return shown


@router.post("/{alert_id}/comments", status_code=201, summary="Comment on an alert")
async def comment_alert(
    principal: Writer, database: DatabaseDependency, presenter: Presenter, alert_id: str, body: CommentCreate
) -> AlertOut:
    """Add a comment to the timeline of an alert, firing or not."""
    async with database.write() as session:
        result = await service.add_comment(
            session, principal, parse_id(alert_id, "alert"), body.comment, datetime.now(UTC)
        )
        return await _present(session, presenter, result)


def _comment(body: Remark | None) -> str | None:
    return None if body is None else body.comment


async def _present(session: WriteSession, presenter: AlertPresenter, result: AlertActionResult) -> AlertOut:
    return await presenter.show_one(session, (result.alert, result.rule_name))


@router.get("/{alert_id}/explanation", summary="Explain an alert")
async def get_alert_explanation(
    principal: Reader, session: ReadSessionDep, presenter: Presenter, alert_id: str
) -> ExplanationOut:
    """Read why an alert fires, or fired: its rule in words, measurements, timeline and deliveries."""
    visible = principal.visible()
    found = await repository.find_alert(session, parse_id(alert_id, "alert"), visible)
    alert, rule_name = found
    rule, definition = await read_rule_at_firing(session, alert, rule_name)
    samples = None
    if principal.may(MEASUREMENTS_SCOPE):
        samples = await read_samples_around(session, alert, definition, visible, datetime.now(UTC))
    entries = await repository.list_timeline_entries(
        session, alert.id, PageRequest("recorded_at", LISTED_ENTRIES)
    )
    return ExplanationOut(
        alert=await presenter.show_one(session, found),
        rule=rule,
        samples=samples,
        timeline=[TimelineOut.of(row) for row in entries[:LISTED_ENTRIES]],
        deliveries=await _deliveries(session, alert) if principal.may("webhooks:read") else None,
    )


async def _deliveries(session: ReadSessionDep, alert: Alert) -> list[DeliveryOut]:
    found = await list_alert_deliveries(
        session,
        alert.organisation_id,
        alert.id,
        since=alert.created_at,
        until=alert.updated_at,
        most=LISTED_DELIVERIES,
    )
    attempts = await find_last_attempts(session, [delivery.id for delivery, _ in found], LISTED_ATTEMPTS)
    return [DeliveryOut.of(delivery, kind, attempts.get(delivery.id, ())) for delivery, kind in found]
