"""Invitations are mailed, by whatever mail server counts, and say what became of their mail."""

import re
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from app.notifications.email.email_transport import EmailTransport
from app.people.invitation_mailer import SCHEDULE_S, mail_due_invitations
from app.platform.db.database import Database
from app.platform.runtime.stored_settings import InstallationSettings
from app.platform.secrets.sealing import SecretSealer
from app.settings import VigieSettings
from tests.conftest import Tenant
from tests.integration.notifications.mail_servers import hostile, mailbox, part, smtp
from tests.roles import working_as

WHO = {"email": "ada@example.com", "role": "operator"}


def use(settings: VigieSettings, monkeypatch: pytest.MonkeyPatch, port: int, **changes: Any) -> None:  # noqa: ANN401 (settings)
    """Have the environment's mail server be one beside the test, for the application too."""
    for name, value in smtp(port, **changes).model_dump().items():
        monkeypatch.setattr(settings.smtp, name, value)


async def invite(tenant: Tenant, **more: Any) -> dict[str, Any]:  # noqa: ANN401 (a JSON body)
    answer = await tenant.client.post("/v1/invitations", json={**WHO, **more})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def read(tenant: Tenant, invitation: dict[str, Any]) -> dict[str, Any]:
    shown: dict[str, Any] = (await tenant.client.get(f"/v1/invitations/{invitation['id']}")).json()
    return shown


async def mail(settings: VigieSettings, database: Database) -> int:
    """Mail what is due, as `vigie deliver` does."""
    async with working_as("deliver", database) as opened:
        sealer = SecretSealer.of(settings.encryption)
        installation = await InstallationSettings.of(settings, sealer, opened)
        async with EmailTransport(installation.smtp, installation) as mailer:
            return await mail_due_invitations(opened, mailer, installation, sealer)


@pytest.fixture
async def owner(database: Database) -> Any:  # noqa: ANN401 (a connection)
    connection = await database.connect()
    yield connection
    await connection.close()


@pytest.mark.parametrize(
    ("language", "subject", "role"),
    [("en", "You are invited to join", "Operator"), ("fr", "Vous êtes invité(e) à rejoindre", "Opérateur")],
)
async def test_an_invitation_is_mailed_in_its_language_with_the_link_that_works(
    *,
    tenant: Tenant,
    database: Database,
    settings: VigieSettings,
    monkeypatch: pytest.MonkeyPatch,
    language: str,
    subject: str,
    role: str,
    owner: asyncpg.Connection,
) -> None:
    async with mailbox() as server:
        use(settings, monkeypatch, server.port)
        made = await invite(tenant, language=language)
        assert (made["mail_status"], made["mailed_at"]) == ("pending", None)
        stored = await owner.fetchval("SELECT mail_token FROM invitations")
        assert stored.startswith("sealed:1:")
        assert await mail(settings, database) == 1
        (message,) = server.mails()
    assert server.got[0].rcpt_tos == [WHO["email"]]
    assert message["Subject"].startswith(subject)
    assert message["Content-Language"] == language
    text, html = part(message, "plain"), part(message, "html")
    assert role in text
    assert made["link"] in text
    assert f'href="{made["link"]}"' in html
    shown = await read(tenant, made)
    assert (shown["mail_status"], shown["mail_reason"]) == ("sent", None)
    assert shown["mailed_at"] is not None
    assert shown["language"] == language
    assert await owner.fetchval("SELECT mail_token FROM invitations") is None
    token = re.findall(r"vgi_\w+", text)[0]
    accepted = await tenant.client.post(
        "/v1/invitations/accept",
        json={"token": token, "name": "Ada", "password": "quatre vaches sous la pluie"},
        headers={"Authorization": ""},
    )
    assert accepted.status_code == 201, accepted.text
    assert await mail(settings, database) == 0


async def test_without_a_mail_server_nothing_is_mailed_and_the_link_is_there(
    tenant: Tenant, database: Database, settings: VigieSettings
) -> None:
    made = await invite(tenant)
    assert made["mail_status"] is None
    assert "#vgi_" in made["link"]
    assert await mail(settings, database) == 0


