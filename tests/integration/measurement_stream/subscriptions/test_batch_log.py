"""The log of batches stays small, and a replay keeps what it needs of it."""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID

import asyncpg
import httpx
import pytest

from app.measurement_stream.subscriptions import batch_repository
from app.measurement_stream.subscriptions.batch_repository import MOST_BATCHES, delete_old_batches
from app.platform.db.database import Database
from app.settings import VigieSettings
from app.timeseries.commit_log.stream_positions import prune_commits
from tests.conftest import Tenant
from tests.integration.measurement_stream.conftest import send
from tests.integration.measurement_stream.subscribing import (
    act,
    eventually,
    list_batches,
    serving,
    subscribe,
    until_sent,
)
from tests.integration.notifications.receivers import receiving, status

WEBHOOK = {"kind": "webhook", "url": "https://example.com/hooks"}
_AT_ONCE = batch_repository._ROWS_PER_DELETE
_ADD = """
INSERT INTO measurement_batches (id, subscription_id, organisation_id, first_position, first_index,
    last_position, last_index, item_count, state, created_at)
SELECT gen_random_uuid(), $1, $2, n, 0, n, 0, 1, 'delivered', now() - $4::interval - n * interval '1 ms'
FROM generate_series(1, $3) AS n
"""
_COUNT = "SELECT count(*) FROM measurement_batches"


async def add_batches(owner: asyncpg.Connection, tenant: Tenant, number: int, age: str = "0") -> None:
    made = await subscribe(tenant, WEBHOOK)
    await owner.execute(_ADD.replace("$4", f"'{age}'"), UUID(made["id"]), UUID(tenant.id), number)


@pytest.fixture
async def delivery(settings: VigieSettings) -> AsyncIterator[asyncpg.Connection]:
    database = Database(settings.database, application="tests", role="vigie_deliver")
    opened = await database.connect()
    yield opened
    await opened.close()
    await database.close()


@pytest.mark.parametrize(("age", "left"), [("0", MOST_BATCHES), ("40 days", 0)])
async def test_all_old_batches_are_deleted(
    owner: asyncpg.Connection, tenant: Tenant, delivery: asyncpg.Connection, age: str, left: int
) -> None:
    await add_batches(owner, tenant, MOST_BATCHES + 3 * _AT_ONCE + 1, age)
    assert await delete_old_batches(delivery, 30, 600)
    assert await owner.fetchval(_COUNT) == left


async def test_the_budget_of_time_ends_a_removal(
    owner: asyncpg.Connection, tenant: Tenant, delivery: asyncpg.Connection
) -> None:
    await add_batches(owner, tenant, MOST_BATCHES + 2 * _AT_ONCE)
    assert not await delete_old_batches(delivery, 30, 0)
    assert await owner.fetchval(_COUNT) == MOST_BATCHES + _AT_ONCE


@pytest.mark.parametrize(("age", "left"), [("0", MOST_BATCHES + 1), ("40 days", 1)])
async def test_a_batch_that_is_replayed_meanwhile_is_not_deleted(
    owner: asyncpg.Connection, tenant: Tenant, delivery: asyncpg.Connection, age: str, left: int
) -> None:
    await add_batches(owner, tenant, MOST_BATCHES + 10, age)
    async with owner.transaction():
        await owner.execute(
            "UPDATE measurement_batches SET state = 'pending', is_replay = true WHERE first_position = $1",
            MOST_BATCHES + 10,
        )
        deleting = asyncio.create_task(delete_old_batches(delivery, 30, 600))

        async def is_waiting() -> bool:
            query = "SELECT cardinality(pg_blocking_pids($1)) > 0"
            return bool(await owner.fetchval(query, delivery.get_server_pid()))

        await eventually(is_waiting)
    assert await deleting
    assert await owner.fetchval(_COUNT) == left
    assert await owner.fetchval(f"{_COUNT} WHERE state = 'pending'") == 1


async def test_a_batch_that_has_left_the_stream_is_not_replayed(
    settings: VigieSettings, tenant: Tenant, boxes: list[str], owner: asyncpg.Connection
) -> None:
    """Its record stays as it is."""

    async def replay(batch: str) -> httpx.Response:
        return await tenant.client.post(f"/v1/measurement-batches/{batch}/replay")

    async with receiving(status(204)) as receiver, serving(settings):
        made = await subscribe(tenant, {"kind": "webhook", "url": receiver.url})
        for number in range(2):
            await send(tenant, boxes[0], (number, {"pm2_5": 1}))
            await until_sent(tenant, made["id"], number + 1)
        first, second = await list_batches(tenant, made["id"])
        await owner.execute(
            "UPDATE measurement_commits SET positioned_at = now() - interval '8 days' "
            "WHERE stream_position = $1",
            int(first["first"].partition("-")[0]),
        )
        await prune_commits(owner, keep_days=7)
        refused = await replay(first["id"])
        assert (refused.status_code, refused.json()["code"]) == (409, "batch_expired")
        assert "GET /v1/readings/export" in refused.json()["detail"]
        # The item that is still stored, and a test, which has none.
        test = (await act(tenant, made["id"], "test"))["id"]
        await receiver.wait(3)

        async def are_settled() -> bool:
            return all(each["state"] != "pending" for each in await list_batches(tenant, made["id"]))

        await eventually(are_settled)
        for count, batch in enumerate((second["id"], test), 4):
            assert (await replay(batch)).status_code == 202
            await receiver.wait(count)
        assert (await list_batches(tenant, made["id"]))[0] == first
