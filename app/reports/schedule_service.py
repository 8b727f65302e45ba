"""Creates and changes scheduled reports, and requests mails of them.

`app.reports.schedule_worker` makes and sends the mails.
"""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID
from zoneinfo import ZoneInfo

from app.notifications.email.allowed_recipients import check_recipients
from app.platform.config.platform_settings import SmtpSettings
from app.platform.db.database import WriteSession
from app.platform.http.contract.etags import skip_precondition
from app.platform.identity.caller_authentication import Principal, require_scope
from app.platform.kernel.errors import ConflictError, InvalidError, TooManyRequestsError
from app.platform.kernel.ids import new_id
from app.registry.site_repository import get_site
from app.reports import schedule_repository
from app.reports.models import ReportRun, ReportSchedule
from app.reports.schedule_schemas import ReportScheduleCreate
from app.reports.schedule_times import (
    find_due_after_change,
    find_next_due,
    find_reported_period,
    list_due_times,
)

MAX_SCHEDULES: Final = 200
"""The most schedules of an organisation: each report takes seconds of CPU time."""
REQUEST_PAUSE_S: Final = 60
"""The least time between two mails of a schedule that people request."""

_READS_MEASUREMENTS: Final = require_scope("telemetry:read")
_TIMES: Final = frozenset({"report", "hour", "enabled"})


async def add_schedule(
    session: WriteSession,
    principal: Principal,
    body: ReportScheduleCreate,
    *,
    smtp: SmtpSettings,
    now: datetime,
) -> ReportSchedule:
    """Create a schedule.

    Args:
        session: the transaction.
        principal: the caller. Reports contain no more than it may read.
        body: the new schedule.
        smtp: the mail server, and the domains that mails may go to.
        now: the current time, aware.

    Raises:
        NotFoundError: no such site in the tenant scope.
        ForbiddenError: the caller lacks `telemetry:read`.
        ConflictError: `email_not_configured`.
        InvalidError: `invalid_email_address`, `recipient_domain_not_allowed`, `too_many_report_schedules`.
    """
    _READS_MEASUREMENTS.check(principal)
    site = await get_site(session, str(body.site_id), principal.visible(), lock=True)
    _require_mail_server(smtp)
    recipients = check_recipients(body.recipients, smtp.recipient_domains, field="body.recipients")
    if await schedule_repository.count_schedules(session, site.organisation_id) >= MAX_SCHEDULES:
        raise InvalidError(
            f"The organisation has {MAX_SCHEDULES} scheduled reports, which is the limit. Delete some, or "
            "add recipients to one.",
            code="too_many_report_schedules",
        )
    row = ReportSchedule(
        id=new_id(),
        organisation_id=site.organisation_id,
        site_id=site.id,
        report=body.report,
        hour=body.hour,
        recipients=recipients,
        formats=body.formats,
        language=body.language,
        alerts=principal.may("alerts:read"),
        enabled=body.enabled,
        next_at=find_next_due(body.report, body.hour, ZoneInfo(site.timezone), now),
        created_by=principal.key_id,
        created_at=now,
        updated_at=now,
    )
    session.add(row)
    await session.flush()
    return row


async def change_schedule(
    session: WriteSession,
    principal: Principal,
    schedule_id: UUID,
    fields: Mapping[str, Any],
    *,
    smtp: SmtpSettings,
    now: datetime,
    check: Callable[[ReportSchedule], None] = skip_precondition,
) -> ReportSchedule:
    """Change a schedule. Each period is mailed once by it: none is skipped, and none is mailed again.

    Args:
        session: the transaction.
        principal: the caller.
        schedule_id: the schedule.
        fields: the fields of the request body that were sent.
        smtp: the domains that mails may go to.
        now: the current time, aware.
        check: checks the row before the change (`If-Match`).

    Raises:
        NotFoundError: no such schedule.
        ForbiddenError: the caller lacks `telemetry:read`.
        InvalidError: `invalid_email_address`, `recipient_domain_not_allowed`.
    """
    _READS_MEASUREMENTS.check(principal)
    row = await schedule_repository.find_schedule(session, schedule_id, principal.visible(), lock=True)
    check(row)
    values = dict(fields)
    if "recipients" in values:
        recipients = check_recipients(values["recipients"], smtp.recipient_domains, field="body.recipients")
        values["recipients"] = recipients
    # A form sends all fields: only those that differ change the times.
    if any(values.get(name, getattr(row, name)) != getattr(row, name) for name in _TIMES):
        site = await get_site(session, str(row.site_id), principal.visible())
        await _change_times(session, row, values, ZoneInfo(site.timezone), now)
    for name, value in values.items():
        setattr(row, name, value)
    if fields:
        row.updated_at = now
    await session.flush()
    return row


async def _change_times(
    session: WriteSession, row: ReportSchedule, values: Mapping[str, Any], zone: ZoneInfo, now: datetime
) -> None:
    """Compute the next due time of a schedule that gets new values.

    A mail that was due before the change, and that no process has planned yet, is planned now.
    """
    length, hour = values.get("report", row.report), values.get("hour", row.hour)
    if not row.enabled:
        # Periods that ended while it was paused are not mailed.
        row.next_at = find_next_due(length, hour, zone, now)
        return
    for due_at in list_due_times(row.report, row.hour, zone, row.next_at, now):
        await schedule_repository.add_scheduled_run(
            session, row, find_reported_period(row.report, zone, due_at), now
        )
    former_due = row.next_at if row.next_at > now else find_next_due(row.report, row.hour, zone, now)
    row.next_at = find_due_after_change(length, hour, zone, former_due=former_due, now=now)


async def request_mail(
    session: WriteSession, principal: Principal, schedule_id: UUID, *, smtp: SmtpSettings, now: datetime
) -> ReportRun:
    """Make a mail of the last complete period due now, also if the schedule is not enabled.

    Args:
        session: the transaction.
        principal: the caller.
        schedule_id: the schedule.
        smtp: the mail server.
        now: the current time, aware.

    Raises:
        NotFoundError: no such schedule.
        ForbiddenError: the caller lacks `telemetry:read`.
        ConflictError: `email_not_configured`.
        TooManyRequestsError: `report_requested`: one was requested less than a minute ago.
    """
    _READS_MEASUREMENTS.check(principal)
    row = await schedule_repository.find_schedule(session, schedule_id, principal.visible(), lock=True)
    _require_mail_server(smtp)
    last = await schedule_repository.find_last_requested_run(session, row.id)
    pause = timedelta(seconds=REQUEST_PAUSE_S)
    if last is not None and now - last.created_at < pause:
        raise TooManyRequestsError(
            "A mail of this schedule was requested less than a minute ago. `GET …/runs` shows its state.",
            code="report_requested",
            retry_after_s=max(1, round((last.created_at + pause - now).total_seconds())),
        )
    site = await get_site(session, str(row.site_id), principal.visible())
    period = find_reported_period(row.report, ZoneInfo(site.timezone), now)
    run = ReportRun(
        id=new_id(),
        schedule_id=row.id,
        organisation_id=row.organisation_id,
        site_id=row.site_id,
        report=row.report,
        first_day=period.first,
        last_day=period.last,
        requested=True,
        state="pending",
        attempts=0,
        due_at=now,
        created_at=now,
    )
    session.add(run)
    await session.flush()
    return run


def _require_mail_server(smtp: SmtpSettings) -> None:
    if smtp.host is None:
        raise ConflictError(
            "This installation has no mail server. A platform administrator has to set one with "
            "`PUT /v1/settings/mail`, or its operator VIGIE_SMTP__HOST for the api and maintain processes.",
            code="email_not_configured",
        )
