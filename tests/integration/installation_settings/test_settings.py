"""The mail server and the public address, set by the API: who may, what counts, and what is never shown."""

import asyncio
import socket
from typing import Any

import asyncpg
import httpx
import pytest
from fastapi import FastAPI

from app.installation_settings.settings_service import TEST_LIMIT
from app.notifications.email import smtp_client
from app.platform.db.database import Database
from app.platform.kernel.application_resources import provide_resources
from app.platform.runtime.process_runner import ProcessContext
from app.platform.runtime.stored_settings import InstallationSettings
from app.platform.secrets.sealing import SecretSealer
from app.processes.deliver import run_deliver
from app.settings import VigieSettings
from app.standalone.doctor_database import check_stored_mail
from tests.conftest import Tenant, client_of, new_application, running
from tests.integration.notifications.helpers import until
from tests.integration.notifications.mail_servers import ACCOUNT, mailbox
from tests.roles import working_as

PASSWORD = ACCOUNT[1]
MAIL: dict[str, Any] = {
    "host": "mail.example.com",
    "port": 587,
    "security": "starttls",
    "username": "vigie",
    "password": PASSWORD,
    "sender": "Vigie <vigie@ville.example>",
}


@pytest.fixture(autouse=True)
def private_servers(settings: VigieSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mail servers of these tests are on this machine, and without TLS."""
    monkeypatch.setattr(settings.smtp, "allow_private", True)
    monkeypatch.setattr(settings.smtp, "timeout_s", 30.0)


@pytest.fixture
async def owner(database: Database) -> Any:  # noqa: ANN401 (a connection)
    connection = await database.connect()
    yield connection
    await connection.close()


def local(port: int, **changes: Any) -> dict[str, Any]:  # noqa: ANN401 (JSON)
    return {**MAIL, "host": "127.0.0.1", "port": port, "security": "none", **changes}


async def put(client: httpx.AsyncClient, path: str = "mail", **body: Any) -> dict[str, Any]:  # noqa: ANN401 (JSON)
    answer = await client.put(f"/v1/settings/{path}", json=body)
    assert answer.status_code == 200, answer.text
    shown: dict[str, Any] = answer.json()
    return shown


async def test_the_life_of_a_mail_server(api: httpx.AsyncClient, owner: asyncpg.Connection) -> None:
    before = (await api.get("/v1/settings/mail")).json()
    assert (before["source"], before["host"], before["updated_at"]) == ("none", None, None)
    made = await put(api, **MAIL)
    expected = {**MAIL, "source": "database", "has_password": True, "recipient_domains": []}
    del expected["password"]
    assert {name: made[name] for name in expected} == expected
    read = await api.get("/v1/settings/mail")
    assert read.json() == made
    assert PASSWORD not in read.text
    row = await owner.fetchrow("SELECT * FROM installation_settings")
    assert row is not None
    assert row["secret"].startswith("sealed:1:")
    # Another sender, and no password: it stays, for it is the same server and account.
    again = await put(api, **{**MAIL, "password": None, "sender": "vigie@ville.example"})
    assert (again["sender"], again["has_password"]) == ("vigie@ville.example", True)
    gone = await api.delete("/v1/settings/mail")
    assert gone.status_code == 204
    assert (await api.get("/v1/settings/mail")).json()["source"] == "none"
    assert (await api.delete("/v1/settings/mail")).status_code == 204


@pytest.mark.parametrize("change", [{"host": "other.example.com"}, {"port": 465}, {"username": "else"}])
async def test_a_password_goes_to_no_server_that_it_was_not_given_for(
    api: httpx.AsyncClient, change: dict[str, Any]
) -> None:
    await put(api, **MAIL)
    moved = {name: value for name, value in {**MAIL, **change}.items() if name != "password"}
    answer = await api.put("/v1/settings/mail", json=moved)
    assert (answer.status_code, answer.json()["code"]) == (422, "missing_field")
    assert answer.json()["errors"][0]["field"] == "body.password"


async def test_it_is_in_the_audit_log_without_what_is_secret(
    api: httpx.AsyncClient, owner: asyncpg.Connection
) -> None:
    await put(api, **MAIL)
    await put(api, **{**MAIL, "host": "smtp.example.com"})
    await api.delete("/v1/settings/mail")
    entries = await owner.fetch(
        "SELECT action, record::text AS record FROM audit_log WHERE action LIKE 'setting.%' ORDER BY position"
    )
    assert [entry["action"] for entry in entries] == ["setting.created", "setting.updated", "setting.deleted"]
    told = " ".join(entry["record"] for entry in entries)
    assert "smtp.example.com" in told
    assert not [secret for secret in (PASSWORD, "vigie@ville.example", "sealed:1:") if secret in told]


async def test_only_administrators_of_the_platform_see_and_set_it(
    tenant: Tenant, application: FastAPI
) -> None:
    calls = (
        ("GET", "mail", None),
        ("PUT", "mail", MAIL),
        ("DELETE", "mail", None),
        ("POST", "mail/test", {"to": "a@example.com"}),
        ("GET", "public-url", None),
        ("PUT", "public-url", {"url": "https://vigie.example.com"}),
        ("DELETE", "public-url", None),
    )
    async with client_of(application, None) as nobody:
        for method, path, body in calls:
            for client, status in ((tenant.client, 403), (nobody, 401)):
                answer = await client.request(method, f"/v1/settings/{path}", json=body)
                assert answer.status_code == status, (method, path)


async def test_what_the_environment_sets_goes_first(
    api: httpx.AsyncClient, settings: VigieSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put(api, **MAIL)
    await put(api, "public-url", url="https://vigie.example.com/")
    monkeypatch.setattr(settings.smtp, "host", "env.example.com")
    monkeypatch.setattr(settings.api, "public_url", "https://env.example.com")
    shown = (await api.get("/v1/settings/mail")).json()
    assert (shown["source"], shown["host"]) == ("environment", "env.example.com")
    assert (await api.get("/v1/settings/public-url")).json()["url"] == "https://env.example.com"
    for path, body in (("mail", MAIL), ("public-url", {"url": "https://x.example.com"})):
        for method in ("PUT", "DELETE"):
            answer = await api.request(method, f"/v1/settings/{path}", json=body if method == "PUT" else None)
            assert (answer.status_code, answer.json()["code"]) == (409, "set_by_environment")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"host": "10.0.0.7"}, "body.host"),
        ({"host": "127.0.0.1"}, "body.host"),
        ({"host": "169.254.169.254"}, "body.host"),
        ({"host": "[::1]"}, "body.host"),
        ({"host": "::1"}, "body.host"),
        ({"host": "localhost"}, "body.host"),
        ({"host": "mail.internal"}, "body.host"),
        ({"port": 22}, "body.port"),
        ({"port": 5432}, "body.port"),
        ({"security": "none"}, "body.security"),
    ],
)
async def test_no_mail_server_within_the_network_nor_without_tls(
    *,
    api: httpx.AsyncClient,
    settings: VigieSettings,
    monkeypatch: pytest.MonkeyPatch,
    change: dict[str, Any],
    field: str,
) -> None:
    monkeypatch.setattr(settings.smtp, "allow_private", False)
    answer = await api.put("/v1/settings/mail", json={**MAIL, **change})
    assert (answer.status_code, answer.json()["code"]) == (422, "mail_server_not_allowed"), answer.text
    assert answer.json()["errors"][0]["field"] == field
    assert PASSWORD not in answer.text


async def test_a_name_that_leads_into_the_network_is_not_connected_to(
    *,
    api: httpx.AsyncClient,
    settings: VigieSettings,
    monkeypatch: pytest.MonkeyPatch,
    owner: asyncpg.Connection,
) -> None:
    async with mailbox() as server:
        await put(api, **local(server.port, host="localhost", username=None, password=None))
        monkeypatch.setattr(settings.smtp, "allow_private", False)
        # Another process has stored it: what may be connected to is asked at each mail.
        await owner.execute("UPDATE installation_settings SET private = private || '{\"x\": 1}'")
        application = new_application(settings)
        async with running(application) as app, client_of(app, api.headers["Authorization"][7:]) as client:
            tested = (await client.post("/v1/settings/mail/test", json={"to": "a@example.com"})).json()
    assert (tested["delivered"], tested["reason"]) == (False, "address_refused")
    assert server.said == []
    assert "127.0.0.1" not in str(tested)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "mail.example.com"])
async def test_a_test_mail_to_a_private_server_says_what_to_set(
    *, api: httpx.AsyncClient, settings: VigieSettings, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    await put(api, **local(587, host=host, username=None, password=None))
    monkeypatch.setattr(settings.smtp, "allow_private", False)

    async def lookup(*_: object) -> list[tuple[socket.AddressFamily, str]]:
        return [(socket.AF_INET, "127.0.0.1")]

    monkeypatch.setattr(smtp_client, "resolve_host", lookup)
    application = new_application(settings)
    async with running(application) as app, client_of(app, api.headers["Authorization"][7:]) as client:
        tested = (await client.post("/v1/settings/mail/test", json={"to": "a@example.com"})).json()
        refused = await client.put("/v1/settings/mail", json={**MAIL, "host": host})
    assert (tested["delivered"], tested["reason"], tested["status"]) == (False, "address_refused", None)
    assert "VIGIE_SMTP__ALLOW_PRIVATE" in tested["answer"]
    if host == "mail.example.com":
        # No name is resolved when a mail server is set. The address is not shown.
        assert refused.status_code == 200
        assert tested["answer"].startswith("This cannot be the mail server: mail.example.com resolves to an")
        assert "127.0.0.1" not in tested["answer"]
    else:
        assert tested["answer"] == refused.json()["errors"][0]["detail"]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"sender": "nobody"}, "invalid_email_address"),
        ({"sender": "Vigie <a@b.example>\r\nBcc: x@y.example"}, "invalid_email_address"),
        ({"username": None}, "missing_field"),
        ({"password": None}, "missing_field"),
        ({"port": 0}, "invalid_value"),
        ({"host": "a.example.com/x"}, "invalid_value"),
        ({"host": "a@b.example.com"}, "invalid_value"),
        ({"security": "ssl"}, "invalid_value"),
        ({"from": "x"}, "unknown_field"),
    ],
)
async def test_what_is_no_mail_server(api: httpx.AsyncClient, body: dict[str, Any], code: str) -> None:
    answer = await api.put("/v1/settings/mail", json={**MAIL, **body})
    assert (answer.status_code, answer.json()["code"]) == (422, code), answer.text
    assert PASSWORD not in answer.text


async def test_a_test_mail_tells_what_the_server_said(api: httpx.AsyncClient) -> None:
    missing = await api.post("/v1/settings/mail/test", json={"to": "a@example.com"})
    assert (missing.status_code, missing.json()["code"]) == (409, "email_not_configured")
    async with mailbox(login=True) as server:
        await put(api, **local(server.port))
        sent = (await api.post("/v1/settings/mail/test", json={"to": "a@example.com"})).json()
        assert sent["duration_ms"] > 0
        assert {**sent, "duration_ms": 0} == {
            "delivered": True,
            "reason": "delivered",
            "status": 250,
            "answer": "2.0.0 queued as 4711",
            "duration_ms": 0,
        }
        assert server.seen == [(False, True)]
        (message,) = server.mails()
        assert message["From"] == MAIL["sender"]
        server.answers["a@example.com"] = "550 5.1.1 no such user"
        refused = (await api.post("/v1/settings/mail/test", json={"to": "a@example.com"})).json()
        assert (refused["reason"], refused["status"]) == ("mail_refused", 550)
        await put(api, **local(server.port, password="wrong"))
        wrong = await api.post("/v1/settings/mail/test", json={"to": "b@example.com"})
        assert wrong.json()["reason"] == "login_refused"
        assert "wrong" not in wrong.text
        for _ in range(TEST_LIMIT - 3):
            await api.post("/v1/settings/mail/test", json={"to": "b@example.com"})
        over = await api.post("/v1/settings/mail/test", json={"to": "b@example.com"})
        assert (over.status_code, over.json()["code"]) == (429, "too_many_tests")
    bad = await api.post("/v1/settings/mail/test", json={"to": "b"})
    assert (bad.status_code, bad.json()["code"]) == (422, "invalid_email_address")


async def test_a_mail_server_counts_without_a_restart_in_every_process(
    *, api: httpx.AsyncClient, tenant: Tenant, database: Database, settings: VigieSettings
) -> None:
    settings.webhooks.poll_s = 0.2
    settings.webhooks.schedule_s = [0, 1, 1, 1, 1, 1, 1]
    async with mailbox() as server, working_as("deliver", database) as opened:
        stop = asyncio.Event()
        task = asyncio.create_task(run_deliver(settings, ProcessContext("deliver", opened, stop)))
        try:
            body = {"kind": "email", "to": ["night@ville.example"], "grouping": None}
            refused = await tenant.client.post("/v1/channels", json=body)
            assert refused.json()["code"] == "email_not_configured"
            assert "PUT /v1/settings/mail" in refused.json()["detail"]
            await put(api, **local(server.port, username=None, password=None))
            channel = (await tenant.client.post("/v1/channels", json=body)).json()
            asked = await tenant.client.post(f"/v1/channels/{channel['id']}/test")
            assert asked.status_code == 202
            await server.wait(1)
            made = await tenant.client.post(
                "/v1/invitations", json={"email": "ada@example.com", "role": "viewer"}
            )
            assert made.json()["mail_status"] == "pending"
            await server.wait(2)
            path = f"/v1/invitations/{made.json()['id']}"

            async def mailed() -> bool:
                status: str = (await tenant.client.get(path)).json()["mail_status"]
                return status == "sent"

            await until(mailed)
            # Another one takes its place, and the same processes go on with it.
            async with mailbox() as second:
                await put(api, **local(second.port, username=None, password=None))

                async def heard() -> bool:
                    await tenant.client.post(f"/v1/channels/{channel['id']}/test")
                    await asyncio.sleep(0.5)
                    return bool(second.got)

                await until(heard)
        finally:
            stop.set()
            async with asyncio.timeout(60):
                await task


async def test_the_environments_password_is_not_the_apis_to_try(
    api: httpx.AsyncClient, settings: VigieSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings.smtp, "host", "mail.example.com")
    monkeypatch.setattr(settings.smtp, "username", "vigie")
    assert (await api.get("/v1/settings/mail")).json()["has_password"] is None
    answer = await api.post("/v1/settings/mail/test", json={"to": "a@example.com"})
    assert (answer.status_code, answer.json()["code"]) == (409, "set_by_environment")


async def test_the_doctor_knows_it(api: httpx.AsyncClient) -> None:
    (before,) = await asyncio.to_thread(lambda: list(check_stored_mail()))
    assert (before.state, before.subject) == ("note", "mail server")
    await put(api, **MAIL)
    (after,) = await asyncio.to_thread(lambda: list(check_stored_mail()))
    assert after.state == "ok"
    assert "mail.example.com" in after.detail
    assert PASSWORD not in str(after)


async def test_other_processes_of_the_api_know_it_soon(
    api: httpx.AsyncClient, database: Database, settings: VigieSettings
) -> None:
    async with working_as("deliver", database) as opened:
        other = await InstallationSettings.of(settings, SecretSealer.of(settings.encryption), opened)
        stop = asyncio.Event()
        following = asyncio.create_task(other.follow(opened, stop))
        assert other.mail_source == "none"
        await put(api, **MAIL)
        await put(api, "public-url", url="https://vigie.example.com")

        async def known() -> bool:
            return other.mail_source == "database" and other.base_url == "https://vigie.example.com"

        await until(known)
        assert other.smtp.password.get_secret_value() == PASSWORD
        stop.set()
        await following


async def test_links_begin_with_the_public_address_that_was_set(
    api: httpx.AsyncClient, tenant: Tenant
) -> None:
    shown = await put(api, "public-url", url="https://vigie.example.com/")
    assert (shown["source"], shown["url"]) == ("database", "https://vigie.example.com")
    made = await tenant.client.post("/v1/invitations", json={"email": "ada@example.com", "role": "viewer"})
    assert made.json()["link"].startswith("https://vigie.example.com/welcome#vgi_")
    # A webhook may not lead back to it.
    own = await tenant.client.post("/v1/webhooks", json={"url": "https://vigie.example.com/v1/x"})
    assert own.json()["code"] == "webhook_url_not_allowed"
    assert (await api.delete("/v1/settings/public-url")).status_code == 204
    assert (await api.get("/v1/settings/public-url")).json()["source"] == "none"


@pytest.mark.parametrize(
    "url", ["", "vigie.example.com", "ftp://a.example", "https://a@b.example", "https://a.example/?q"]
)
async def test_what_is_no_public_address(api: httpx.AsyncClient, url: str) -> None:
    answer = await api.put("/v1/settings/public-url", json={"url": url})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_value")


async def test_a_change_of_what_nobody_has_seen_is_refused(api: httpx.AsyncClient) -> None:
    before = (await api.get("/v1/settings/mail")).headers["etag"]
    await put(api, **MAIL)
    late = await api.put("/v1/settings/mail", json=MAIL, headers={"If-Match": before})
    assert late.status_code == 412


async def test_without_a_key_no_password_is_stored(api: httpx.AsyncClient, application: FastAPI) -> None:
    provide_resources(application, SecretSealer([]))
    answer = await api.put("/v1/settings/mail", json=MAIL)
    assert (answer.status_code, answer.json()["code"]) == (503, "encryption_key_missing")
