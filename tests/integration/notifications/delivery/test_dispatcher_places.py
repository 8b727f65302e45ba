"""Who has the places of a process: what many endpoints do at once must not hold up the others."""

import asyncio
import time

import asyncpg
from aiohttp import web

from app.notifications.email.email_transport import CONNECTIONS
from app.notifications.events.outbox import enqueue_events
from app.platform.db.database import Database
from app.settings import VigieSettings
from tests.integration.notifications.helpers import (
    add_endpoint,
    add_organisation,
    attempts,
    dispatching,
    emit,
    event,
    states,
    until,
    with_webhooks,
)
from tests.integration.notifications.mail_servers import mailbox, smtp
from tests.integration.notifications.receivers import receiving, status

_SUCCEEDED = (
    "INSERT INTO endpoint_states (endpoint_id, last_success_at) SELECT id, now() FROM webhook_endpoints"
)


async def test_a_slow_mail_server_holds_up_mails_alone(
    database: Database, connection: asyncpg.Connection, settings: VigieSettings
) -> None:
    channels, mine = await add_organisation(connection), await add_organisation(connection)
    target = {"to": ["day@ville.example"], "language": "en", "notices": True}
    async with mailbox() as server, receiving(status(204)) as receiver:
        server.delay_s = 0.45
        for _ in range(60):
            await add_endpoint(connection, channels, None, kind="email", target=target)
        await add_endpoint(connection, mine, receiver.url)
        # Longer in all than an attempt may last, and than a lease.
        chosen = with_webhooks(settings, concurrency=32, total_timeout_s=5.5, lease_s=6)
        chosen = chosen.model_copy(update={"smtp": smtp(server.port)})
        async with dispatching(chosen, database):
            await emit(connection, event(channels))
            await server.wait(CONNECTIONS)
            began = time.monotonic()
            await emit(connection, *[event(mine) for _ in range(20)])
            await receiver.wait(20)
            assert len(server.got) < 60

            async def done() -> bool:
                return await states(connection) == {"delivered": 80}

            await until(done)
        took = time.monotonic() - began
    assert server.most == CONNECTIONS
    assert {(number, reason) for number, reason, _ in await attempts(connection)} == {(1, "delivered")}
    # None of its connections was idle for long.
    assert took < 4 * 60 * server.delay_s / CONNECTIONS


async def test_many_that_begin_to_hang_together_hold_up_nobody(
    database: Database, connection: asyncpg.Connection, settings: VigieSettings
) -> None:
    hanging, mine = await add_organisation(connection), await add_organisation(connection)

    async def hang(_: web.Request) -> web.StreamResponse:
        await asyncio.sleep(60)
        return web.Response()

    async with receiving(hang) as bad, receiving(status(204)) as good:
        for _ in range(20):
            await add_endpoint(connection, hanging, bad.url, events=["alert.firing"])
        await add_endpoint(connection, hanging, good.url, events=["alert.resolved"])
        await add_endpoint(connection, mine, good.url)
        await connection.execute(_SUCCEEDED)
        chosen = with_webhooks(settings, concurrency=128, total_timeout_s=15, lease_s=30)
        await enqueue_events(connection, [event(hanging) for _ in range(8)])
        async with dispatching(chosen, database):
            await bad.wait(48)
            began = time.monotonic()
            # Another organisation's, and one more of the same.
            await emit(connection, event(mine), event(hanging, type_="alert.resolved"))
            await good.wait(2)
            # None of those that hang has ended.
            assert time.monotonic() - began < 10
            assert len(bad.got) == 48
