"""Makes and mails scheduled reports in the background of `vigie maintain`.

A mail is planned once for each period, in a transaction, and leased for each attempt. Its `Message-ID` is
derived from its id: if the process dies between sending and recording, the same message is sent again, which
mailboxes can recognise. Reports are made one after the other, in child processes.
"""

import asyncio
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

import asyncpg
import msgspec
from sqlalchemy import select
from sqlalchemy.orm import load_only

from app.environmental_indices.boxes_and_read_limits import find_indexed_boxes
from app.environmental_indices.period_selection import DatedPeriod
from app.notifications.delivery.endpoint_health import QUOTA_EXCEEDED
from app.notifications.delivery.transport_types import AttemptOutcome, build_message_id
from app.notifications.email.email_transport import EmailTransport
from app.notifications.email.mail_quota import HourlyMailQuota, MailQuotaExceededError
from app.notifications.email.mail_rendering import render_mail_content
from app.notifications.email.mime_message import DeliveryHeaders, MailAttachment
from app.platform.db.database import DATABASE_ERRORS, Database, is_transient
from app.platform.kernel.errors import NotFoundError, VigieError
from app.platform.kernel.tenant_scope import TenantScope
from app.platform.observability.metrics_and_logs import get_logger
from app.platform.runtime.stored_settings import InstallationSettings
from app.registry.models import Site
from app.reports import run_repository
from app.reports.period_labels import make_file_name
from app.reports.process_pool import REPORT_TIMEOUT_S, ReportProcessPool
from app.reports.prometheus_metrics import REPORT_MAILS
from app.reports.report_gathering import ReportRequest, gather_report_input
from app.reports.report_input import ReportFormat, ReportInput, pack_report_input
from app.reports.report_mail import build_report_mail
from app.reports.run_repository import LeasedRun

SCHEDULE_S: Final = (60, 600, 3600, 4 * 3600, 12 * 3600)
"""The back-off after each failed attempt, in seconds; then the mail is given up."""
MAX_ATTACHED_BYTES: Final = 15_000_000
"""The most bytes of attachments: base64 adds a third, and many servers refuse mails above 25 MB."""

_FINAL: Final = frozenset({"address_refused", "site_not_found", "too_many_boxes", "mail_too_large"})
_MEDIA_TYPES: Final = {"pdf": "application/pdf", "csv": "text/csv"}
_TYPE: Final = "report"
_PRUNE_INTERVAL_S: Final = 3600.0
_STOP_S: Final = 5.0
_log = get_logger(__name__)


