"""The end of a dispatcher: in time for `vigie up`, and with nothing leased that need not be."""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest
from aiohttp import web

from app.notifications.delivery import dispatcher
from app.notifications.delivery.dispatcher import END_S
from app.platform.db.database import Database
from app.platform.runtime.stored_settings import InstallationSettings
from app.platform.secrets.sealing import SecretSealer
from app.settings import VigieSettings
from app.standalone.private_postgres import PrivatePostgres
from tests.integration.notifications.helpers import (
    add_endpoint,
    add_organisation,
    emit,
    event,
    states,
    with_webhooks,
)
from tests.integration.notifications.receivers import receiving
from tests.nursery import ForkedProcess

_VIGIE_UP_S = 7.0  # what `vigie up` waits before it ends a role by force


async def _slow(_: web.Request) -> web.StreamResponse:
    await asyncio.sleep(60)
    return web.Response(status=204)


async def test_a_process_that_is_stopped_as_by_vigie_up_leaves_no_lease(
    connection: asyncpg.Connection, settings: VigieSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    del settings  # what the process finds in its environment
    assert END_S < _VIGIE_UP_S
    monkeypatch.setenv("VIGIE_WEBHOOKS__TOTAL_TIMEOUT_S", "40")
    monkeypatch.setenv("VIGIE_WEBHOOKS__LEASE_S", "80")
    organisation = await add_organisation(connection)
    async with receiving(_slow) as receiver:
        await add_endpoint(connection, organisation, receiver.url)
        process = await ForkedProcess.start_quiet("deliver")
        try:
            await emit(connection, *(event(organisation) for _ in range(8)))
            await receiver.wait(8)
            process.send_signal(signal.SIGTERM)
            # Half of the time that its attempts may take.
            async with asyncio.timeout(20):
                assert await process.wait() == 0
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    assert await connection.fetchval("SELECT count(*) FROM deliveries WHERE leased_until IS NOT NULL") == 0
    assert await connection.fetchval("SELECT count(*) FROM deliveries WHERE due_at <= now()") == 8


def _children(pid: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
        except OSError:
            continue
        if parent == pid:
            found.append(int(entry.name))
    return found


@asynccontextmanager
async def _suspended(postgres: PrivatePostgres) -> AsyncIterator[None]:
    assert postgres.pid is not None
    stopped = [postgres.pid]
    # First: it starts no more children. Those that run may end meanwhile.
    os.kill(postgres.pid, signal.SIGSTOP)
    try:
        for pid in _children(postgres.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
                stopped.append(pid)
        yield
    finally:
        for pid in stopped:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


async def test_a_database_that_hangs_does_not_keep_it(
    postgres: PrivatePostgres, database: Database, connection: asyncpg.Connection, settings: VigieSettings
) -> None:
    organisation, hangs = await add_organisation(connection), asyncio.Event()

    async def late(_: web.Request) -> web.StreamResponse:
        await hangs.wait()
        return web.Response(status=204)

    async with receiving(late) as receiver:
        await add_endpoint(connection, organisation, receiver.url)
        stop = asyncio.Event()
        task = asyncio.create_task(
            dispatcher.run_dispatcher(
                settings,
                with_webhooks(settings, poll_s=0.2).webhooks,
                database,
                stop,
                InstallationSettings(settings, SecretSealer.of(settings.encryption)),
            )
        )
        await emit(connection, *(event(organisation) for _ in range(4)))
        await receiver.wait(4)
        async with _suspended(postgres):
            hangs.set()
            # Until the round and the record hang in it.
            await asyncio.sleep(1.5)
            began = time.monotonic()
            stop.set()
            await asyncio.wait((task,), timeout=40)
            took = time.monotonic() - began
        await task
    assert took < 15, "the timeout of a transaction is 30 s"
    # What could not be recorded comes again.
    assert await states(connection) == {"pending": 4}
    assert await connection.fetchval("SELECT count(*) FROM deliveries WHERE leased_until IS NOT NULL") == 4
