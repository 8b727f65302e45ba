"""A dispatcher that dies: what was under way comes again, and nothing is lost."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
from aiohttp import web

from app.notifications.delivery.transport_types import build_message_id
from app.platform.db.database import Database
from tests.faults.harness import FaultOutcome, FaultReport, FaultSize
from tests.integration.notifications.helpers import add_endpoint, add_organisation, emit, event
from tests.integration.notifications.receivers import counting, receiving
from tests.scenarios.processes import RoleProcess, until

pytestmark = pytest.mark.fault


@pytest.fixture
async def connection(database: Database) -> AsyncIterator[asyncpg.Connection]:
    opened = await database.connect()
    yield opened
    await opened.close()


async def test_16_dispatcher_killed_after_the_post(
    connection: asyncpg.Connection, size: FaultSize, report: FaultReport, tmp_path: Path
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
                async with asyncio.timeout(60):
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
        FaultOutcome(
            many,
            len(ids & sent.keys()),
            many - len(ids & sent.keys()),
            len(bodies) - len(ids) + len(ids - sent.keys()),
            recovery,
        ),
    )
    assert len(receiver.got) > many, "a kill fell between a POST and its record"
    most = max(Counter(got.headers["webhook-id"] for got in receiver.got).values())
    # As does an attempt that took longer than the second that it has.
    failed = await connection.fetchval("SELECT count(*) FROM delivery_attempts WHERE reason <> 'delivered'")
    assert most <= 1 + kills + failed, "each kill sends what was under way once more"


_LEASE_S = 1.2
_ALL_DELIVERED = """
SELECT NOT EXISTS (SELECT FROM outbox WHERE fanned_out_at IS NULL)
    AND NOT EXISTS (SELECT FROM deliveries WHERE state <> 'delivered')
"""


async def _thousands(connection: asyncpg.Connection, url: str, count: int) -> set[str]:
    """So many events for an endpoint; gives their `webhook-id`s."""
    organisation = await add_organisation(connection)
    await add_endpoint(connection, organisation, url)
    records = [event(organisation) for _ in range(count)]
    await emit(connection, *records)
    return {build_message_id(record.id) for record in records}


@pytest.mark.timeout(300)
async def test_16_twenty_thousand(
    connection: asyncpg.Connection, size: FaultSize, report: FaultReport, tmp_path: Path
) -> None:
    """Killed with -9 while thousands go out: none is lost, and none comes more than twice."""
    many, kills = size.of(1500, 20_000), size.of(1, 10)
    environment = {
        "VIGIE_WEBHOOKS__TOTAL_TIMEOUT_S": "1",
        "VIGIE_WEBHOOKS__LEASE_S": str(_LEASE_S),
        "VIGIE_WEBHOOKS__POLL_S": "0.1",
        "VIGIE_WEBHOOKS__ENDPOINT_CONCURRENCY": "4",
    }
    deliver = RoleProcess("deliver", tmp_path / "deliver.log")
    async with counting(delay_s=0.004) as (url, got):
        sent = await _thousands(connection, url, many)
        began = time.monotonic()
        await deliver.start(**environment)
        try:
            killed_at = 0.0
            for _ in range(kills):
                before = got.total()
                # Only what this one sends may come twice: what the last one had under way is through by then.
                while got.total() < before + 300 or time.monotonic() < killed_at + _LEASE_S + 1:
                    assert time.monotonic() - began < 240, "nothing arrives any more"
                    await asyncio.sleep(0.01)
                assert got.total() < many, "it is killed while they go out"
                await deliver.kill()
                killed_at = time.monotonic()
                await deliver.start(**environment)
            await until(lambda: connection.fetchval(_ALL_DELIVERED), patience_s=100)
            recovery = time.monotonic() - killed_at
            took = time.monotonic() - began
        finally:
            assert await deliver.terminate() == 0
    often = [identity for identity, count in got.items() if count > 2]
    twice = sum(count == 2 for count in got.values())
    report.add(
        f"16 killed {kills} times, {many:,} deliveries",
        FaultOutcome(many, len(got.keys() & sent), len(sent - got.keys()), len(often), recovery),
    )
    report.note(
        f"16: {many:,} deliveries, {kills} kills, {len(sent - got.keys())} lost, {twice} came twice, "
        f"{len(often)} more often, {took:.1f} s"
    )
    assert got.keys() <= sent
    attempts = await connection.fetchval("SELECT count(*) FROM delivery_attempts")
    assert many <= attempts <= got.total()


@pytest.mark.timeout(300)
async def test_16_two_dispatchers(
    connection: asyncpg.Connection, size: FaultSize, report: FaultReport, tmp_path: Path
) -> None:
    """Two at once share the work: nothing goes out twice."""
    many = size.of(1500, 20_000)
    both = [RoleProcess("deliver", tmp_path / f"deliver-{number}.log") for number in range(2)]
    async with counting() as (url, got):
        sent = await _thousands(connection, url, many)
        for one in both:
            await one.start()
        try:
            began = time.monotonic()
            await until(lambda: connection.fetchval(_ALL_DELIVERED), patience_s=120)
            took = time.monotonic() - began
        finally:
            assert [await one.terminate() for one in both] == [0, 0]
    report.add(
        "16 two dispatchers at once",
        FaultOutcome(many, len(got.keys() & sent), len(sent - got.keys()), got.total() - len(got), took),
    )