class ReportFailure(Exception):  # noqa: N818 (an outcome, not a fault)
    """The report cannot be mailed; `code` says why."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class _MadeReport(NamedTuple):
    """A report and its mail."""

    body: bytes
    attachments: list[MailAttachment]


class ReportScheduleWorker:
    """Mails due reports in a background task. Call `tick` periodically, and `stop` before the process ends.

    Args:
        installation: the mail server.
    """

    def __init__(self, installation: InstallationSettings) -> None:
        self._installation = installation
        self._processes = ReportProcessPool()
        self._quota = HourlyMailQuota(installation.smtp.mails_per_hour)
        self._task: asyncio.Task[None] | None = None
        self._pruned_at = -_PRUNE_INTERVAL_S

    async def tick(self, database: Database, connection: asyncpg.Connection) -> None:
        """Plan due mails, and start the background task. Does not wait for it.

        Args:
            database: opens the connections of the background task.
            connection: for the plan and the clean-up.
        """
        await run_repository.plan_due_runs(connection)
        if time.monotonic() - self._pruned_at >= _PRUNE_INTERVAL_S:
            await run_repository.delete_old_runs(connection)
            self._pruned_at = time.monotonic()
        is_idle = self._task is None or self._task.done()
        if is_idle and await run_repository.is_run_due(connection):
            self._task = asyncio.create_task(self._run(database))

    async def stop(self) -> None:
        """Cancel the background task. The lease of an unfinished mail expires, then it is due again."""
        if self._task is not None and not self._task.done():
            self._task.cancel()
            with suppress(TimeoutError, asyncio.CancelledError):
                await asyncio.wait_for(self._task, _STOP_S)

    async def _run(self, database: Database) -> None:
        """Mail all due reports; logs all errors."""
        try:
            await self.mail_due_reports(database)
        except DATABASE_ERRORS as error:
            _log.warning("reports_interrupted", error=repr(error))
        except Exception:  # noqa: BLE001 (no error may end the process)
            _log.exception("reports_failed")

    async def mail_due_reports(self, database: Database) -> int:
        """Mail due reports one after the other until none is due; returns the number of attempts."""
        connection = await database.connect()
        attempts = 0
        try:
            while (run := await run_repository.lease_due_run(connection)) is not None:
                attempts += 1
                await self._attempt(database, connection, run)
        finally:
            connection.terminate()
        return attempts

    async def _attempt(self, database: Database, connection: asyncpg.Connection, run: LeasedRun) -> None:
        """Make and mail one report, and record the outcome."""
        try:
            outcome = await self._mail(database, run)
        except ReportFailure as failure:
            outcome = AttemptOutcome(failure.code, None, None, 0.0)
        except VigieError as error:
            outcome = AttemptOutcome(error.code, None, None, 0.0)
        except Exception as error:
            if is_transient(error):
                # The lease expires, then another attempt follows.
                raise
            _log.exception("report_not_mailed", run=str(run.id))
            outcome = AttemptOutcome("internal_error", None, None, 0.0)
        REPORT_MAILS.labels(outcome.reason).inc()
        _log.info("report_mailed", run=str(run.id), reason=outcome.reason, number=run.attempts)
        if outcome.delivered:
            await run_repository.record_sent(connection, run.id, outcome.status, outcome.body)
            return
        if outcome.reason == QUOTA_EXCEEDED:
            room_in = timedelta(seconds=outcome.retry_after_s or 0.0)
            await run_repository.record_wait(connection, run.id, outcome.reason, room_in)
            return
        is_last = outcome.reason in _FINAL or run.attempts > len(SCHEDULE_S)
        wait = None if is_last else timedelta(seconds=SCHEDULE_S[run.attempts - 1])
        await run_repository.record_failure(
            connection,
            run.id,
            outcome.reason,
            status=outcome.status,
            answer=outcome.body,
            retry_after=wait,
        )

    async def _mail(self, database: Database, run: LeasedRun) -> AttemptOutcome:
        await self._installation.refresh(database)
        if self._installation.smtp.host is None:
            # Before the report is made: that takes seconds.
            return AttemptOutcome("not_configured", None, None, 0.0)
        try:
            with self._quota.reserve(
                run.organisation_id, len(run.recipients), time.monotonic()
            ) as reservation:
                made = await self._make(database, run)
                sent = DeliveryHeaders(build_message_id(run.id), _TYPE)
                async with EmailTransport(self._installation.smtp, self._installation) as mailer:
                    outcome = await mailer.post(
                        made.body, run.recipients, sent, datetime.now(UTC), attachments=made.attachments
                    )
                reservation.is_sent = outcome.delivered
        except MailQuotaExceededError as full:
            return AttemptOutcome(QUOTA_EXCEEDED, None, None, 0.0, full.retry_after_s)
        return outcome

    async def _make(self, database: Database, run: LeasedRun) -> _MadeReport:
        """Make the report in each format, and its mail."""
        attachments = []
        for form in run.formats:
            report_input, slot = await gather_run(database, run, form)
            try:
                async with asyncio.timeout(REPORT_TIMEOUT_S):
                    content = await self._processes.render(pack_report_input(report_input))
            except TimeoutError as error:
                raise ReportFailure("report_not_made") from error
            name = make_file_name(report_input.site, run.report, slot, run.language, form)
            attachments.append(MailAttachment(name, _MEDIA_TYPES[form], content))
        if sum(len(each.content) for each in attachments) > MAX_ATTACHED_BYTES:
            raise ReportFailure("mail_too_large")
        page = build_report_mail(
            run.language,
            length=run.report,
            site=report_input.site,
            organisation=report_input.organisation,
            slot=slot,
            forms=run.formats,
        )
        body = msgspec.json.encode(render_mail_content(page, run.language))
        return _MadeReport(body, attachments)


async def gather_run(
    database: Database, run: LeasedRun, form: ReportFormat
) -> tuple[ReportInput, DatedPeriod]:
    """Read the input of a mail's report, limited to its site.

    Raises:
        ReportFailure: `site_not_found`.
        InvalidError: `too_many_boxes`.
    """
    visible = TenantScope.of([run.organisation_id], [run.site_id])
    async with database.read() as session:
        # The columns that the role of this process may read.
        columns = (Site.id, Site.organisation_id, Site.name, Site.kind, Site.timezone, Site.latitude)
        query = select(Site).options(load_only(*columns, raiseload=True))
        site = await session.scalar(query.where(Site.id == run.site_id))
        if site is None:
            raise ReportFailure("site_not_found")
        slot = DatedPeriod.of_days(run.first_day, run.last_day, ZoneInfo(site.timezone))
        try:
            stations = await find_indexed_boxes(session, site.id, [], visible)
        except NotFoundError as error:
            raise ReportFailure("site_not_found") from error
        now = datetime.now(UTC)
        request = ReportRequest(run.report, slot, run.language, form, visible, run.alerts, now)
        return await gather_report_input(session, site, stations, request), slot
