"""`/readyz` says what is: a true answer for each state of the database and the broker.

A full disk and backends that hang are in tests/faults, with the roles that notice them.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import psutil
import pytest

from app.platform.broker.dropped_message_monitor import BrokerDropMonitor
from app.platform.db.database import Database
from app.platform.db.schema_upgrade import upgrade
from app.platform.kernel.application_resources import get_resource, provide_resources
from app.platform.runtime.health_router import ReadinessProbe
from app.platform.runtime.heartbeat import instance_name, run_heartbeat, write_heartbeat
from app.settings import VigieSettings
from app.standalone.free_ports import find_free_port
from app.standalone.private_mosquitto import PrivateMosquitto
from app.standalone.private_postgres import PrivatePostgres
from tests.conftest import client_of, new_application, running
from tests.scenarios.processes import until


@asynccontextmanager
async def served(settings: VigieSettings, key: str | None = None) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an application whose probe waits: on a busy machine an answer may take a while."""
    async with running(new_application(settings)) as app, client_of(app, key) as opened:
        provide_resources(app, ReadinessProbe(settings, get_resource(app, Database), patience_s=30))
        yield opened


@pytest.fixture
async def client(settings: VigieSettings) -> AsyncIterator[httpx.AsyncClient]:
    """A client without a key: `/readyz` needs none."""
    async with served(settings) as opened:
        yield opened


async def asked(client: httpx.AsyncClient, *, status: int | None = None) -> dict[str, Any]:
    """The dependencies; waits until the answer has the status."""

    async def ask() -> dict[str, Any]:
        answer = await client.get("/readyz")
        body = answer.json()
        assert body["ready"] == (answer.status_code == 200)
        found: dict[str, Any] = body["dependencies"]
        return found if status in {None, answer.status_code} else {}

    return await until(ask)


async def test_all_is_well_without_roles(client: httpx.AsyncClient) -> None:
    found = await asked(client, status=200)
    assert {name: entry["state"] for name, entry in found.items()} == {
        "database": "ok",
        "migrations": "ok",
        "broker": "ok",
        "ingest": "failed",
        "deliver": "failed",
        "maintain": "failed",
    }
    assert found["ingest"] == {"state": "failed", "required": False, "detail": "not running"}


async def test_a_database_that_is_stopped_is_told_and_found_again(
    client: httpx.AsyncClient, postgres: PrivatePostgres
) -> None:
    await asked(client, status=200)
    await postgres.stop()
    try:
        found = await asked(client, status=503)
    finally:
        await postgres.start()
    assert found["database"]["state"] == found["migrations"]["state"] == found["ingest"]["state"] == "failed"
    assert found["database"]["detail"] != ""
    assert found["broker"]["state"] == "ok"
    await asked(client, status=200)


async def test_an_api_begins_without_a_database_and_serves_once_there_is_one(
    settings: VigieSettings, postgres: PrivatePostgres, admin_key: str
) -> None:
    await postgres.stop()
    try:
        async with served(settings, admin_key) as client:
            assert (await client.get("/healthz")).status_code == 200
            await asked(client, status=503)
            await postgres.start()
            await asked(client, status=200)

            async def lets_in() -> bool:
                return (await client.get("/v1/sites")).status_code == 200

            await until(lets_in)
    finally:
        await postgres.start()


async def test_a_database_without_the_schema_says_what_to_run(
    settings: VigieSettings, postgres: PrivatePostgres, admin_key: str
) -> None:
    url = await postgres.create_database(f"empty_{os.getpid()}", template="template1")
    owner = await asyncpg.connect(postgres.superuser_url.rpartition("/")[0] + "/" + url.rpartition("/")[2])
    await owner.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")
    await owner.close()
    empty = settings.model_copy(update={"database": settings.database.model_copy(update={"url": url})})
    async with served(empty, admin_key) as client:
        found = await asked(client, status=503)
        assert found["database"]["state"] == "ok"
        assert found["migrations"]["detail"] == "not migrated: run `vigie migrate`"
        await asyncio.to_thread(upgrade, empty.database)
        await asked(client, status=200)
        connection = await asyncpg.connect(url)
        await connection.execute("UPDATE alembic_version SET version_num = '0001'")
        found = await asked(client, status=503)
        assert "should be at" in found["migrations"]["detail"]
        await connection.close()


