"""Who closes the gate often holds up neither batches nor anybody else."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from uuid import UUID

import asyncpg
import pytest
from sqlalchemy import text

from app.alerts.service import close_alerts
from app.platform.db import ingest_barrier
from app.platform.db.advisory_lock_keys import BARRIER_QUEUE, INGEST_BARRIER
from app.platform.db.database import Database
from app.platform.db.ingest_barrier import close_ingest_barrier, pass_ingest_barrier
from app.platform.identity.caller_authentication import Principal
from app.platform.kernel.errors import NotFoundError
from app.platform.kernel.tenant_scope import ScopedCaller, TenantScope, run_as_caller
from app.rules.definitions import service as rules
from tests.scenarios.processes import until

ONE, OTHER = (ScopedCaller(TenantScope.of([UUID(int=number)])) for number in (1, 2))


class Closer:
    """A change that closes the gate, and stays until it is let go."""

    def __init__(self, database: Database, caller: ScopedCaller) -> None:
        self.closed, self.go = asyncio.Event(), asyncio.Event()
        with run_as_caller(caller):
            self.task = asyncio.create_task(self._change(database))

    async def _change(self, database: Database) -> None:
        async with database.write() as session:
            await close_ingest_barrier(session)
            await close_ingest_barrier(session)  # as closing alerts does once more
            self.closed.set()
            await self.go.wait()

    async def end(self) -> None:
        self.go.set()
        async with asyncio.timeout(20):
            await self.task


@asynccontextmanager
async def batch(connection: asyncpg.Connection) -> AsyncIterator[None]:
    async with connection.transaction():
        await pass_ingest_barrier(connection)
        yield


@pytest.fixture
async def connections(database: Database) -> AsyncIterator[tuple[asyncpg.Connection, asyncpg.Connection]]:
    opened = (await database.connect(), await database.connect())
    yield opened
    for connection in opened:
        await connection.close()


async def waiting(connection: asyncpg.Connection, lock: int) -> int:
    """How many wait for an advisory lock."""
    found: int = await connection.fetchval(
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        " AND (classid::bigint << 32 | objid::bigint) = $1"
        " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
        lock,
    )
    return found


async def test_batches_that_wait_pass_before_the_next_closer(
    database: Database, connections: tuple[asyncpg.Connection, asyncpg.Connection]
) -> None:
    ours, looking = connections
    first = Closer(database, ONE)
    await first.closed.wait()
    second = Closer(database, OTHER)
    assert await until(lambda: waiting(looking, BARRIER_QUEUE)) == 1
    passed, done = asyncio.Event(), asyncio.Event()

    async def store() -> None:
        async with batch(ours):
            passed.set()
            await done.wait()

    storing = asyncio.create_task(store())
    assert await until(lambda: waiting(looking, INGEST_BARRIER)) == 1
    await first.end()
    # It came last, and is first: whoever wants to close the gate waits for it.
    async with asyncio.timeout(20):
        await passed.wait()
    assert await until(lambda: waiting(looking, INGEST_BARRIER)) == 1
    assert not second.closed.is_set()
    done.set()
    await storing
    async with asyncio.timeout(20):
        await second.closed.wait()
    await second.end()


async def test_one_organisations_closers_wait_for_each_other_without_a_connection(
    database: Database, connections: tuple[asyncpg.Connection, asyncpg.Connection]
) -> None:
    small = Database(
        database.settings.model_copy(update={"pool_size": 3}), application="tests", tenants=False
    )
    first = Closer(small, ONE)
    await first.closed.wait()
    more = [Closer(small, ONE) for _ in range(10)]
    stranger = Closer(small, OTHER)
    assert await until(lambda: waiting(connections[0], BARRIER_QUEUE)) == 1
    # Of three connections one is left, whatever the first organisation wants.
    async with asyncio.timeout(20), small.read() as session:
        assert await session.scalar(text("SELECT 1")) == 1
    await first.end()
    async with asyncio.timeout(20):
        await stranger.closed.wait()
    await stranger.end()
    for closer in more:
        await closer.end()
    await small.close()


async def test_clients_of_an_integrator_take_turns_with_each_other_and_with_it(
    database: Database, connections: tuple[asyncpg.Connection, asyncpg.Connection]
) -> None:
    integrator, client = UUID(int=3), UUID(int=4)
    first = Closer(database, ScopedCaller(TenantScope.of([client]), tree=integrator))
    await first.closed.wait()
    more = [
        Closer(database, ScopedCaller(TenantScope.of(reached), tree=integrator))
        for reached in ([UUID(int=5)], [integrator, client, UUID(int=5)])
    ]
    stranger = Closer(database, OTHER)
    # Only the stranger came as far as a lock.
    assert await until(lambda: waiting(connections[0], BARRIER_QUEUE)) == 1
    for closer in (first, stranger, *more):
        await closer.end()


async def test_who_gives_up_waiting_and_who_fails_leaves_the_turn_to_the_next(database: Database) -> None:
    first = Closer(database, ONE)
    await first.closed.wait()
    gone, last = Closer(database, ONE), Closer(database, ONE)
    await asyncio.sleep(0)
    gone.task.cancel()
    first.task.cancel()
    async with asyncio.timeout(20):
        await last.closed.wait()
    await last.end()

    async def fail() -> None:
        async with database.write() as session:
            await close_ingest_barrier(session)
            await session.execute(text("SELECT 1 / 0"))

    with run_as_caller(ONE):
        for _ in range(2):
            with pytest.raises(Exception, match="division by zero"):
                await fail()
    again = Closer(database, ONE)
    async with asyncio.timeout(20):
        await again.closed.wait()
    await again.end()


async def test_with_the_gate_closed_nobody_waits_long_for_others(database: Database) -> None:
    with run_as_caller(ONE):
        async with database.write() as session:
            await close_ingest_barrier(session)
            assert await session.scalar(text("SHOW lock_timeout")) == "2s"


async def test_whoever_restores_a_rule_waits_for_the_turn_without_a_connection(database: Database) -> None:
    closer = Closer(database, ONE)
    await closer.closed.wait()
    nobody = UUID(int=7)
    principal = Principal(
        nobody, UUID(int=1), platform=False, scopes=frozenset(), tenant_scope=ONE.tenant_scope
    )
    with run_as_caller(ONE):
        async with database.write() as session:
            restoring = asyncio.create_task(
                rules.restore_version(
                    session, principal, nobody, "1", close_alerts=close_alerts, now=datetime.now(UTC)
                )
            )
            turn = ingest_barrier._slots[ONE.tenant_scope.organisations]
            async with asyncio.timeout(20):
                while turn._requests < 2:  # noqa: ASYNC110 (it and the closer; nobody tells)
                    await asyncio.sleep(0.001)
            assert not session.in_transaction()
            await closer.end()
            with pytest.raises(NotFoundError):
                await restoring
