"""How several dispatchers, and endpoints of several kinds, get along: on a real database, real receivers."""

import asyncio
from contextlib import AsyncExitStack
from uuid import UUID

import asyncpg
import pytest
from aiohttp import web

from app.platform.db.database import Database
from app.settings import VigieSettings
from tests.conftest import Tenant
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
from tests.integration.notifications.log import add_delivery, ago
from tests.integration.notifications.receivers import receiving, status


async def _well(connection: asyncpg.Connection) -> None:
    """Have all endpoints known as good ones."""
    await connection.execute(
        "INSERT INTO endpoint_states (endpoint_id, last_success_at) SELECT id, now() FROM webhook_endpoints"
    )


async def test_who_asks_to_wait_is_left_alone_though_others_were_taken(
    database: Database, connection: asyncpg.Connection, settings: VigieSettings
) -> None:
    organisation, come = await add_organisation(connection), 0

    async def answer(_: web.Request) -> web.StreamResponse:
        nonlocal come
        come += 1
        if come == 1:
            return web.Response(status=429, headers={"Retry-After": "3600"})
        await asyncio.sleep(0.2)
        return web.Response(status=204)

    async with receiving(answer) as receiver:
        await add_endpoint(connection, organisation, receiver.url)
        await _well(connection)
        async with dispatching(with_webhooks(settings), database):
            await emit(connection, *(event(organisation) for _ in range(40)))

            async def recorded() -> bool:
                return come > 1 and len(await attempts(connection)) == come

            await until(recorded)
            await asyncio.sleep(1)
            await until(recorded)
    assert come <= 16  # eight at once, and for each at most one that had begun
    left = await connection.fetchval("SELECT open_until > now() + interval '59 minutes' FROM endpoint_states")
    assert left is True


@pytest.mark.parametrize("count", [2, 3])
async def test_one_at_a_time_is_kept_by_several(
    database: Database, connection: asyncpg.Connection, settings: VigieSettings, count: int
) -> None:
    """All of them fell due at the same moment, as what is fanned out together does."""
    organisation, now, most = await add_organisation(connection), 0, 0

    async def answer(_: web.Request) -> web.StreamResponse:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.02)
        now -= 1
        return web.Response(status=204)

    async with receiving(answer) as receiver, AsyncExitStack() as stack:
        await add_endpoint(connection, organisation, receiver.url)
        await connection.execute("UPDATE webhook_endpoints SET concurrency = 1")
        for _ in range(count):
            await stack.enter_async_context(dispatching(with_webhooks(settings, poll_s=0.1), database))
        await emit(connection, *(event(organisation) for _ in range(60)))
        await receiver.wait(60)

        async def delivered() -> bool:
            return await states(connection) == {"delivered": 60}

        await until(delivered)
    assert (most, len(receiver.got)) == (1, 60)


async def test_those_that_hang_do_not_keep_a_new_one_waiting(
    database: Database, connection: asyncpg.Connection, settings: VigieSettings
) -> None:
    many, one = await add_organisation(connection), await add_organisation(connection)

    async def hang(_: web.Request) -> web.StreamResponse:
        await asyncio.sleep(60)
        return web.Response()

    chosen = with_webhooks(
        settings,
        concurrency=8,
        breaker_max_s=0.5,
        total_timeout_s=0.5,
        lease_s=4,
        poll_s=0.2,
        schedule_s=[0] + [0.2] * 200,
    )
    async with receiving(hang) as hung, receiving(status(204)) as good:
        for _ in range(24):
            await add_endpoint(connection, many, hung.url)
        async with dispatching(chosen, database):
            await emit(connection, *(event(many) for _ in range(6)))
            # Each of them has been tried.
            await hung.wait(36)
            await add_endpoint(connection, one, good.url)
            before = len(hung.got)
            await emit(connection, event(one))
            await good.wait(1)
            # A place that is free is its own: few of those that wait are tried before it.
            assert len(hung.got) - before <= 32


async def test_what_is_new_does_not_wait_for_the_end_of_a_replay(
    tenant: Tenant, database: Database, connection: asyncpg.Connection, settings: VigieSettings
) -> None:
    owner = UUID(tenant.id)
    async with receiving(status(204)) as receiver:
        endpoint, _ = await add_endpoint(connection, owner, receiver.url)
        await connection.execute("UPDATE webhook_endpoints SET rate_per_s = 20")
        await _well(connection)
        for number in range(300):
            created = ago(minutes=9, milliseconds=-number)
            await add_delivery(connection, owner, endpoint, state="failed", created_at=created)
        async with dispatching(with_webhooks(settings, poll_s=0.2), database):
            body = {"since": ago(hours=1).isoformat()}
            await tenant.client.post(f"/v1/webhooks/{endpoint}/replays", json=body)
            await receiver.wait(5)
            new = event(owner)
            await emit(connection, new)

            async def come() -> bool:
                return any(got.headers["webhook-id"] == f"msg_{new.id.hex}" for got in receiver.got)

            await until(come)
            # By the rate, the replay alone lasts fifteen seconds.
            assert len(receiver.got) < 150
