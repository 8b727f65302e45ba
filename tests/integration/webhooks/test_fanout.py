import json
from uuid import uuid4

import asyncpg

from app.core.settings import Settings
from app.webhooks import fanout
from app.webhooks.fanout import fan_out
from app.webhooks.outbox import enqueue
from tests.integration.webhooks.helpers import add_endpoint, add_organisation, event

URL = "https://example.com/"


async def test_each_endpoint_gets_what_it_wants_once(
    connection: asyncpg.Connection, settings: Settings
) -> None:
    ours, theirs, site = await add_organisation(connection), await add_organisation(connection), uuid4()
    everything, _ = await add_endpoint(connection, ours, URL)
    firing, _ = await add_endpoint(connection, ours, URL, events=["alert.firing"])
    here, _ = await add_endpoint(connection, ours, URL, site_ids=[site])
    await add_endpoint(connection, ours, URL, enabled=False)
    foreign, _ = await add_endpoint(connection, theirs, URL)
    first = event(ours, site_id=site)
    second = event(ours, type_="alert.resolved", site_id=uuid4())
    third = event(theirs)
    await enqueue(connection, [first, second, third])

    assert await fan_out(connection, settings.webhooks) == 3
    assert await fan_out(connection, settings.webhooks) == 0

    rows = await connection.fetch("SELECT * FROM deliveries")
    assert {(row["endpoint_id"], row["event_id"]) for row in rows} == {
        (everything, first.id),
        (firing, first.id),
        (here, first.id),
        (everything, second.id),
        (foreign, third.id),
    }
    assert {row["state"] for row in rows} == {"pending"}
    assert await connection.fetchval("SELECT bool_and(due_at <= now()) FROM deliveries")
    for row in rows:
        body = json.loads(row["body"])
        assert body.keys() == {"type", "timestamp", "data"}
        assert body["type"] == row["type"]
        assert body["data"]["value"] == 31.2
        assert row["created_at"] in {first.created_at, second.created_at, third.created_at}


async def test_an_event_that_comes_again_makes_no_second_delivery(
    connection: asyncpg.Connection, settings: Settings
) -> None:
    ours = await add_organisation(connection)
    await add_endpoint(connection, ours, URL)
    await enqueue(connection, [event(ours)])
    await fan_out(connection, settings.webhooks)
    await connection.execute("UPDATE outbox SET fanned_out_at = NULL")
    assert await fan_out(connection, settings.webhooks) == 1
    assert await connection.fetchval("SELECT count(*) FROM deliveries") == 1


async def test_many_are_taken_in_batches(connection: asyncpg.Connection, settings: Settings) -> None:
    ours = await add_organisation(connection)
    await add_endpoint(connection, ours, URL)
    await enqueue(connection, [event(ours) for _ in range(fanout.BATCH + 7)])
    assert await fan_out(connection, settings.webhooks) == fanout.BATCH
    assert await fan_out(connection, settings.webhooks) == 7
    assert await connection.fetchval("SELECT count(*) FROM deliveries") == fanout.BATCH + 7
