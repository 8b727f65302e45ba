"""A dispatcher that dies, and receivers that behave as badly as they can."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest
from aiohttp import web

from app.core.database import Database
from app.core.sealing import Sealer
from app.core.settings import Settings
from app.webhooks.attempt import Sender
from app.webhooks.dispatcher import Dispatcher
from app.webhooks.resolver import Found, GuardedResolver
from tests.faults.harness import Outcome, Report, Size
from tests.integration.webhooks.helpers import add_endpoint, add_organisation, emit, event, with_webhooks
from tests.integration.webhooks.receivers import receiving, status, talking
from tests.scenarios.processes import RoleProcess, until

pytestmark = pytest.mark.fault


@pytest.fixture
async def connection(database: Database) -> AsyncIterator[asyncpg.Connection]:
    opened = await database.connect()
    yield opened
    await opened.close()


async def test_16_dispatcher_killed_after_the_post(
    connection: asyncpg.Connection, size: Size, report: Report, tmp_path: Path
) -> None:
    """Killed again and again while receivers answer: each event arrives, always under the same id."""
    leases = {
        "VIGIE_WEBHOOKS__TOTAL_TIMEOUT_S": "1",
        "VIGIE_WEBHOOKS__LEASE_S": "1.2",
        "VIGIE_WEBHOOKS__POLL_S": "0.1",
        "VIGIE_WEBHOOKS__CONCURRENCY": "8",
    }
    organisation = await add_organisation(connection)
    many = size.of(30, 300)
    kills = size.of(2, 20)
    deliver = RoleProcess("deliver", tmp_path / "deliver.log")
    arrived = asyncio.Event()

    async def answer(_: web.Request) -> web.StreamResponse:
        arrived.set()
        await asyncio.sleep(0.05)
        return web.Response(status=204)

    async with receiving(answer) as receiver:
        await add_endpoint(connection, organisation, receiver.url)
        sent = {}
        for number in range(many):
            record = event(organisation)
            sent[f"msg_{record.id.hex}"] = number
            with (tmp_path / "ledger").open("a", encoding="utf-8") as ledger:
                ledger.write(f"{record.id}\n")
            await emit(connection, record)
        await deliver.start(**leases)
        try:
            for _ in range(kills):
                arrived.clear()
                async with asyncio.timeout(20):
                    await arrived.wait()
                # The receiver has it, and its answer is on the way.
                await deliver.kill()
                await deliver.start(**leases)
            healed_at = time.monotonic()

            async def all_delivered() -> bool:
                left = "SELECT count(*) FROM outbox WHERE fanned_out_at IS NULL"
                pending = "SELECT count(*) FROM deliveries WHERE state <> 'delivered'"
                return not await connection.fetchval(left) and not await connection.fetchval(pending)

            await until(all_delivered, patience_s=60)
            recovery = time.monotonic() - healed_at
        finally:
            assert await deliver.terminate() == 0
    ids = {got.headers["webhook-id"] for got in receiver.got}
    bodies = {(got.headers["webhook-id"], got.body) for got in receiver.got}
    report.add(
        "16 dispatcher killed after a POST",
        Outcome(
            many,
            len(ids & sent.keys()),
            many - len(ids & sent.keys()),
            len(bodies) - len(ids) + len(ids - sent.keys()),
            recovery,
        ),
    )
    assert len(receiver.got) > many, "a kill fell between a POST and its record"


@asynccontextmanager
async def _bad_receivers(over: asyncio.Event) -> AsyncIterator[dict[str, str]]:
    """Reason that each is expected to end with → its URL. Those that hang do so until it is `over`."""

    async def hang(_: web.Request) -> web.StreamResponse:
        await over.wait()
        return web.Response(status=204)

    async def endless(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 500 No\r\ncontent-type: text/plain\r\n\r\n")
        while not over.is_set():
            writer.write(b"x" * 65_536)
            await writer.drain()

    async def trickle(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for byte in b"HTTP/1.1 204 No Content\r\nx-patience: " + b"x" * 500:
            writer.write(bytes([byte]))
            await asyncio.sleep(0.2)

    async with AsyncExitStack() as stack:
        inner = await stack.enter_async_context(receiving(status(204)))

        async def elsewhere(_: web.Request) -> web.StreamResponse:
            return web.Response(status=302, headers={"location": inner.url})

        broken = await stack.enter_async_context(receiving(status(500)))
        hanging = await stack.enter_async_context(receiving(hang))
        away = await stack.enter_async_context(receiving(elsewhere))
        port = broken.url.rpartition(":")[2]
        yield {
            "500": broken.url,
            "hang": hanging.url,
            "endless": await stack.enter_async_context(talking(endless)),
            "trickle": await stack.enter_async_context(talking(trickle)),
            "302": away.url,
            "rebinding": f"http://rebinding.test:{port}",
        }
        assert inner.got == [], "a redirect was followed"


class _Rebinding:
    """A name whose address is harmless the first time, and a cloud's metadata service from then on."""

    def __init__(self) -> None:
        self.asked = 0

    async def __call__(self, host: str, port: int, family: socket.AddressFamily) -> Found:
        del host, port, family
        self.asked += 1
        return [(socket.AF_INET, "127.0.0.1" if self.asked == 1 else "169.254.169.254")]


