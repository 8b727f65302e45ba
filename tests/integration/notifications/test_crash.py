"""The dispatcher as a process of its own, killed at the worst moment."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest
from aiohttp import web
from standardwebhooks import Webhook

from app.platform.db.database import Database
from app.settings import VigieSettings
from tests.integration.notifications.helpers import (
    add_endpoint,
    add_organisation,
    alert_event,
    attempts,
    emit,
    event,
    states,
    until,
)
from tests.integration.notifications.receivers import Receiver, receiving, status
from tests.nursery import ForkedProcess


@pytest.fixture
def frequent_polls(settings: VigieSettings, monkeypatch: pytest.MonkeyPatch) -> VigieSettings:
    monkeypatch.setenv("VIGIE_WEBHOOKS__TOTAL_TIMEOUT_S", "20")
    monkeypatch.setenv("VIGIE_WEBHOOKS__LEASE_S", "600")
    monkeypatch.setenv("VIGIE_WEBHOOKS__POLL_S", "0.2")
    return settings


@asynccontextmanager
async def _process() -> AsyncIterator[ForkedProcess]:
    process = await ForkedProcess.start_quiet("deliver")
    try:
        yield process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(60):
                await process.wait()


async def _check_second_process(connection: asyncpg.Connection, receiver: Receiver, secret: str) -> None:
    """Start another process, and compare what arrived with what the first one sent."""
    assert await attempts(connection) == []
    assert await states(connection) == {"pending": 1}
    # The lease of the first one ends.
    assert await connection.execute("UPDATE deliveries SET leased_until = now()") == "UPDATE 1"
    async with _process() as process:
        first, second = await receiver.wait(2)

        async def delivered() -> bool:
            return await states(connection) == {"delivered": 1}

        await until(delivered)
    assert process.returncode == 0
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.body == second.body
    for got in (first, second):
        Webhook(secret).verify(got.body, got.headers)
    assert await attempts(connection) == [(1, "delivered", 204)]


@pytest.mark.fault
@pytest.mark.usefixtures("frequent_polls")
async def test_killed_while_the_receiver_answers(connection: asyncpg.Connection) -> None:
    organisation = await add_organisation(connection)
    processes: list[ForkedProcess] = []

    async def kill_first(_: web.Request) -> web.StreamResponse:
        if processes:
            processes.pop().kill()
        return web.Response(status=204)

    async with receiving(kill_first) as receiver:
        _, secret = await add_endpoint(connection, organisation, receiver.url)
        async with _process() as process:
            processes.append(process)
            await emit(connection, event(organisation))
            async with asyncio.timeout(60):
                assert await process.wait() == -signal.SIGKILL
        await _check_second_process(connection, receiver, secret)


@pytest.mark.fault
@pytest.mark.usefixtures("frequent_polls")
async def test_killed_between_the_answer_and_the_record(
    database: Database, connection: asyncpg.Connection
) -> None:
    organisation = await add_organisation(connection)
    locker = await database.connect()
    lock = locker.transaction()

    async def make_the_record_wait(_: web.Request) -> web.StreamResponse:
        if len(receiver.got) == 1:
            await lock.start()
            await locker.execute("SELECT 1 FROM deliveries FOR UPDATE")
        return web.Response(status=204)

    async with receiving(make_the_record_wait) as receiver:
        _, secret = await add_endpoint(connection, organisation, receiver.url)
        async with _process() as process:
            await emit(connection, event(organisation))
            waiting = (
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
                "AND wait_event_type = 'Lock' AND query LIKE '%delivery_attempts%'"
            )
            await until(lambda: connection.fetchval(waiting))
            process.kill()
            assert await process.wait() == -signal.SIGKILL
            # The statement that it had sent already must not outlive it.
            await connection.execute(
                "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity "
                "WHERE datname = current_database() AND application_name = 'vigie-deliver'"
            )
            await lock.rollback()
            await locker.close()
        await _check_second_process(connection, receiver, secret)


@pytest.mark.fault
@pytest.mark.usefixtures("frequent_polls")
async def test_killed_between_a_groups_delivery_and_its_end(
    database: Database, connection: asyncpg.Connection
) -> None:
    organisation = await add_organisation(connection)
    counts = "SELECT (SELECT count(*) FROM group_events), (SELECT count(*) FROM deliveries)"
    async with receiving(status(204)) as receiver:
        grouping = {"by": ["rule"], "wait": "PT15M", "interval": "PT0S"}
        _, secret = await add_endpoint(connection, organisation, receiver.url, grouping=grouping)
        async with _process() as process:
            await emit(connection, *(alert_event(organisation) for _ in range(3)))
            await until(lambda: connection.fetchval("SELECT count(*) = 3 FROM group_events"))
            # The delivery is written, and cannot be checked: the group is not closed yet.
            locker = await database.connect()
            lock = locker.transaction()
            await lock.start()
            await locker.execute("SELECT FROM organisations FOR UPDATE")
            await connection.execute("UPDATE delivery_groups SET due_at = now()")
            waiting = (
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
                "AND wait_event_type = 'Lock' AND query LIKE '%INSERT INTO deliveries%'"
            )
            await until(lambda: connection.fetchval(waiting))
            process.kill()
            assert await process.wait() == -signal.SIGKILL
            await connection.execute(
                "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity "
                "WHERE datname = current_database() AND application_name = 'vigie-deliver'"
            )
            await lock.rollback()
            await locker.close()
        assert tuple(await connection.fetchrow(counts) or ()) == (3, 0)
        async with _process():
            (got,) = await receiver.wait(1)

            async def delivered() -> bool:
                return await states(connection) == {"delivered": 1}

            await until(delivered)
    assert len(receiver.got) == 1
    assert Webhook(secret).verify(got.body, got.headers)["data"]["firing"] == 3
    assert tuple(await connection.fetchrow(counts) or ()) == (0, 1)
