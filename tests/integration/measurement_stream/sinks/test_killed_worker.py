"""The delivery process is killed between a sink's confirmation and the cursor."""

import asyncio
import json
import signal
from typing import Any

import asyncpg
import pytest
from aiohttp import web

from app.settings import VigieSettings
from app.standalone.private_postgres import PrivatePostgres
from tests.conftest import Tenant
from tests.integration.measurement_stream.conftest import send
from tests.integration.measurement_stream.receiving_servers import postgresql_sink
from tests.integration.measurement_stream.subscribing import list_batches, subscribe, until_sent
from tests.integration.notifications.receivers import receiving
from tests.nursery import ForkedProcess

KILLS = 3


@pytest.fixture
def short_leases(settings: VigieSettings, monkeypatch: pytest.MonkeyPatch) -> VigieSettings:
    monkeypatch.setenv("VIGIE_WEBHOOKS__TOTAL_TIMEOUT_S", "1.0")
    monkeypatch.setenv("VIGIE_WEBHOOKS__LEASE_S", "1.2")
    return settings


async def end(process: ForkedProcess) -> None:
    process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(60):
        assert await process.wait() == 0


@pytest.mark.fault
@pytest.mark.usefixtures("short_leases")
async def test_what_is_repeated_has_the_same_ids(
    tenant: Tenant, boxes: list[str], postgres: PrivatePostgres
) -> None:
    processes: list[ForkedProcess] = []
    kills = 0

    async def confirm_and_kill(_: web.Request) -> web.StreamResponse:
        """Confirm each second batch, but the process does not live to hear of it."""
        nonlocal kills
        if kills < KILLS and len(receiver.got) % 2:
            kills += 1
            processes[-1].kill()
        return web.Response(status=204)

    url = await postgres.create_database("receiving_killed")
    async with receiving(confirm_and_kill) as receiver:
        batch = {"size": 7, "max_age": "PT0S"}
        made = await subscribe(tenant, {"kind": "webhook", "url": receiver.url}, batch=batch)
        table = await subscribe(tenant, postgresql_sink(url), batch=batch)
        for number in range(4):
            values = [(float(number * 10 + second), {"pm2_5": float(second)}) for second in range(10)]
            await send(tenant, boxes[number % 3], *values)
        for _ in range(KILLS):
            processes.append(await ForkedProcess.start_quiet("deliver"))
            async with asyncio.timeout(60):
                assert await processes[-1].wait() == -signal.SIGKILL
        last = await ForkedProcess.start_quiet("deliver")
        await until_sent(tenant, made["id"], 40)
        await until_sent(tenant, table["id"], 40)
        await end(last)
    bodies: dict[str, set[bytes]] = {}
    items: dict[str, dict[str, Any]] = {}
    for request in receiver.got:
        told = json.loads(request.body)
        bodies.setdefault(told["id"], set()).add(request.body)
        for item in told["items"]:
            assert items.setdefault(item["id"], item) == item
    # Repeated, and the same each time: no item came under two ids.
    assert len(receiver.got) > len(bodies)
    assert all(len(each) == 1 for each in bodies.values())
    assert len(items) == 40
    assert len({(item["box"], item["time"]) for item in items.values()}) == 40
    assert {batch["id"] for batch in await list_batches(tenant, made["id"])} == bodies.keys()
    there = await asyncpg.connect(url)
    rows = await there.fetch("SELECT id, box, time FROM vigie_measurements")
    await there.close()
    assert {row["id"] for row in rows} == items.keys()
    assert len(rows) == 40
