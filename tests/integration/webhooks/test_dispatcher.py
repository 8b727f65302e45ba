"""The dispatcher on a real database, against real receivers."""

import asyncio
import json
import time

import asyncpg
import pytest
from aiohttp import web
from standardwebhooks import Webhook

from app.core.database import Database
from app.core.settings import Settings
from app.webhooks import dispatcher
from app.webhooks.outbox import enqueue
from app.webhooks.transport import message_id
from tests.integration.webhooks.helpers import (
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
from tests.integration.webhooks.receivers import receiving, status


async def _hang(_: web.Request) -> web.StreamResponse:
    await asyncio.sleep(60)
    return web.Response()


async def test_an_event_arrives_at_once_signed_and_is_recorded(
    database: Database, connection: asyncpg.Connection, settings: Settings
) -> None:
    organisation = await add_organisation(connection)
    async with receiving(status(204)) as receiver:
        endpoint, secret = await add_endpoint(connection, organisation, receiver.url)
        async with dispatching(with_webhooks(settings), database):
            # First one to see that it is up, then one to be timed.
            await emit(connection, event(organisation))
            await receiver.wait(1)
            began = time.monotonic()
            record = event(organisation)
            await emit(connection, record)
            got = (await receiver.wait(2))[1]
            assert time.monotonic() - began < 1.0
    Webhook(secret).verify(got.body, got.headers)
    assert got.headers["webhook-id"] == message_id(record.id)
    body = json.loads(got.body)
    assert body["data"]["alert_id"] == str(record.payload["alert_id"])
    row = await connection.fetchrow("SELECT * FROM deliveries WHERE event_id = $1", record.id)
    assert row is not None
    assert (row["state"], row["attempt_count"], row["due_at"]) == ("delivered", 1, None)
    assert (row["leased_until"], row["endpoint_id"], row["body"]) == (None, endpoint, got.body)
    assert row["delivered_at"] >= record.created_at
    assert await attempts(connection) == [(1, "delivered", 204)] * 2


async def test_a_receiver_that_was_down_gets_the_same_message_again(
    database: Database, connection: asyncpg.Connection, settings: Settings
) -> None:
    organisation = await add_organisation(connection)
    async with receiving(status(500, 503, 204)) as receiver:
        _, secret = await add_endpoint(connection, organisation, receiver.url)
        async with dispatching(with_webhooks(settings), database):
            await emit(connection, event(organisation))
            got = await receiver.wait(3)
            await until(lambda: states(connection))
    assert len({request.headers["webhook-id"] for request in got}) == 1
    assert len({request.body for request in got}) == 1
    for request in got:
        Webhook(secret).verify(request.body, request.headers)
    assert await states(connection) == {"delivered": 1}
    assert await attempts(connection) == [
        (1, "http_error", 500),
        (2, "http_error", 503),
        (3, "delivered", 204),
    ]


async def test_the_schedule_ends(
    database: Database, connection: asyncpg.Connection, settings: Settings
) -> None:
    organisation = await add_organisation(connection)
    async with receiving(status(302)) as receiver:
        await add_endpoint(connection, organisation, receiver.url)
        async with dispatching(with_webhooks(settings, schedule_s=[0, 0.05]), database):
            await emit(connection, event(organisation))

            async def failed() -> bool:
                return await states(connection) == {"failed": 1}

            await until(failed)
    assert await attempts(connection) == [(1, "redirect_refused", 302), (2, "redirect_refused", 302)]
    assert await connection.fetchval("SELECT due_at FROM deliveries") is None


async def test_a_wait_is_waited_by_the_databases_clock(
    database: Database, connection: asyncpg.Connection, settings: Settings
) -> None:
    organisation = await add_organisation(connection)
    async with receiving(status(500)) as receiver:
        await add_endpoint(connection, organisation, receiver.url)
        async with dispatching(with_webhooks(settings, schedule_s=[0, 300]), database):
            await emit(connection, event(organisation))

            async def tried() -> bool:
                return bool(await attempts(connection))

            await until(tried)
            row = await connection.fetchrow(
                "SELECT extract(epoch FROM due_at - now())::float8 AS wait, state, attempt_count "
                "FROM deliveries"
            )
            assert row is not None
            assert 295 < row["wait"] <= 300
            assert (row["state"], row["attempt_count"]) == ("pending", 1)
    assert len(receiver.got) == 1


async def test_a_disabled_endpoint_waits(
    database: Database, connection: asyncpg.Connection, settings: Settings
) -> None:
    organisation = await add_organisation(connection)
    async with receiving(status(500, 204)) as receiver:
        await add_endpoint(connection, organisation, receiver.url)
        async with dispatching(with_webhooks(settings, schedule_s=[0, 0.5], poll_s=0.1), database):
            await emit(connection, event(organisation))
            await receiver.wait(1)
            await connection.execute("UPDATE webhook_endpoints SET enabled = false")
            await asyncio.sleep(0.8)
            assert len(receiver.got) == 1
            assert await states(connection) == {"pending": 1}
            await connection.execute("UPDATE webhook_endpoints SET enabled = true")
            await receiver.wait(2)


async def test_an_endpoint_deleted_during_an_attempt_harms_nothing(
    database: Database, connection: asyncpg.Connection, settings: Settings
) -> None:
    organisation = await add_organisation(connection)

    async def slow(_: web.Request) -> web.StreamResponse:
        await asyncio.sleep(0.3)
        return web.Response()

    async with receiving(slow) as receiver, receiving(status(204)) as other:
        endpoint, _ = await add_endpoint(connection, organisation, receiver.url)
        async with dispatching(with_webhooks(settings), database):
            await emit(connection, event(organisation))
            await receiver.wait(1)
            await connection.execute("DELETE FROM webhook_endpoints WHERE id = $1", endpoint)
            await asyncio.sleep(0.5)
            await add_endpoint(connection, organisation, other.url)
            await emit(connection, event(organisation))
            await other.wait(1)


async def test_one_that_hangs_takes_a_quarter_of_the_places_at_most(
    database: Database, connection: asyncpg.Connection, settings: Settings
) -> None:
    organisation = await add_organisation(connection)
    async with receiving(_hang) as bad, receiving(status(204)) as good:
        await add_endpoint(connection, organisation, bad.url)
        await add_endpoint(connection, organisation, good.url)
        hanging = with_webhooks(settings, concurrency=8, total_timeout_s=3, lease_s=6)
        async with dispatching(hanging, database):
            began = time.monotonic()
            await emit(connection, *[event(organisation) for _ in range(100)])
            await good.wait(100)
            assert time.monotonic() - began < 2.5
            assert len(bad.got) == 2


async def test_a_stop_lets_attempts_end(
    database: Database, connection: asyncpg.Connection, settings: Settings
) -> None:
    organisation = await add_organisation(connection)

    async def slow(_: web.Request) -> web.StreamResponse:
        await asyncio.sleep(0.5)
        return web.Response()

    async with receiving(slow) as receiver:
        await add_endpoint(connection, organisation, receiver.url)
        async with dispatching(with_webhooks(settings), database) as stop:
            await emit(connection, event(organisation))
            await receiver.wait(1)
            stop.set()
    assert await states(connection) == {"delivered": 1}


async def test_a_stop_cuts_what_does_not_end_and_frees_it(
    database: Database,
    connection: asyncpg.Connection,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dispatcher, "DRAIN_S", 0.2)
    organisation = await add_organisation(connection)
    async with receiving(_hang) as receiver:
        await add_endpoint(connection, organisation, receiver.url)
        patient = with_webhooks(settings, total_timeout_s=20, lease_s=60)
        async with dispatching(patient, database) as stop:
            await emit(connection, event(organisation))
            await receiver.wait(1)
            began = time.monotonic()
            stop.set()
        assert time.monotonic() - began < 2.0
    row = await connection.fetchrow("SELECT state, leased_until, attempt_count FROM deliveries")
    assert row is not None
    assert tuple(row) == ("pending", None, 0)
    assert await attempts(connection) == []


async def test_two_dispatchers_share_the_work(
    database: Database, connection: asyncpg.Connection, settings: Settings
) -> None:
    organisation = await add_organisation(connection)
    async with receiving(status(204)) as receiver:
        await add_endpoint(connection, organisation, receiver.url)
        both = with_webhooks(settings)
        async with dispatching(both, database), dispatching(both, database):
            await emit(connection, *[event(organisation) for _ in range(300)])
            await receiver.wait(300)

            async def done() -> bool:
                return await states(connection) == {"delivered": 300}

            await until(done)
    assert len({request.headers["webhook-id"] for request in receiver.got}) == len(receiver.got) == 300


async def test_lost_connections_are_made_again(
    database: Database, connection: asyncpg.Connection, settings: Settings
) -> None:
    organisation = await add_organisation(connection)
    async with receiving(status(204)) as receiver:
        await add_endpoint(connection, organisation, receiver.url)
        async with dispatching(with_webhooks(settings), database):
            for count in range(1, 4):
                await emit(connection, event(organisation))
                await receiver.wait(count)
                await connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND pid <> pg_backend_pid() "
                    "AND application_name = 'tests'"
                )

            async def done() -> bool:
                return await states(connection) == {"delivered": 3}

            await until(done)


async def test_what_was_written_while_nobody_listened_is_found(
    database: Database, connection: asyncpg.Connection, settings: Settings
) -> None:
    organisation = await add_organisation(connection)
    async with receiving(status(204)) as receiver:
        await add_endpoint(connection, organisation, receiver.url)
        await enqueue(connection, [event(organisation) for _ in range(5)])
        async with dispatching(with_webhooks(settings), database):
            await receiver.wait(5)
            # Without a wake-up: the poll.
        async with dispatching(with_webhooks(settings, poll_s=0.1), database):
            await asyncio.sleep(0.3)
            await enqueue(connection, [event(organisation)])
            await receiver.wait(6)
