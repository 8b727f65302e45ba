"""From what happened to a mailbox: outbox, fan-out, groups, dispatcher and a real mail server."""

import json
from typing import Any
from uuid import UUID

import asyncpg

from app.notifications.delivery.transport_types import build_message_id
from app.notifications.events.outbox import OutboxRecord
from app.platform.db.database import Database
from app.platform.kernel.ids import new_id
from app.settings import VigieSettings
from tests.conftest import Tenant
from tests.integration.notifications.helpers import (
    RULE,
    add_endpoint,
    alert_event,
    attempts,
    dispatching,
    emit,
    states,
    until,
    with_webhooks,
)
from tests.integration.notifications.mail_servers import mailbox, part, smtp
from tests.integration.notifications.receivers import receiving, status

TO = ["day@ville.example", "night@ville.example"]
GROUPING = {"by": ["site", "rule"], "wait": "PT1S", "interval": "PT0S"}


def with_mail(settings: VigieSettings, port: int, **changes: Any) -> VigieSettings:  # noqa: ANN401 (whatever a setting holds)
    # With waits between attempts in which a test can mend the server.
    schedule = [0, 0.5, 2, 2, 2]
    return with_webhooks(settings, schedule_s=schedule).model_copy(update={"smtp": smtp(port, **changes)})


def pm_alert(tenant: Tenant, site_id: str, **data: Any) -> OutboxRecord:  # noqa: ANN401 (whatever an alert's data holds)
    usual = {
        "rule_name": "Particules fines",
        "metric": "pm2_5",
        "value": 31.2,
        "threshold": 25.0,
        "clear": 20.0,
    }
    return alert_event(UUID(tenant.id), site_id=UUID(site_id), **{**usual, **data})


async def test_boxes_that_fire_together_are_one_mail_in_the_channel_s_language(
    *,
    tenant: Tenant,
    site_id: str,
    database: Database,
    connection: asyncpg.Connection,
    settings: VigieSettings,
) -> None:
    site = (await tenant.client.get(f"/v1/sites/{site_id}")).json()
    target = {"to": TO, "language": "fr", "notices": True}
    await add_endpoint(connection, UUID(tenant.id), None, kind="email", target=target, grouping=GROUPING)
    async with mailbox() as server, dispatching(with_mail(settings, server.port), database):
        await emit(connection, *(pm_alert(tenant, site_id, box=f"box-{number}") for number in range(30)))
        (message,) = await server.wait(1)

        async def delivered() -> bool:
            return await states(connection) == {"delivered": 1}

        await until(delivered)
    assert len(server.got) == 1
    assert server.got[0].rcpt_tos == TO
    assert message["Subject"] == f"[Avertissement] 30 en cours\xa0: Particules fines, {site['name']}"
    text = part(message, "plain")
    assert text.count("\n- [Avertissement] box-") == 30
    assert f"({site['timezone']})" in text
    assert "31,2\xa0µg/m³ (seuil 25)" in text
    assert part(message, "html").count("box-") == 30
    row = await connection.fetchrow("SELECT event_id, type, body FROM deliveries")
    assert row is not None
    assert message["Message-ID"] == f"<{build_message_id(row['event_id'])}@ville.example>"
    assert message["X-Vigie-Event"] == row["type"] == "alert.group"
    assert message["References"] == f"<{json.loads(row['body'])['thread']}@ville.example>"
    assert await attempts(connection) == [(1, "delivered", 250)]


async def test_what_is_deferred_comes_later_as_the_same_mail_and_an_alert_is_one_thread(
    *,
    tenant: Tenant,
    site_id: str,
    database: Database,
    connection: asyncpg.Connection,
    settings: VigieSettings,
) -> None:
    target = {"to": TO[:1], "language": "en", "notices": True}
    await add_endpoint(connection, UUID(tenant.id), None, kind="email", target=target)
    alert = new_id()
    async with (
        mailbox({"DATA": "451 4.7.1 later"}) as server,
        dispatching(with_mail(settings, server.port), database),
    ):
        await emit(connection, pm_alert(tenant, site_id, alert_id=alert))

        async def tried() -> bool:
            return bool(await attempts(connection))

        await until(tried)
        server.answers.clear()
        (first,) = await server.wait(1)
        over = pm_alert(
            tenant, site_id, type_="alert.resolved", alert_id=alert, sequence=2, resolution="cleared"
        )
        await emit(connection, over)
        _, second = await server.wait(2)

        async def recorded() -> bool:
            return await states(connection) == {"delivered": 2}

        await until(recorded)
    made = await attempts(connection)
    assert made[0] == (1, "mail_deferred", 451)
    assert made.count((1, "delivered", 250)) == 1
    assert first["Subject"].startswith("[Warning] Particules fines at ")
    assert second["Subject"].startswith("[Resolved] Particules fines at ")
    assert first["References"] == second["References"] == f"<alert-{alert}@ville.example>"
    assert first["Message-ID"] != second["Message-ID"]


async def test_a_mail_server_that_is_not_set_up_is_said_and_webhooks_go_on(
    *,
    tenant: Tenant,
    site_id: str,
    database: Database,
    connection: asyncpg.Connection,
    settings: VigieSettings,
) -> None:
    target = {"to": TO, "language": "en", "notices": True}
    await add_endpoint(connection, UUID(tenant.id), None, kind="email", target=target)
    async with receiving(status(204)) as receiver:
        await add_endpoint(connection, UUID(tenant.id), receiver.url)
        async with dispatching(with_webhooks(settings), database):
            await emit(connection, pm_alert(tenant, site_id, rule_id=RULE))

            async def settled() -> bool:
                return await states(connection) == {"delivered": 1, "failed": 1}

            await until(settled)
    assert {reason for _, reason, _ in await attempts(connection)} == {"not_configured", "delivered"}
    body = json.loads(await connection.fetchval("SELECT body FROM deliveries WHERE state = 'failed'"))
    assert body["subject"].startswith("[Warning] Particules fines at ")
