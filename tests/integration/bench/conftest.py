"""The bench's roles are forked here: what they do is looked at, not how much memory they take.

And its files share a database server and a broker, which take longer to start than some of them to run. Each
file has databases of its own.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import pytest

import bench.stack
from app.platform.db.schema_upgrade import upgrade
from app.settings import VigieSettings
from app.standalone.private_mosquitto import PrivateMosquitto
from app.standalone.private_postgres import PrivatePostgres
from bench.process import RunningProcess, python
from tests.nursery import ForkedProcess


@asynccontextmanager
async def _python(
    module: str, *arguments: str, environment: Mapping[str, str], log: Path
) -> AsyncIterator[RunningProcess]:
    if module != "app":
        async with python(module, *arguments, environment=environment, log=log) as running:
            yield running
        return
    with log.open("ab") as sink:
        process = await ForkedProcess.start(*arguments, environment=environment, log=sink.fileno())
    forked = RunningProcess(cast("asyncio.subprocess.Process", process), log)
    try:
        yield forked
    finally:
        await forked.end()


@pytest.fixture(scope="session")
async def services() -> AsyncIterator[tuple[Path, PrivatePostgres, PrivateMosquitto]]:
    async with bench.stack.run_services() as started:
        settings = VigieSettings.model_validate({"database": {"url": started[1].url}})
        await asyncio.to_thread(upgrade, settings.database)
        yield started


@pytest.fixture
def shared_services(
    services: tuple[Path, PrivatePostgres, PrivateMosquitto], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Have `stack` find the services started, and the database migrated."""

    @asynccontextmanager
    async def run_services() -> AsyncIterator[tuple[Path, PrivatePostgres, PrivateMosquitto]]:
        yield services

    monkeypatch.setattr(bench.stack, "run_services", run_services)
    monkeypatch.setattr(bench.stack, "upgrade", lambda _: None)


@pytest.fixture(autouse=True)
def _forked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench.stack, "python", _python)
