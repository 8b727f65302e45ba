"""Scheduled reports by REST: made, changed, limited, and mailed on request."""

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import asyncpg
import pytest
from fastapi import FastAPI

from app.platform.db.database import Database
from app.reports import schedule_service
from app.settings import VigieSettings
from tests.conftest import Tenant, client_of
from tests.integration.notifications.mail_servers import smtp

TO = ["mairie@example.com", "air@example.org"]


@pytest.fixture(autouse=True)
def mail_server(settings: VigieSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set a mail server, which these tests never talk to."""
    for name, value in smtp(1).model_dump().items():
        monkeypatch.setattr(settings.smtp, name, value)


@pytest.fixture
async def owner(database: Database) -> Any:  # noqa: ANN401 (a connection)
    connection = await database.connect()
    yield connection
    await connection.close()


async def schedule(tenant: Tenant, site_id: str, **more: Any) -> dict[str, Any]:  # noqa: ANN401 (a JSON body)
    body = {"site_id": site_id, "report": "day", "recipients": TO, **more}
    answer = await tenant.client.post("/v1/report-schedules", json=body)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def test_a_schedule_is_made_read_changed_and_deleted(tenant: Tenant, site_id: str) -> None:
    made = await schedule(tenant, site_id, report="month", formats=["csv", "pdf"], language="fr")
    assert made == made | {
        "site_id": site_id,
        "report": "month",
        "hour": 8,
        "recipients": TO,
        "formats": ["csv", "pdf"],
        "language": "fr",
        "enabled": True,
        "alerts": True,
        "last_sent_at": None,
        "last_error": None,
    }
    due = datetime.fromisoformat(made["next_at"]).astimezone(ZoneInfo("Europe/Paris"))
    assert (due.day, due.hour) == (1, 8)
    path = f"/v1/report-schedules/{made['id']}"
    shown = await tenant.client.get(path)
    assert shown.json() == made
    listed = (await tenant.client.get("/v1/report-schedules", params={"site": site_id})).json()
    assert listed == {"data": [made], "next": None}
    changed = await tenant.client.patch(
        path, json={"hour": 5, "report": "week"}, headers={"If-Match": shown.headers["etag"]}
    )
    assert changed.status_code == 200, changed.text
    due = datetime.fromisoformat(changed.json()["next_at"]).astimezone(ZoneInfo("Europe/Paris"))
    assert (due.weekday(), due.hour) == (0, 5)
    late = await tenant.client.patch(path, json={"hour": 6}, headers={"If-Match": shown.headers["etag"]})
    assert late.status_code == 412
    paused = (await tenant.client.patch(path, json={"enabled": False})).json()
    assert (paused["enabled"], paused["next_at"]) == (False, None)
    assert (await tenant.client.delete(path)).status_code == 204
    assert (await tenant.client.get(path)).status_code == 404


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"recipients": []}, "invalid_email_address"),
        ({"recipients": ["not an address"]}, "invalid_email_address"),
        ({"recipients": ["root@localhost"]}, "invalid_email_address"),
        ({"formats": []}, "too_short"),
        ({"formats": ["html"]}, "invalid_value"),
        ({"hour": 24}, "out_of_range"),
        ({"report": "year"}, "invalid_value"),
    ],
)
async def test_a_schedule_that_makes_no_sense_is_refused(
    tenant: Tenant, site_id: str, body: dict[str, Any], code: str
) -> None:
    whole = {"site_id": site_id, "report": "day", "recipients": TO, **body}
    answer = await tenant.client.post("/v1/report-schedules", json=whole)
    assert answer.status_code == 422, answer.text
    assert code in answer.text or code in {"too_short", "invalid_value", "out_of_range"}


async def test_mails_go_to_allowed_domains_only(
    tenant: Tenant, site_id: str, settings: VigieSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings.smtp, "recipient_domains", ("example.com",))
    body = {"site_id": site_id, "report": "day", "recipients": TO}
    answer = await tenant.client.post("/v1/report-schedules", json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "recipient_domain_not_allowed")
    assert answer.json()["errors"][0]["field"] == "body.recipients.1"


async def test_without_a_mail_server_there_are_no_schedules(
    tenant: Tenant, site_id: str, settings: VigieSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings.smtp, "host", None)
    body = {"site_id": site_id, "report": "day", "recipients": TO}
    answer = await tenant.client.post("/v1/report-schedules", json=body)
    assert (answer.status_code, answer.json()["code"]) == (409, "email_not_configured")


async def test_a_report_has_no_more_than_its_creator_may_read(
    application: FastAPI, tenant: Tenant, site_id: str
) -> None:
    body = {"site_id": site_id, "report": "day", "recipients": TO}
    for scopes, status in ((["webhooks:write"], 403), (["webhooks:write", "telemetry:read"], 201)):
        key = (await tenant.client.post("/v1/api-keys", json={"name": "x", "scopes": scopes})).json()["key"]
        async with client_of(application, key) as client:
            answer = await client.post("/v1/report-schedules", json=body)
        assert answer.status_code == status, answer.text
    assert answer.json()["alerts"] is False


async def test_an_organisation_has_a_limited_number(
    tenant: Tenant, site_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedule_service, "MAX_SCHEDULES", 1)
    await schedule(tenant, site_id)
    body = {"site_id": site_id, "report": "day", "recipients": TO}
    answer = await tenant.client.post("/v1/report-schedules", json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "too_many_report_schedules")


async def test_a_mail_can_be_requested_once_a_minute(
    tenant: Tenant, site_id: str, owner: asyncpg.Connection
) -> None:
    made = await schedule(tenant, site_id, enabled=False)
    path = f"/v1/report-schedules/{made['id']}"
    run = await tenant.client.post(f"{path}/send")
    assert run.status_code == 202, run.text
    yesterday = datetime.now(UTC).astimezone(ZoneInfo("Europe/Paris")).date() - timedelta(days=1)
    assert run.json() == run.json() | {
        "schedule_id": made["id"],
        "report": "day",
        "first_day": yesterday.isoformat(),
        "last_day": yesterday.isoformat(),
        "requested": True,
        "state": "pending",
        "attempts": 0,
        "error": None,
    }
    again = await tenant.client.post(f"{path}/send")
    assert (again.status_code, again.json()["code"]) == (429, "report_requested")
    assert 1 <= int(again.headers["retry-after"]) <= 60
    await owner.execute("UPDATE report_runs SET created_at = created_at - interval '1 minute'")
    assert (await tenant.client.post(f"{path}/send")).status_code == 202
    runs = (await tenant.client.get(f"{path}/runs", params={"limit": 1})).json()
    rest = (await tenant.client.get(f"{path}/runs", params={"cursor": runs["next"]})).json()
    assert [each["id"] for each in rest["data"]] == [run.json()["id"]]


async def test_recipients_are_personal_data(tenant: Tenant, site_id: str, owner: asyncpg.Connection) -> None:
    made = await schedule(tenant, site_id)
    await tenant.client.get(f"/v1/report-schedules/{made['id']}")
    await tenant.client.patch(f"/v1/report-schedules/{made['id']}", json={"recipients": TO[:1]})
    entries = await owner.fetch("SELECT action, record FROM audit_log ORDER BY at, position")
    actions = [row["action"] for row in entries if row["action"].startswith("report_schedule")]
    assert actions[:3] == ["report_schedule.created", "report_schedule.read", "report_schedule.updated"]
    assert not any("example" in row["record"] for row in entries if "report_schedule" in row["action"])


async def test_another_tenants_schedules_are_not_there(
    tenant: Tenant, other_tenant: Tenant, site_id: str
) -> None:
    made = await schedule(tenant, site_id)
    path = f"/v1/report-schedules/{made['id']}"
    for method, each in (("GET", path), ("DELETE", path), ("POST", f"{path}/send"), ("GET", f"{path}/runs")):
        assert (await other_tenant.client.request(method, each)).status_code == 404
    body = {"site_id": site_id, "report": "day", "recipients": TO}
    assert (await other_tenant.client.post("/v1/report-schedules", json=body)).status_code == 404
