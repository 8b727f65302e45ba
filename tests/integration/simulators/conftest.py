"""A whole stack for the simulators: the API and the ingest role as processes, on the session's services."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import asyncpg
import pytest

from app.settings import VigieSettings
from app.standalone.free_ports import find_free_port
from app.standalone.private_mosquitto import PrivateMosquitto
from simulators.target_stack import TargetStack
from tests.conftest import ACCOUNTS
from tests.scenarios.processes import RoleProcess, role, until


@pytest.fixture(scope="module")
async def mosquitto(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[PrivateMosquitto]:
    """A broker of each module's own: what it retains of so many boxes comes to all later tests' consumers."""
    async with PrivateMosquitto(tmp_path_factory.mktemp("simulated"), accounts=ACCOUNTS) as broker:
        yield broker


@pytest.fixture
async def target(
    settings: VigieSettings,
    mosquitto: PrivateMosquitto,
    admin_key: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[TargetStack]:
    """Where the simulators are pointed to, with a run file as `vigie up` writes it."""
    assert settings.broker.port == mosquitto.port
    port = find_free_port()
    monkeypatch.setenv("VIGIE_API__PORT", str(port))
    run = {
        "ready": True,
        "api": f"http://127.0.0.1:{port}",
        "admin_key": admin_key,
        "mqtt": {
            "host": mosquitto.host,
            "port": mosquitto.port,
            "username": "gateway",
            "password": ACCOUNTS["gateway"],
        },
        "database": settings.database.url,
        "pids": {},
    }
    path = tmp_path / "run.json"
    path.write_text(json.dumps(run))
    async with role("api", tmp_path):
        await until(lambda: _ready(port))
        yield TargetStack.from_run_file(path)


async def _ready(port: int) -> bool:
    try:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{port}/readyz") as answer,
        ):
            return answer.status == 200
    except aiohttp.ClientError:
        await asyncio.sleep(0.1)
        return False


@pytest.fixture
async def ingest(target: TargetStack, tmp_path: Path) -> AsyncIterator[RoleProcess]:
    """The ingest role, consuming; a test may kill and start it."""

    async def consuming() -> bool:
        # What is published before its session exists, no broker keeps.
        await asyncio.sleep(0.1)
        states = await connection.fetch("SELECT state FROM heartbeats WHERE role = 'ingest'")
        return [state["state"] for state in states] == ["consuming"]

    connection = await asyncpg.connect(target.database)
    try:
        async with role("ingest", tmp_path) as process:
            await until(consuming)
            yield process
    finally:
        await connection.close()