async def test_a_mail_that_is_deferred_is_tried_again_and_then_given_up(
    *,
    tenant: Tenant,
    database: Database,
    settings: VigieSettings,
    monkeypatch: pytest.MonkeyPatch,
    owner: asyncpg.Connection,
) -> None:
    async with mailbox({"DATA": "451 later"}) as server:
        use(settings, monkeypatch, server.port)
        made = await invite(tenant)
        for _ in SCHEDULE_S:
            assert await mail(settings, database) == 1
            shown = await read(tenant, made)
            assert (shown["mail_status"], shown["mail_reason"]) == ("pending", "mail_deferred")
            assert await mail(settings, database) == 0
            await owner.execute("UPDATE invitations SET mail_due_at = now()")
        server.answers.clear()
        assert await mail(settings, database) == 1
        assert (await read(tenant, made))["mail_status"] == "sent"
        server.answers["DATA"] = "554 no"
        again = await invite(tenant)
        await owner.execute(
            "UPDATE invitations SET mail_attempts = $1 WHERE mail_status = 'pending'", len(SCHEDULE_S)
        )
        assert await mail(settings, database) == 1
        shown = await read(tenant, again)
        assert (shown["mail_status"], shown["mail_reason"]) == ("failed", "mail_refused")
        assert await owner.fetchval("SELECT count(*) FROM invitations WHERE mail_token IS NOT NULL") == 0


async def test_what_was_revoked_or_taken_the_place_of_is_not_mailed(
    *, tenant: Tenant, database: Database, settings: VigieSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with mailbox() as server:
        use(settings, monkeypatch, server.port)
        first = await invite(tenant)
        second = await invite(tenant)
        third = await invite(tenant, email="grace@example.com")
        assert (await tenant.client.delete(f"/v1/invitations/{third['id']}")).status_code == 204
        assert await mail(settings, database) == 3
        (message,) = server.mails()
    assert second["link"] in part(message, "plain")
    assert [(await read(tenant, each))["mail_status"] for each in (first, second, third)] == [
        "failed",
        "sent",
        "failed",
    ]


async def test_domains_that_mails_may_not_go_to_get_none(
    *, tenant: Tenant, database: Database, settings: VigieSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with mailbox() as server:
        use(settings, monkeypatch, server.port, recipient_domains=["ville.example"])
        made = await invite(tenant)
        await mail(settings, database)
        assert server.got == []
    shown = await read(tenant, made)
    assert (shown["mail_status"], shown["mail_reason"]) == ("failed", "address_refused")


async def test_a_process_that_dies_meanwhile_leaves_the_mail_to_the_next_one(
    *,
    tenant: Tenant,
    database: Database,
    settings: VigieSettings,
    monkeypatch: pytest.MonkeyPatch,
    owner: asyncpg.Connection,
) -> None:
    async with mailbox() as server:
        use(settings, monkeypatch, server.port)
        made = await invite(tenant)
        # As if another process had taken it a moment ago, and two minutes ago.
        await owner.execute(
            "UPDATE invitations SET mail_due_at = now() + interval '1 minute', mail_attempts = 1"
        )
        assert await mail(settings, database) == 0
        await owner.execute("UPDATE invitations SET mail_due_at = now() - $1::interval", timedelta(minutes=1))
        assert await mail(settings, database) == 1
        assert (await read(tenant, made))["mail_status"] == "sent"


async def test_the_names_of_others_make_no_headers(
    *,
    tenant: Tenant,
    database: Database,
    settings: VigieSettings,
    monkeypatch: pytest.MonkeyPatch,
    owner: asyncpg.Connection,
) -> None:
    async with mailbox() as server:
        use(settings, monkeypatch, server.port)
        await invite(tenant)
        await owner.execute("UPDATE organisations SET name = E'Ville\\r\\nBcc: all@example.com <b>'")
        await mail(settings, database)
        (message,) = server.mails()
    assert message["Bcc"] is None
    assert "<b>" not in part(message, "html")


async def _silent(reader: Any, writer: Any) -> None:  # noqa: ANN401 (streams)
    del writer
    await reader.read()


async def test_a_mail_server_that_says_nothing_is_not_waited_for_for_ever(
    *, tenant: Tenant, database: Database, settings: VigieSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with hostile(_silent) as port:
        use(settings, monkeypatch, port, timeout_s=0.3)
        made = await invite(tenant)
        await mail(settings, database)
    assert (await read(tenant, made))["mail_reason"] in ("timeout", "response_broken")