async def test_17_bad_receivers(
    settings: Settings,
    database: Database,
    connection: asyncpg.Connection,
    size: Size,
    report: Report,
) -> None:
    """While every bad receiver has an attempt under way, a good one gets all of its events."""
    chosen = with_webhooks(
        settings, total_timeout_s=size.of(1.0, 15.0), lease_s=20, schedule_s=[0, 0.1], concurrency=32
    )
    good, bad = size.of(40, 1000), size.of(4, 20)
    organisation, over, stop = await add_organisation(connection), asyncio.Event(), asyncio.Event()
    names = _Rebinding()
    # What a check beforehand is told.
    assert await names("rebinding.test", 0, socket.AF_INET) == [(socket.AF_INET, "127.0.0.1")]
    async with _bad_receivers(over) as urls, receiving(status(204)) as receiver:
        endpoints = {
            name: (await add_endpoint(connection, organisation, url, events=["bad"]))[0]
            for name, url in urls.items()
        }
        await add_endpoint(connection, organisation, receiver.url, events=["good"])
        pool = await database.pool(size=4)
        resolver = GuardedResolver(allow_private=True, ask=names)
        async with Sender(chosen.webhooks, Sealer([]), resolver) as sender:
            dispatcher = asyncio.create_task(Dispatcher(chosen.webhooks, pool, sender).run(database, stop))
            await emit(connection, *(event(organisation, type_="bad") for _ in range(bad)))
            records = [event(organisation, type_="good") for _ in range(good)]
            await emit(connection, *records)
            await receiver.wait(good, 60)
            hanging = "SELECT count(*) FROM deliveries WHERE endpoint_id = $1 AND state = 'delivered'"
            assert await connection.fetchval(hanging, endpoints["hang"]) == 0

            async def given_up() -> bool:
                left = "SELECT count(*) FROM deliveries WHERE type = 'bad' AND state = 'pending'"
                return not await connection.fetchval(left)

            healed_at = time.monotonic()
            await until(given_up, patience_s=size.of(60, 400))
            recovery = time.monotonic() - healed_at
            over.set()
            stop.set()
            await dispatcher
        await pool.close()
    got = {entry.headers["webhook-id"] for entry in receiver.got}
    report.add(
        "17 bad receivers, others undisturbed",
        Outcome(good, len(got), good - len(got), len(receiver.got) - len(got), recovery),
    )
    await _check_reasons(connection, endpoints)


async def _check_reasons(connection: asyncpg.Connection, endpoints: dict[str, UUID]) -> None:
    query = (
        "SELECT DISTINCT reason FROM delivery_attempts JOIN deliveries ON deliveries.id = delivery_id "
        "WHERE endpoint_id = $1"
    )
    found = {
        name: {row["reason"] for row in await connection.fetch(query, endpoint)}
        for name, endpoint in endpoints.items()
    }
    assert found == {
        "500": {"http_error"},
        "hang": {"timeout"},
        "endless": {"http_error"},
        "trickle": {"timeout"},
        "302": {"redirect_refused"},
        "rebinding": {"address_refused"},
    }
    kept = "SELECT max(length(response_body)) FROM delivery_attempts"
    assert await connection.fetchval(kept) <= 4096
