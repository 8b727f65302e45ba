"""The consumer's hold on its connection and its lock."""

import asyncio
import gzip
import json
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import aiomqtt
import asyncpg
import pytest

from app.ingest.codec.batch_decoder import decode_batch
from app.ingest.pipeline.batch_pipeline import IngestPipeline
from app.ingest.pipeline.registry_snapshot import RegistryCache
from app.platform.db.database import Database
from app.platform.kernel.instants import from_datetime
from app.platform.runtime.process_runner import ProcessContext
from app.processes.ingest import run_ingest
from app.settings import VigieSettings
from app.standalone.private_postgres import PrivatePostgres
from tests import shifted_clock
from tests.conftest import ACCOUNTS, Tenant

_HOLDER = """
SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted
AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


async def holder(database: Database) -> int | None:
    connection = await database.connect()
    try:
        pid: int | None = await connection.fetchval(_HOLDER)
    finally:
        connection.terminate()
    return pid


@pytest.fixture
async def consumer(settings: VigieSettings, database: Database) -> AsyncIterator[ProcessContext]:
    role = ProcessContext("ingest", database)
    working = asyncio.create_task(run_ingest(settings, role))
    yield role
    role.stop.set()
    await asyncio.wait_for(working, 60)


@pytest.mark.usefixtures("consumer")
async def test_an_idle_consumer_notices_that_it_lost_its_lock(
    database: Database, postgres: PrivatePostgres
) -> None:
    """Else two consumers would take the broker's session from each other until a message comes."""
    async with asyncio.timeout(60):
        while (first := await holder(database)) is None:  # noqa: ASYNC110 (the server's word)
            await asyncio.sleep(0.05)
        server = await asyncpg.connect(postgres.superuser_url)
        await server.execute("SELECT pg_terminate_backend($1)", first)
        await server.close()
        while await holder(database) in {None, first}:  # noqa: ASYNC110 (the server's word)
            await asyncio.sleep(0.05)


