"""People are mailed when their second factors change, in their language, if there is a mail server."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import asyncpg
import httpx
import pytest

from app.notifications.email.email_transport import EmailTransport
from app.people.account_mailer import MAILS_PER_HOUR, SCHEDULE_S, AccountMailer
from app.platform.db.database import Database
from app.platform.runtime.stored_settings import InstallationSettings
from app.platform.secrets.sealing import SecretSealer
from app.settings import VigieSettings
from tests.conftest import Tenant
from tests.integration.notifications.mail_servers import Mailbox, mailbox, part
from tests.integration.people.authenticator import SoftwareAuthenticator
from tests.integration.people.factors import ask, complete, enrol_passkey, enrol_totp
from tests.integration.people.folk import OrganisationPeople, SignedInPerson
from tests.integration.people.test_invitation_mailer import use
from tests.roles import working_as


async def mail(settings: VigieSettings, database: Database) -> int:
    """Mail what is due, as `vigie deliver` does."""
    count = 0
    async with working_as("deliver", database) as opened:
        sealer = SecretSealer.of(settings.encryption)
        installation = await InstallationSettings.of(settings, sealer, opened)
        async with EmailTransport(installation.smtp, installation) as transport:
            mailer = AccountMailer(transport, installation)
            while sent := await mailer.mail_due(opened):
                count += sent
    return count


@pytest.fixture
async def owner(database: Database) -> AsyncIterator[asyncpg.Connection]:
    connection = await database.connect()
    yield connection
    await connection.close()


@pytest.fixture
async def server(settings: VigieSettings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Mailbox]:
    async with mailbox() as opened:
        use(settings, monkeypatch, opened.port)
        yield opened


async def test_each_change_of_factors_is_mailed(
    *,
    folk: OrganisationPeople,
    anybody: httpx.AsyncClient,
    tenant: Tenant,
    database: Database,
    settings: VigieSettings,
    server: Mailbox,
    owner: asyncpg.Connection,
) -> None:
    ada = await folk.join("Ada", "viewer")
    app = await enrol_totp(ada)
    passkey = await enrol_passkey(ada, SoftwareAuthenticator())
    used = await complete(anybody, await ask(anybody, ada.email), recovery_code=app.recovery_codes[0])
    assert used.status_code == 201, used.text
    # A refused code is no use of one.
    await complete(anybody, await ask(anybody, ada.email), recovery_code=app.recovery_codes[0])
    assert (await ada.client.post("/v1/me/recovery-codes")).status_code == 201
    assert (await ada.client.delete(f"/v1/me/passkeys/{passkey['id']}")).status_code == 204
    assert (await ada.client.delete("/v1/me/totp")).status_code == 204
    await enrol_totp(ada)
    assert (await tenant.client.delete(f"/v1/members/{ada.member_id}/second-factors")).status_code == 204
    assert await mail(settings, database) == 8
    assert [message["Subject"] for message in server.mails()] == [
        *("Authenticator app added", "Passkey added", "Recovery code used", "Recovery codes replaced"),
        *("Passkey removed", "Authenticator app removed", "Authenticator app added"),
        "Second factors removed",
    ]
    assert {tuple(got.rcpt_tos) for got in server.got} == {(ada.email,)}
    text = part(server.mails()[2], "plain")
    for word in (ada.email, "/console/account", "change your password"):
        assert word in text
    # Neither a code nor the name of a passkey leaves the installation.
    everything = "".join(part(message, "plain") + part(message, "html") for message in server.mails())
    assert not any(secret in everything for secret in (app.secret, *app.recovery_codes, "phone"))
    assert await owner.fetchval("SELECT count(*) FROM account_mails") == 0


async def test_a_mail_is_in_the_language_of_the_person(
    folk: OrganisationPeople, database: Database, settings: VigieSettings, server: Mailbox
) -> None:
    ada = await folk.join("Ada", "viewer")
    assert (await ada.client.patch("/v1/me", json={"locale": "fr"})).status_code == 200
    await enrol_totp(ada)
    assert await mail(settings, database) == 1
    (message,) = server.mails()
    assert message["Content-Language"] == "fr"
    assert message["Subject"].startswith("Application d")
    assert "changez votre mot de passe" in part(message, "plain")


async def test_without_a_mail_server_nothing_waits(
    folk: OrganisationPeople, database: Database, settings: VigieSettings, owner: asyncpg.Connection
) -> None:
    await enrol_totp(await folk.join("Ada", "viewer"))
    assert await owner.fetchval("SELECT count(*) FROM account_mails") == 0
    assert await mail(settings, database) == 0


async def _toggle(person: SignedInPerson, times: int) -> None:
    for _ in range(times):
        answer = await person.client.post("/v1/me/recovery-codes")
        assert answer.status_code == 201, answer.text


async def test_a_mail_is_tried_again_then_given_up_and_a_flood_waits(
    folk: OrganisationPeople,
    database: Database,
    settings: VigieSettings,
    server: Mailbox,
    owner: asyncpg.Connection,
) -> None:
    ada = await folk.join("Ada", "viewer")
    server.answers["DATA"] = "451 later"
    await enrol_totp(ada)
    for number, wait in enumerate(SCHEDULE_S, 1):
        assert await mail(settings, database) == 1
        row: Any = await owner.fetchrow("SELECT attempts, due_at - now() AS wait FROM account_mails")
        assert row["attempts"] == number
        assert timedelta(0) < row["wait"] <= timedelta(seconds=wait)
        await owner.execute("UPDATE account_mails SET due_at = now()")
    assert await mail(settings, database) == 1
    assert await owner.fetchval("SELECT count(*) FROM account_mails") == 0
    server.answers.clear()
    await _toggle(ada, MAILS_PER_HOUR + 3)
    assert await mail(settings, database) == MAILS_PER_HOUR + 3
    assert len(server.mails()) == MAILS_PER_HOUR
    waiting = await owner.fetch("SELECT attempts, due_at > now() + interval '50 minutes' FROM account_mails")
    assert [tuple(row) for row in waiting] == [(0, True)] * 3
    # They go with their person.
    await owner.execute("DELETE FROM memberships")
    await owner.execute("DELETE FROM users")
    assert await owner.fetchval("SELECT count(*) FROM account_mails") == 0
