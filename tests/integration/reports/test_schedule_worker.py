"""Scheduled reports are mailed once for each period, whatever mail server and process do meanwhile."""

import asyncio
import csv
import io
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from email.message import EmailMessage
from typing import Any
from zoneinfo import ZoneInfo

import asyncpg
import pypdf
import pytest

from app.platform.db.database import Database
from app.platform.runtime.stored_settings import InstallationSettings
from app.platform.secrets.sealing import SecretSealer
from app.reports import run_repository, schedule_worker
from app.reports.report_input import CSV_COLUMNS
from app.reports.schedule_worker import SCHEDULE_S, ReportScheduleWorker
from app.settings import VigieSettings
from tests.conftest import Tenant
from tests.integration.environmental_indices.town import Record, measure
from tests.integration.notifications.mail_servers import Mailbox, mailbox, part, smtp
from tests.roles import working_as

TO = ["mairie@example.com", "air@example.org"]


def find_yesterday() -> date:
    return datetime.now(UTC).astimezone(ZoneInfo("Europe/Paris")).date() - timedelta(days=1)


@pytest.fixture
async def server(settings: VigieSettings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Mailbox]:
    async with mailbox() as opened:
        for name, value in smtp(opened.port).model_dump().items():
            monkeypatch.setattr(settings.smtp, name, value)
        yield opened


@pytest.fixture
async def owner(database: Database) -> AsyncIterator[asyncpg.Connection]:
    connection = await database.connect()
    yield connection
    await connection.close()


@pytest.fixture
async def maintain(database: Database) -> AsyncIterator[Database]:
    """The database as `vigie maintain` may use it."""
    async with working_as("maintain", database) as opened:
        yield opened


@pytest.fixture
def worker(settings: VigieSettings) -> ReportScheduleWorker:
    return ReportScheduleWorker(InstallationSettings(settings, SecretSealer.of(settings.encryption)))


async def schedule(tenant: Tenant, site_id: str, **more: Any) -> str:  # noqa: ANN401 (a JSON body)
    body = {"site_id": site_id, "report": "day", "recipients": TO, "formats": ["csv"], **more}
    answer = await tenant.client.post("/v1/report-schedules", json=body)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


