"""Edges and a log on real servers, and a database with a standby."""

import asyncio
import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest

from app.platform.db.schema_upgrade import upgrade
from app.settings import VigieSettings
from app.standalone.free_ports import find_free_port
from app.standalone.private_postgres import PrivatePostgres, find_postgres_binaries
from app.standalone.unprivileged_accounts import build_run_as_command, find_service_account
from tests.integration.edge.conftest import (  # noqa: F401 (fixtures)
    brokers,
    cluster,
    machines,
    nats_nodes,
)

STANDBY = "db-b"
_REPLICATING = {"wal_level": "'replica'", "max_wal_senders": "4", "hot_standby": "on"}


@dataclass(frozen=True)
class ReplicatedPostgres:
    """A primary with one standby, which is not synchronous at first.

    Attributes:
        primary: The primary.
        standby_port: The port of the standby.
    """

    primary: PrivatePostgres
    standby_port: int

    def url_of(self, login: str | None = None) -> str:
        """The address of both hosts for the owner, or for the login of a process."""
        url = self.primary.url if login is None else self.primary.url_of(login)
        port = self.primary.port
        return url.replace(f":{port}/", f":{port},127.0.0.1:{self.standby_port}/")

    async def execute(self, *statements: str) -> None:
        """Execute statements as the superuser of the primary."""
        for statement in statements:
            await self.fetch_at(self.primary.superuser_url, statement)

    @property
    def standby_url(self) -> str:
        """The address of the standby for the superuser."""
        return self.primary.superuser_url.replace(f":{self.primary.port}/", f":{self.standby_port}/")

    @staticmethod
    async def fetch_at(url: str, statement: str) -> object:
        """Fetch one value from a host."""
        connection = await asyncpg.connect(url)
        try:
            return await connection.fetchval(statement)
        finally:
            await connection.close()


@pytest.fixture(scope="module")
async def replicated(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ReplicatedPostgres]:
    folder = tmp_path_factory.mktemp("replicated")
    async with PrivatePostgres(folder, durable=False, archive=_REPLICATING) as primary:
        settings = VigieSettings.model_validate({"database": {"url": primary.url}})
        await asyncio.to_thread(upgrade, settings.database)
        async with _standby(primary) as port:
            yield ReplicatedPostgres(primary, port)


@asynccontextmanager
async def _standby(primary: PrivatePostgres) -> AsyncIterator[int]:
    """Copy a primary and let the copy follow it, under the name of `STANDBY`."""
    programs = find_postgres_binaries()
    account = find_service_account("postgres")
    assert programs is not None
    place = Path(tempfile.mkdtemp(prefix="standby-"))
    if account is not None:
        os.chown(place, account.uid, account.gid)
    rules, config = primary.data.with_name("pg_hba.conf"), primary.data.with_name("postgresql.conf")
    rules.write_text(rules.read_text() + "host replication all 127.0.0.1/32 scram-sha-256\n")
    connection = await asyncpg.connect(primary.superuser_url)
    await connection.execute("SELECT pg_reload_conf()")
    await connection.close()
    source = f"{primary.superuser_url}?application_name={STANDBY}"
    copy = [str(programs / "pg_basebackup"), "-D", f"{place}/data", "-d", source, "-R", "--checkpoint=fast"]
    done = await asyncio.create_subprocess_exec(*build_run_as_command(account, copy, death_signal="KILL"))
    assert await done.wait() == 0
    port = find_free_port()
    serve = [str(programs / "postgres"), "-D", f"{place}/data", "-c", f"config_file={config}"]
    serve += ["-c", f"hba_file={rules}", "-c", f"port={port}"]
    server = await asyncio.create_subprocess_exec(
        *build_run_as_command(account, serve, death_signal="INT"), stderr=asyncio.subprocess.DEVNULL
    )
    try:
        await _until_answering(primary.superuser_url.replace(f":{primary.port}/", f":{port}/"))
        yield port
    finally:
        with suppress(ProcessLookupError):
            server.terminate()
        with suppress(TimeoutError):
            async with asyncio.timeout(10):
                await server.wait()
        shutil.rmtree(place, ignore_errors=True)


async def _until_answering(url: str) -> None:
    async with asyncio.timeout(30):
        while True:
            with suppress(OSError, asyncpg.PostgresError):
                await (await asyncpg.connect(url, timeout=5)).close()
                return
            await asyncio.sleep(0.1)