@shifted_clock.WAITS_IN_POSTGRESQL
async def test_told_to_stop_while_its_batch_is_held_up_it_gives_the_batch_up(
    consumer: ProcessContext, settings: VigieSettings, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.ingest.consumer._DRAIN_S", 1.0)
    connection = await database.connect()
    async with asyncio.timeout(60):
        while consumer.state != "consuming":  # noqa: ASYNC110 (the role's word)
            await asyncio.sleep(0.05)
        async with connection.transaction():
            await connection.execute("LOCK TABLE quarantine IN ACCESS EXCLUSIVE MODE")
            await publish(settings, "vigie/v1/box-1/telemetry", b"{")
            waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'quarantine'::regclass"
            while not await connection.fetchval(waiting):  # noqa: ASYNC110 (the server's word)
                await asyncio.sleep(0.05)
            while consumer.state != "waiting for the database":  # noqa: ASYNC110 (the role's word)
                await asyncio.sleep(0.05)
            consumer.stop.set()
            while await connection.fetchval(waiting):  # noqa: ASYNC110 (the server's word)
                await asyncio.sleep(0.05)
    assert await connection.fetchval("SELECT count(*) FROM quarantine") == 0
    await connection.close()


async def test_a_box_that_falls_silent_is_noticed_though_nothing_comes(
    consumer: ProcessContext,
    settings: VigieSettings,
    tenant: Tenant,
    site_id: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("app.ingest.broker_input._SETTLE_S", 0.0)
    (await tenant.client.post("/v1/boxes", json={"id": "box-1", "site_id": site_id})).raise_for_status()
    rule = {"site_id": site_id, "name": "Silent", "severity": "warning", "condition": {"no_data": "PT60S"}}
    (await tenant.client.post("/v1/rules", json=rule)).raise_for_status()
    async with asyncio.timeout(60):
        while consumer.state != "consuming":  # noqa: ASYNC110 (the role's word)
            await asyncio.sleep(0.05)
        heard = datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=57)
        sample = {"time": heard.isoformat(), "values": {"pm2_5": 1}}
        await publish(settings, "vigie/v1/box-1/telemetry", json.dumps(sample).encode())
        while not (alerts := (await tenant.client.get("/v1/alerts")).json()["data"]):  # noqa: ASYNC110 (the role's)
            await asyncio.sleep(0.1)
    assert datetime.fromisoformat(alerts[0]["started_at"]) == heard + timedelta(seconds=60)
    assert (alerts[0]["box"], alerts[0]["metric"], alerts[0]["threshold"]) == ("box-1", None, 60)


async def test_a_batch_that_is_large_once_inflated_is_stored_in_parts(
    consumer: ProcessContext, settings: VigieSettings, database: Database, tenant: Tenant, site_id: str
) -> None:
    (await tenant.client.post("/v1/boxes", json={"id": "box-1", "site_id": site_id})).raise_for_status()
    async with asyncio.timeout(60):
        while consumer.state != "consuming":  # noqa: ASYNC110 (the role's word)
            await asyncio.sleep(0.05)
        now = round(time.time() * 1000)
        body = '{"time": %d, "values": {"pm2_5": 1}}' + " " * 900_000
        payloads = [gzip.compress((body % (now + number)).encode()) for number in range(25)]
        await publish(settings, "vigie/v1/box-1/telemetry/gzip", *payloads)
        connection = await database.connect()
        while await connection.fetchval("SELECT count(*) FROM samples") < 25:  # noqa: ASYNC110 (the server's)
            await asyncio.sleep(0.05)
    assert await connection.fetchval("SELECT count(*) FROM quarantine") == 0
    await connection.close()


async def test_a_backlog_of_large_messages_comes_before_the_timers(
    settings: VigieSettings,
    database: Database,
    tenant: Tenant,
    site_id: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Batches are full by their bytes, far below the largest number of messages."""
    monkeypatch.setattr("app.ingest.broker_input._SETTLE_S", 0.0)
    monkeypatch.setattr("app.ingest.broker_input._TIMERS_EVERY_S", 0.0)
    for box in ("box-1", "box-2"):
        (await tenant.client.post("/v1/boxes", json={"id": box, "site_id": site_id})).raise_for_status()
    rule = {"site_id": site_id, "name": "Silent", "severity": "warning", "condition": {"no_data": "PT60S"}}
    (await tenant.client.post("/v1/rules", json=rule)).raise_for_status()
    limits = settings.ingest.model_copy(update={"batch_bytes": 65_536})
    settings = settings.model_copy(update={"ingest": limits})
    connection = await database.connect()

    async def consume(samples: int) -> None:
        role = ProcessContext("ingest", database)
        working = asyncio.create_task(run_ingest(settings, role))
        count = "SELECT count(*) FROM samples"
        async with asyncio.timeout(60):
            while role.state != "consuming" or await connection.fetchval(count) < samples:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        role.stop.set()
        await asyncio.wait_for(working, 60)

    def at(seconds: float) -> bytes:
        time_ = (now + timedelta(seconds=seconds)).isoformat()
        return json.dumps({"time": time_, "values": {"pm2_5": 1}}).encode()

    await consume(0)  # creates the session that collects the backlog
    now = datetime.now(UTC)
    earlier = now - timedelta(seconds=150)
    intake = decode_batch(
        ["vigie/v1/box-2/telemetry"], [at(-150)], now_us=from_datetime(earlier), max_future_us=0
    )
    pipeline = IngestPipeline(RegistryCache(), is_consumer=True)
    await pipeline.commit(connection, intake, now=earlier)
    await pipeline.write_back(connection)
    large = [at(number - 40) + b" " * 40_000 for number in range(40)]
    await publish(settings, "vigie/v1/box-1/telemetry", *large)
    await publish(settings, "vigie/v1/box-2/telemetry", at(-100), at(-50), at(0))
    await consume(44)
    await connection.close()
    assert (await tenant.client.get("/v1/alerts")).json()["data"] == []


async def publish(settings: VigieSettings, topic: str, *payloads: bytes) -> None:
    async with aiomqtt.Client(
        settings.broker.host, settings.broker.port, username="gateway", password=ACCOUNTS["gateway"]
    ) as client:
        for payload in payloads:
            await client.publish(topic, payload, qos=1)