async def read(tenant: Tenant, schedule_id: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A schedule, and its mails."""
    path = f"/v1/report-schedules/{schedule_id}"
    shown = (await tenant.client.get(path)).raise_for_status().json()
    return shown, (await tenant.client.get(f"{path}/runs")).raise_for_status().json()["data"]


async def come_due(owner: asyncpg.Connection, at: str = "now() - interval '1 second'") -> None:
    await owner.execute(f"UPDATE report_schedules SET next_at = {at}")  # noqa: S608 (a constant)


async def work(worker: ReportScheduleWorker, maintain: Database) -> int:
    """Plan and mail what is due, as `vigie maintain` does; the number of attempts."""
    connection = await maintain.connect()
    try:
        await run_repository.plan_due_runs(connection)
        return await worker.mail_due_reports(maintain)
    finally:
        await connection.close()


def attached(message: EmailMessage) -> dict[str, bytes]:
    found = {}
    for each in message.iter_attachments():
        content = each.get_content()
        found[str(each.get_filename())] = content if isinstance(content, bytes) else content.encode()
    return found


async def test_a_report_is_mailed_with_its_files_in_its_language(
    *,
    tenant: Tenant,
    site_id: str,
    server: Mailbox,
    owner: asyncpg.Connection,
    worker: ReportScheduleWorker,
    maintain: Database,
) -> None:
    yesterday = find_yesterday()
    first = yesterday.isoformat()
    record = Record.of(f"{first}T06:00", f"{first}T12:00", 600, 1, pm2_5=(4, 40), laeq=(45, 75))
    await measure(tenant, site_id, "loud", record)
    rule = {"metric": "pm2_5", "operator": ">", "threshold": 10}
    body = {"site_id": site_id, "name": "Dust", "severity": "warning", "condition": rule}
    (await tenant.client.post("/v1/rules", json=body)).raise_for_status()
    identifier = await schedule(tenant, site_id, formats=["pdf", "csv"], language="fr")
    assert await work(worker, maintain) == 0
    await come_due(owner)
    assert await work(worker, maintain) == 1
    (message,) = server.mails()
    assert server.got[0].rcpt_tos == TO
    assert message["To"] == ", ".join(TO)
    assert message["Subject"].startswith("Rapport journalier\u00a0: Rue d")
    assert message["Content-Language"] == "fr"
    assert message["X-Vigie-Event"] == "report"
    assert "les mesures (CSV)" in part(message, "plain")
    assert "Tenant" in part(message, "html")
    files = attached(message)
    stem = f"vigie-rue-d-alsace-lorraine-{yesterday}-fr"
    assert list(files) == [f"{stem}.pdf", f"{stem}.csv"]
    pages = pypdf.PdfReader(io.BytesIO(files[f"{stem}.pdf"])).pages
    assert "RAPPORT JOURNALIER" in pages[0].extract_text()
    header, *rows = csv.reader(io.StringIO(files[f"{stem}.csv"].decode()))
    assert tuple(header) == CSV_COLUMNS
    begins, means, counts = record.hours("pm2_5")
    dust = [dict(zip(header, row, strict=True)) for row in rows if row[1] == "pm2_5"]
    assert [int(datetime.fromisoformat(row["from"]).timestamp() * 1e6) for row in dust] == begins.tolist()
    assert [float(row["mean"]) for row in dust] == pytest.approx(means.tolist(), rel=1e-3)
    assert [int(row["count"]) for row in dust] == counts.tolist()
    shown, runs = await read(tenant, identifier)
    assert (shown["last_error"], shown["last_sent_at"] is not None) == (None, True)
    assert shown["next_at"] > datetime.now(UTC).isoformat()
    assert [(run["state"], run["first_day"], run["requested"]) for run in runs] == [("sent", first, False)]
    assert runs[0]["answer"].startswith("2.0.0 queued")


@pytest.mark.parametrize(
    ("report", "subject"), [("week", "Weekly report: Rue d"), ("month", "Monthly report: Rue d")]
)
async def test_weeks_and_months_are_mailed_too(
    *,
    tenant: Tenant,
    site_id: str,
    server: Mailbox,
    owner: asyncpg.Connection,
    worker: ReportScheduleWorker,
    maintain: Database,
    report: str,
    subject: str,
) -> None:
    identifier = await schedule(tenant, site_id, report=report)
    await come_due(owner)
    assert await work(worker, maintain) == 1
    (message,) = server.mails()
    assert message["Subject"].startswith(subject)
    _, (run,) = await read(tenant, identifier)
    days = (date.fromisoformat(run["last_day"]) - date.fromisoformat(run["first_day"])).days + 1
    assert days == 7 if report == "week" else days in {28, 29, 30, 31}


async def test_a_period_is_mailed_once_however_often_it_is_due(
    *,
    tenant: Tenant,
    site_id: str,
    server: Mailbox,
    owner: asyncpg.Connection,
    worker: ReportScheduleWorker,
    maintain: Database,
) -> None:
    identifier = await schedule(tenant, site_id)
    for _ in range(3):
        await come_due(owner)
        await work(worker, maintain)
    await tenant.client.patch(f"/v1/report-schedules/{identifier}", json={"hour": 23})
    await come_due(owner)
    assert await work(worker, maintain) == 0
    assert len(server.got) == 1
    # A person may have it once more, as a mail of its own.
    assert (await tenant.client.post(f"/v1/report-schedules/{identifier}/send")).status_code == 202
    assert await work(worker, maintain) == 1
    first, second = (message["Message-ID"] for message in server.mails())
    assert first != second
    _, runs = await read(tenant, identifier)
    assert [(run["state"], run["requested"]) for run in runs] == [("sent", True), ("sent", False)]


@pytest.mark.usefixtures("server")
async def test_requested_mails_do_not_delay_those_of_the_schedules(
    *, tenant: Tenant, site_id: str, owner: asyncpg.Connection, maintain: Database
) -> None:
    requested = await schedule(tenant, site_id)
    (await tenant.client.post(f"/v1/report-schedules/{requested}/send")).raise_for_status()
    planned = await schedule(tenant, site_id)
    await owner.execute("UPDATE report_schedules SET next_at = now() WHERE id = $1", planned)
    connection = await maintain.connect()
    try:
        await run_repository.plan_due_runs(connection)
        leased = [await run_repository.lease_due_run(connection) for _ in range(2)]
    finally:
        await connection.close()
    assert [str(each.schedule_id) for each in leased if each] == [planned, requested]


async def test_two_processes_mail_a_report_once(
    *,
    tenant: Tenant,
    site_id: str,
    server: Mailbox,
    owner: asyncpg.Connection,
    worker: ReportScheduleWorker,
    maintain: Database,
) -> None:
    for hour in range(3):
        await schedule(tenant, site_id, hour=hour)
    await come_due(owner)
    attempts = await asyncio.gather(*(work(worker, maintain) for _ in range(3)))
    assert sum(attempts) == 3
    assert len({message["Message-ID"] for message in server.mails()}) == len(server.got) == 3


async def test_a_process_that_dies_after_sending_sends_the_same_message_again(
    *,
    tenant: Tenant,
    site_id: str,
    server: Mailbox,
    owner: asyncpg.Connection,
    worker: ReportScheduleWorker,
    maintain: Database,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    identifier = await schedule(tenant, site_id)
    await come_due(owner)

    async def die(*_: object) -> None:
        raise asyncio.CancelledError

    with monkeypatch.context() as patched:
        patched.setattr(run_repository, "record_sent", die)
        with pytest.raises(asyncio.CancelledError):
            await work(worker, maintain)
    assert await work(worker, maintain) == 0  # the lease lasts
    await owner.execute("UPDATE report_runs SET due_at = now()")
    assert await work(worker, maintain) == 1
    first, second = server.mails()
    assert first["Message-ID"] == second["Message-ID"]
    _, (run,) = await read(tenant, identifier)
    assert (run["state"], run["attempts"]) == ("sent", 2)
    assert await work(worker, maintain) == 0


async def test_a_mail_that_is_deferred_is_tried_again_and_given_up_in_the_end(
    *,
    tenant: Tenant,
    site_id: str,
    server: Mailbox,
    owner: asyncpg.Connection,
    worker: ReportScheduleWorker,
    maintain: Database,
) -> None:
    identifier = await schedule(tenant, site_id)
    await come_due(owner)
    server.answers["DATA"] = "451 later"
    for number, wait_s in enumerate(SCHEDULE_S, 1):
        assert await work(worker, maintain) == 1
        shown, (run,) = await read(tenant, identifier)
        assert (run["state"], run["error"], run["status"], run["attempts"]) == (
            "pending",
            "mail_deferred",
            451,
            number,
        )
        assert shown["last_error"] == "mail_deferred"
        due = datetime.fromisoformat(run["due_at"]) - datetime.now(UTC)
        assert wait_s - 60 < due.total_seconds() <= wait_s
        assert await work(worker, maintain) == 0
        await owner.execute("UPDATE report_runs SET due_at = now()")
    assert await work(worker, maintain) == 1
    shown, (run,) = await read(tenant, identifier)
    assert (run["state"], run["due_at"], shown["last_error"]) == ("failed", None, "mail_deferred")
    assert await work(worker, maintain) == 0
    # The next period begins anew.
    server.answers.clear()
    await owner.execute("UPDATE report_runs SET first_day = first_day - 1, last_day = last_day - 1")
    await come_due(owner)
    assert await work(worker, maintain) == 1
    shown, _ = await read(tenant, identifier)
    assert (shown["last_error"], shown["last_sent_at"] is not None) == (None, True)


async def test_a_refused_recipient_is_named_and_the_others_get_the_mail(
    *,
    tenant: Tenant,
    site_id: str,
    server: Mailbox,
    owner: asyncpg.Connection,
    worker: ReportScheduleWorker,
    maintain: Database,
) -> None:
    identifier = await schedule(tenant, site_id)
    await come_due(owner)
    server.answers[TO[1]] = "550 no such mailbox"
    await work(worker, maintain)
    assert server.got[0].rcpt_tos == TO[:1]
    _, (run,) = await read(tenant, identifier)
    assert run["state"] == "sent"
    assert f"{TO[1]}: 550" in run["answer"]


async def test_reports_that_cannot_be_made_say_why(
    *,
    tenant: Tenant,
    site_id: str,
    server: Mailbox,
    owner: asyncpg.Connection,
    worker: ReportScheduleWorker,
    maintain: Database,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    identifier = await schedule(tenant, site_id)
    await come_due(owner)
    monkeypatch.setattr(schedule_worker, "MAX_ATTACHED_BYTES", 10)
    assert await work(worker, maintain) == 1
    shown, (run,) = await read(tenant, identifier)
    assert (run["state"], run["error"], shown["last_error"]) == ("failed", "mail_too_large", "mail_too_large")
    boxes = [{"id": f"b-{number}", "site_id": site_id} for number in range(101)]
    (await tenant.client.post("/v1/boxes/bulk", json={"boxes": boxes})).raise_for_status()
    await tenant.client.post(f"/v1/report-schedules/{identifier}/send")
    await work(worker, maintain)
    _, (run, _) = await read(tenant, identifier)
    assert (run["state"], run["error"]) == ("failed", "too_many_boxes")
    assert server.got == []


async def test_missed_days_are_mailed_afterwards_but_not_very_old_ones(
    *,
    tenant: Tenant,
    site_id: str,
    server: Mailbox,
    owner: asyncpg.Connection,
    worker: ReportScheduleWorker,
    maintain: Database,
) -> None:
    identifier = await schedule(tenant, site_id, hour=0)
    await come_due(owner, "next_at - interval '21 days'")
    assert await work(worker, maintain) == 7
    _, runs = await read(tenant, identifier)
    days = sorted(run["first_day"] for run in runs)
    assert days == [(find_yesterday() - timedelta(days=back)).isoformat() for back in range(6, -1, -1)]
    await owner.execute("UPDATE report_runs SET created_at = now() - interval '401 days'")
    connection = await maintain.connect()
    await run_repository.delete_old_runs(connection)
    await connection.close()
    assert (await read(tenant, identifier))[1] == []
    assert len(server.got) == 7


async def test_a_change_of_a_schedule_that_is_due_loses_no_period(
    *,
    tenant: Tenant,
    site_id: str,
    server: Mailbox,
    owner: asyncpg.Connection,
    worker: ReportScheduleWorker,
    maintain: Database,
) -> None:
    identifier = await schedule(tenant, site_id, hour=0)
    path = f"/v1/report-schedules/{identifier}"
    at_midnight = (await tenant.client.get(path)).json()["next_at"]
    await come_due(owner)
    # A form sends all fields.
    same = {"report": "day", "hour": 0, "recipients": TO, "formats": ["csv"], "enabled": True}
    unchanged = (await tenant.client.patch(path, json={**same, "language": "fr"})).raise_for_status().json()
    assert datetime.fromisoformat(unchanged["next_at"]) < datetime.now(UTC)
    assert (await read(tenant, identifier))[1] == []
    # What became due before a change is mailed once, whatever the schedule is afterwards.
    await tenant.client.patch(path, json={"report": "month", "hour": 23})
    await tenant.client.patch(path, json=same)
    await come_due(owner)
    await tenant.client.patch(path, json={"enabled": False})
    assert await work(worker, maintain) == 1
    _, (run,) = await read(tenant, identifier)
    assert (run["report"], run["first_day"], run["state"]) == ("day", find_yesterday().isoformat(), "sent")
    assert not run["requested"]
    assert len(server.got) == 1
    resumed = (await tenant.client.patch(path, json={"enabled": True})).raise_for_status().json()
    assert resumed["next_at"] == at_midnight


async def test_what_is_paused_or_without_a_mail_server_waits(
    *,
    tenant: Tenant,
    site_id: str,
    server: Mailbox,
    owner: asyncpg.Connection,
    worker: ReportScheduleWorker,
    maintain: Database,
    settings: VigieSettings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    paused = await schedule(tenant, site_id, enabled=False)
    await come_due(owner)
    assert await work(worker, maintain) == 0
    await tenant.client.patch(f"/v1/report-schedules/{paused}", json={"enabled": True})
    await come_due(owner)
    with monkeypatch.context() as patched:
        patched.setattr(settings.smtp, "host", None)
        assert await work(worker, maintain) == 1
    shown, (run,) = await read(tenant, paused)
    assert (run["state"], shown["last_error"]) == ("pending", "not_configured")
    await owner.execute("UPDATE report_runs SET due_at = now()")
    assert await work(worker, maintain) == 1
    assert len(server.got) == 1


async def test_an_organisation_has_so_many_mails_an_hour(
    *,
    tenant: Tenant,
    site_id: str,
    server: Mailbox,
    owner: asyncpg.Connection,
    maintain: Database,
    settings: VigieSettings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(settings.smtp, "mails_per_hour", 1)
    worker = ReportScheduleWorker(InstallationSettings(settings, SecretSealer.of(settings.encryption)))
    for _ in range(2):
        await schedule(tenant, site_id)
    await come_due(owner)
    assert await work(worker, maintain) == 2
    assert len(server.got) == 1
    rows = await owner.fetch(
        "SELECT state, error, attempts, due_at > now() + interval '50 minutes' FROM report_runs "
        "ORDER BY state"
    )
    # It waits until there is room, and uses up no attempt.
    assert [tuple(row) for row in rows] == [("pending", "quota_exceeded", 0, True), ("sent", None, 1, None)]


async def test_the_process_plans_and_mails_in_the_background(
    *,
    tenant: Tenant,
    site_id: str,
    server: Mailbox,
    owner: asyncpg.Connection,
    worker: ReportScheduleWorker,
    maintain: Database,
) -> None:
    await schedule(tenant, site_id)
    await come_due(owner)
    connection = await maintain.connect()
    try:
        await worker.tick(maintain, connection)
        await server.wait(1)
        await worker.stop()
        await worker.tick(maintain, connection)
        await worker.stop()
    finally:
        await connection.close()
    assert len(server.got) == 1