async def test_is_ready_on_a_newer_schema_that_serves_it(
    settings: VigieSettings, postgres: PrivatePostgres, admin_key: str
) -> None:
    url = await postgres.create_database(f"newer_{os.getpid()}")
    newer = settings.model_copy(update={"database": settings.database.model_copy(update={"url": url})})
    connection = await asyncpg.connect(url)
    async with served(newer, admin_key) as client:
        # As another release leaves it, which only expands.
        await connection.execute("UPDATE alembic_version SET version_num = '9998'")
        found = await asked(client, status=200)
        assert found["migrations"] == {"state": "ok", "required": True, "detail": ""}
        # As one leaves it that contracts.
        await connection.execute("UPDATE alembic_version SET oldest_program = '9997'")
        found = await asked(client, status=503)
        assert "serves programs from revision 9997 on" in found["migrations"]["detail"]
        assert "run a newer version of Vigie" in found["migrations"]["detail"]
    await connection.close()


async def test_a_broker_that_is_away_is_told_and_not_required(settings: VigieSettings) -> None:
    broker = settings.broker.model_copy(update={"port": find_free_port()})
    away = settings.model_copy(update={"broker": broker})
    async with served(away) as client:
        found = await asked(client, status=200)
        assert found["broker"]["state"] == "failed"
        assert found["broker"]["detail"] != ""
    needed = settings.api.model_copy(update={"ready_requires": ["database", "broker"]})
    async with served(away.model_copy(update={"api": needed})) as client:
        assert (await asked(client, status=503))["broker"]["required"]


async def test_a_role_that_waits_for_the_database_makes_it_fail(
    client: httpx.AsyncClient, database: Database
) -> None:
    await asked(client, status=200)
    connection = await database.connect()
    await write_heartbeat(connection, "ingest", "waiting for the database")
    found = await asked(client, status=503)
    assert found["database"]["detail"] == f"ingest ({instance_name()}) is waiting for the database"
    assert found["migrations"]["state"] == "ok"
    await write_heartbeat(connection, "ingest", "consuming")
    found = await asked(client, status=200)
    assert found["ingest"]["state"] == "ok"
    await connection.close()


@asynccontextmanager
async def beating(database: Database, role: str) -> AsyncIterator[None]:
    stop = asyncio.Event()
    task = asyncio.create_task(run_heartbeat(database, role, lambda: "working", stop))
    try:
        yield
    finally:
        stop.set()
        await task


async def test_a_role_whose_connection_hangs_says_so_on_the_next_one(
    client: httpx.AsyncClient, settings: VigieSettings
) -> None:
    """All backends that there are now hang; new ones answer, and nothing else would tell."""
    database = Database(settings.database, application="hanging")
    async with beating(database, "deliver"):
        connection = await database.connect()

        async def has_beaten() -> bool:
            return bool(await connection.fetchval("SELECT count(*) FROM heartbeats"))

        await until(has_beaten)
        pids = await connection.fetch(
            "SELECT pid FROM pg_stat_activity WHERE application_name = 'hanging' AND pid <> pg_backend_pid()"
        )
        await asked(client, status=200)
        backends = [psutil.Process(pid) for (pid,) in pids]
        for backend in backends:
            backend.send_signal(signal.SIGSTOP)
        try:
            found = await asked(client, status=503)
        finally:
            for backend in backends:
                backend.send_signal(signal.SIGCONT)
        assert found["database"]["detail"] == f"deliver ({instance_name()}) is waiting for the database"
        await connection.close()
    await database.close()


async def test_dropped_messages_are_shown_and_the_platform_is_ready(
    client: httpx.AsyncClient, database: Database
) -> None:
    connection = await database.connect()
    await write_heartbeat(connection, "broker", "dropped 3 messages in the last 10 minutes")
    found = await asked(client, status=200)
    assert found["broker"] == {
        "state": "degraded",
        "required": False,
        "detail": "dropped 3 messages in the last 10 minutes",
    }
    await connection.close()


async def test_the_watch_survives_the_broker_it_watches(tmp_path: Path) -> None:
    accounts = {"ingest": "ingest-password"}
    async with PrivateMosquitto(tmp_path / "broker", accounts=accounts) as broker:
        settings = VigieSettings(_env_file=None).broker.model_copy(
            update={"port": broker.port, "username": "ingest"}
        )
        settings.password = type(settings.password)(accounts["ingest"])
        watch = BrokerDropMonitor(settings)
        watch.start(None)

        async def sees() -> bool:
            return watch.counters.started_at is not None and "connected" in watch.counters.figures

        await until(sees)
        broker.kill()
        await broker.stop()
        watch.counters.figures.clear()
        await broker.start()
        await until(sees)
        assert watch.unannounced == 0
        await watch.stop()
        assert not watch.running
