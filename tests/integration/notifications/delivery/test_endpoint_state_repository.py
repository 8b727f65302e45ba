"""What an owner does to have an endpoint attempted again that is left alone for a while."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from aiohttp import web

from app.platform.db.database import Database
from app.settings import VigieSettings
from tests.conftest import Tenant
from tests.integration.notifications.helpers import (
    add_endpoint,
    dispatching,
    emit,
    event,
    until,
    with_webhooks,
)
from tests.integration.notifications.log import add_channel, ago
from tests.integration.notifications.receivers import receiving, status


async def _close(connection: asyncpg.Connection, endpoint: UUID, **columns: Any) -> None:  # noqa: ANN401 (values of columns)
    """Have an endpoint left alone for a day."""
    row = {"consecutive_failures": 1, "open_until": ago() + timedelta(days=1), **columns}
    places = ", ".join(f"${place}" for place in range(2, len(row) + 2))
    await connection.execute(
        f"INSERT INTO endpoint_states (endpoint_id, {', '.join(row)}) VALUES ($1, {places})",  # noqa: S608 (names of ours)
        *(endpoint, *row.values()),
    )


async def _state(connection: asyncpg.Connection) -> tuple[Any, ...]:
    row = await connection.fetchrow("SELECT consecutive_failures, slow_step, open_until FROM endpoint_states")
    return tuple(row or ())


@pytest.mark.parametrize("how", ["enable", "elsewhere", "replay", "test"])
async def test_its_owner_can_have_it_tried_at_once(
    tenant: Tenant, database: Database, connection: asyncpg.Connection, settings: VigieSettings, how: str
) -> None:
    first = True

    async def answer(_: web.Request) -> web.StreamResponse:
        nonlocal first
        if not first:
            return web.Response(status=204)
        first = False
        return web.Response(status=503, headers={"Retry-After": "86400"})

    async with receiving(answer) as receiver, receiving(status(204)) as better:
        endpoint, _ = await add_endpoint(connection, UUID(tenant.id), receiver.url)
        path = f"/v1/webhooks/{endpoint}"
        async with dispatching(with_webhooks(settings, poll_s=0.1, allow_private=True), database):
            await emit(connection, event(UUID(tenant.id)))

            async def closed() -> bool:
                return (await tenant.client.get(f"{path}/health")).json()["open_until"] is not None

            await until(closed)
            delivery = await connection.fetchval("SELECT id FROM deliveries")
            # The day is the endpoint's: its deliveries are due by then, or sooner.
            await connection.execute("UPDATE deliveries SET due_at = now()")
            if how == "enable":
                await tenant.client.patch(path, json={"enabled": True})
            elif how == "elsewhere":
                await tenant.client.patch(path, json={"url": better.url})
            elif how == "replay":
                await tenant.client.post(f"/v1/deliveries/{delivery}/replay")
            else:
                await tenant.client.post(f"{path}/test")

            async def delivered() -> bool:
                waiting = "SELECT count(*) FROM deliveries WHERE state = 'pending'"
                return len(receiver.got) + len(better.got) > 1 and not await connection.fetchval(waiting)

            await until(delivered)
        assert (len(better.got) > 0) is (how == "elsewhere")
    assert (await _state(connection))[1:] == (0, None)


async def test_what_changes_nothing_of_where_it_leads_keeps_its_state(
    tenant: Tenant, connection: asyncpg.Connection
) -> None:
    url = "https://example.com/hooks/vigie"
    endpoint, _ = await add_endpoint(connection, UUID(tenant.id), url)
    await _close(connection, endpoint, slow_step=2)
    before = await _state(connection)
    path = f"/v1/webhooks/{endpoint}"
    for body in ({"description": "Ours"}, {"url": url}, {"rate_per_s": 5}, {"enabled": False}):
        assert (await tenant.client.patch(path, json=body)).status_code == 200
    assert await _state(connection) == before
    assert (await tenant.client.patch(path, json={"url": f"{url}/2"})).status_code == 200
    assert await _state(connection) == (0, 0, None)


async def test_a_channel_with_other_recipients_begins_anew(
    tenant: Tenant, connection: asyncpg.Connection
) -> None:
    channel = await add_channel(connection, UUID(tenant.id))
    await _close(connection, channel)
    path = f"/v1/channels/{channel}"
    assert (await tenant.client.patch(path, json={"to": ["a@example.com"]})).status_code == 200
    assert (await _state(connection))[0] == 1
    assert (await tenant.client.patch(path, json={"to": ["b@example.com"]})).status_code == 200
    assert await _state(connection) == (0, 0, None)


async def test_a_try_is_one_and_not_all_that_waits(tenant: Tenant, connection: asyncpg.Connection) -> None:
    endpoint, _ = await add_endpoint(connection, UUID(tenant.id), "https://example.com/")
    await _close(connection, endpoint)
    assert (await tenant.client.post(f"/v1/webhooks/{endpoint}/test")).status_code == 202
    # As one that is slowed down: one delivery at a time, until one is taken.
    assert await _state(connection) == (1, 1, None)
    # Of one that is not left alone nothing changes.
    await connection.execute("UPDATE endpoint_states SET slow_step = 0")
    assert (await tenant.client.post(f"/v1/webhooks/{endpoint}/test")).status_code == 202
    assert await _state(connection) == (1, 0, None)
