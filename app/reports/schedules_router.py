"""Serves `/v1/report-schedules`: reports that are mailed after each day, week or month."""

from datetime import UTC, datetime
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query

from app.audit.audit_recorder import AccessedSubject, record_access
from app.platform.config.platform_settings import SmtpSettings
from app.platform.db.database import WriteSession
from app.platform.http.contract.etags import PreconditionDep
from app.platform.http.contract.fields import Identifier, collect_sent_fields
from app.platform.http.contract.pagination import Page
from app.platform.http.contract.problems import document_problems
from app.platform.http.contract.session_dependencies import ReadSessionDep, WriteSessionDep
from app.platform.http.contract.sorting import PageRequest
from app.platform.http.contract.strict_body import StrictRoute
from app.platform.identity.caller_authentication import Principal, require_scope
from app.platform.kernel.ids import parse_id
from app.platform.runtime.stored_settings import InstallationDependency
from app.registry.dependencies import OrganisationFilter
from app.reports import schedule_repository, schedule_service
from app.reports.models import ReportSchedule
from app.reports.schedule_repository import RUNS, SCHEDULES
from app.reports.schedule_schemas import (
    ReportRunOut,
    ReportScheduleChange,
    ReportScheduleCreate,
    ReportScheduleOut,
)

router: Final = APIRouter(prefix="/v1/report-schedules", tags=["Reports"], route_class=StrictRoute)

_READ_SCOPE: Final = "webhooks:read"
_NOUN: Final = "report schedule"
_Reader = Annotated[Principal, Depends(require_scope(_READ_SCOPE, whole=True))]
_Writer = Annotated[Principal, Depends(require_scope("webhooks:write", whole=True))]


async def _smtp(installation: InstallationDependency) -> SmtpSettings:
    return installation.smtp


_Smtp = Annotated[SmtpSettings, Depends(_smtp)]


async def _record(session: WriteSession, *rows: ReportSchedule) -> None:
    """Record access to e-mail addresses, which are personal data, in the transaction that reads them."""
    subjects = [AccessedSubject(row.organisation_id, row.id) for row in rows]
    await record_access(session, "report_schedule", subjects)


@router.post("", status_code=201, summary="Schedule a report", responses=document_problems(404, 409))
async def create_report_schedule(
    principal: _Writer, session: WriteSessionDep, smtp: _Smtp, body: ReportScheduleCreate
) -> ReportScheduleOut:
    """Mail the report of a site after each day, week or month, as PDF, CSV or both.

    The mail is due at an hour of the site's time zone. You need `telemetry:read` too; the part on alerts is
    included if you may read alerts. Without a mail server the response is 409 `email_not_configured`. An
    organisation can have 200 schedules (422 `too_many_report_schedules`).
    """
    row = await schedule_service.add_schedule(session, principal, body, smtp=smtp, now=datetime.now(UTC))
    return ReportScheduleOut.of(row)


@router.get("", summary="List scheduled reports")
async def list_report_schedules(
    *,
    principal: _Reader,
    session: WriteSessionDep,
    site: Annotated[Identifier | None, Query(description="Only of this site")] = None,
    organisation: OrganisationFilter = None,
    query: Annotated[PageRequest, Depends(SCHEDULES.page_request)],
) -> Page[ReportScheduleOut]:
    """List scheduled reports, by default the oldest first. The audit log records who reads recipients."""
    found = await schedule_repository.list_schedules(
        session, principal.visible(), query, site=site, organisation=organisation
    )
    rows, following = SCHEDULES.cut(found, query)
    await _record(session, *rows)
    return Page(data=[ReportScheduleOut.of(row) for row in rows], next=following)


@router.get("/{schedule_id}", summary="Read a scheduled report")
async def get_report_schedule(
    principal: _Reader, session: WriteSessionDep, schedule_id: str
) -> ReportScheduleOut:
    """Read one scheduled report. The audit log records who reads recipients."""
    identifier = parse_id(schedule_id, _NOUN)
    row = await schedule_repository.find_schedule(session, identifier, principal.visible())
    await _record(session, row)
    return ReportScheduleOut.of(row)


@router.patch("/{schedule_id}", summary="Change a scheduled report")
async def update_report_schedule(
    *,
    principal: _Writer,
    session: WriteSessionDep,
    smtp: _Smtp,
    schedule_id: str,
    body: ReportScheduleChange,
    matching: PreconditionDep,
) -> ReportScheduleOut:
    """Change the given fields. A change neither skips a period nor mails it again."""
    row = await schedule_service.change_schedule(
        session,
        principal,
        parse_id(schedule_id, _NOUN),
        collect_sent_fields(body),
        smtp=smtp,
        now=datetime.now(UTC),
        check=matching.on(ReportScheduleOut.of),
    )
    if principal.may(_READ_SCOPE):
        # Callers without this scope do not get the row in the response.
        await _record(session, row)
    return ReportScheduleOut.of(row)


@router.delete("/{schedule_id}", status_code=204, summary="Delete a scheduled report")
async def delete_report_schedule(
    principal: _Writer, session: WriteSessionDep, schedule_id: str, matching: PreconditionDep
) -> None:
    """Delete a scheduled report with the list of its mails. A mail that is being sent may still arrive."""
    identifier = parse_id(schedule_id, _NOUN)
    row = await schedule_repository.find_schedule(session, identifier, principal.visible(), lock=True)
    matching.check(ReportScheduleOut.of(row))
    await session.delete(row)
    await session.flush()


@router.post(
    "/{schedule_id}/send", status_code=202, summary="Mail a report now", responses=document_problems(409, 429)
)
async def send_report_now(
    principal: _Writer, session: WriteSessionDep, smtp: _Smtp, schedule_id: str
) -> ReportRunOut:
    """Mail the report of the last complete period to the recipients now, also if it was mailed before.

    `GET …/runs` shows its state. At most one mail a minute can be requested (429 `report_requested`). The
    schedule itself continues unchanged.
    """
    run = await schedule_service.request_mail(
        session, principal, parse_id(schedule_id, _NOUN), smtp=smtp, now=datetime.now(UTC)
    )
    return ReportRunOut.of(run)


@router.get("/{schedule_id}/runs", summary="List the mails of a scheduled report")
async def list_report_runs(
    *,
    principal: _Reader,
    session: ReadSessionDep,
    schedule_id: str,
    query: Annotated[PageRequest, Depends(RUNS.page_request)],
) -> Page[ReportRunOut]:
    """List the mails of a scheduled report with their states and errors, by default the newest first."""
    identifier = parse_id(schedule_id, _NOUN)
    row = await schedule_repository.find_schedule(session, identifier, principal.visible())
    runs, following = RUNS.cut(await schedule_repository.list_runs(session, row.id, query), query)
    return Page(data=[ReportRunOut.of(run) for run in runs], next=following)
