"""A primary of PostgreSQL with a streaming standby, for tests."""

import asyncio
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from app.platform.db.schema_upgrade import upgrade
from app.settings import VigieSettings
from app.standalone.free_ports import find_free_port
from app.standalone.private_postgres import PrivatePostgres, find_postgres_binaries
from app.standalone.unprivileged_accounts import build_run_as_command, find_service_account

STANDBY = "db-b"
_REPLICATING = {
    "wal_level": "'replica'",
    "max_wal_senders": "4",
    "hot_standby": "on",
    # As in operation: a commit is in the WAL of the standby soon.
    "synchronous_commit": "on",
}


@dataclass(frozen=True)
class ReplicatedPostgres:
    """A primary with one standby, which is not synchronous at first.

    Attributes:
        primary: The primary.
        standby_port: The port of the standby.
        standby_pid: Its process.
    """

    primary: PrivatePostgres
    standby_port: int
    standby_pid: int

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


@asynccontextmanager
async def run_replicated(
    folder: Path, standby_options: Sequence[str] = ()
) -> AsyncIterator[ReplicatedPostgres]:
    """Run a primary with the schema, and a standby of it with further options."""
    async with PrivatePostgres(folder, durable=False, archive=_REPLICATING) as primary:
        settings = VigieSettings.model_validate({"database": {"url": primary.url}})
        await asyncio.to_thread(upgrade, settings.database)
        async with run_standby(primary, standby_options) as (port, pid):
            yield ReplicatedPostgres(primary, port, pid)


@asynccontextmanager
async def run_standby(
    primary: PrivatePostgres, options: Sequence[str] = (), *, name: str = STANDBY
) -> AsyncIterator[tuple[int, int]]:
    """Copy a primary and let the copy follow it; yields its port and its process."""
    programs = find_postgres_binaries()
    account = find_service_account("postgres")
    assert programs is not None
    place = Path(tempfile.mkdtemp(prefix="standby-"))
    if account is not None:
        os.chown(place, account.uid, account.gid)
    rules, config = primary.data.with_name("pg_hba.conf"), primary.data.with_name("postgresql.conf")
    allowed = "host replication all 127.0.0.1/32 scram-sha-256\n"
    if allowed not in rules.read_text():
        rules.write_text(rules.read_text() + allowed)
    connection = await asyncpg.connect(primary.superuser_url)
    await connection.execute("SELECT pg_reload_conf()")
    await connection.close()
    source = f"{primary.superuser_url}?application_name={name}"
    copy = [str(programs / "pg_basebackup"), "-D", f"{place}/data", "-d", source, "-R", "--checkpoint=fast"]
    done = await asyncio.create_subprocess_exec(*build_run_as_command(account, copy, death_signal="KILL"))
    assert await done.wait() == 0
    port = find_free_port()
    serve = [str(programs / "postgres"), "-D", f"{place}/data", "-c", f"config_file={config}"]
    serve += ["-c", f"hba_file={rules}", "-c", f"port={port}", *options]
    server = await asyncio.create_subprocess_exec(
        *build_run_as_command(account, serve, death_signal="INT"), stderr=asyncio.subprocess.DEVNULL
    )
    try:
        await _until_answering(primary.superuser_url.replace(f":{primary.port}/", f":{port}/"))
        yield port, server.pid
    finally:
        with suppress(ProcessLookupError):
            server.terminate()
        with suppress(TimeoutError):
            async with asyncio.timeout(10):
                await server.wait()
        shutil.rmtree(place, ignore_errors=True)


async def _until_answering(url: str) -> None:
    async with asyncio.timeout(60):
        while True:
            with suppress(OSError, asyncpg.PostgresError):
                await (await asyncpg.connect(url, timeout=5)).close()
                return
            await asyncio.sleep(0.1)
