"""Runs a streaming standby of the benchmark's PostgreSQL, for which commits wait or do not wait."""

import asyncio
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import asyncpg

from app.standalone.child_process import ChildProcess, StopStep
from app.standalone.private_postgres import PrivatePostgres, find_postgres_binaries
from app.standalone.service_directories import make_folder
from app.standalone.unprivileged_accounts import build_run_as_command, find_service_account
from bench.process import FailedError
from bench.stack import free_port

NAME: Final = "bench_standby"
_STOP: Final = (StopStep(signal.SIGINT, 8.0), StopStep(signal.SIGQUIT, 2.0))
_WITHIN_S: Final = 60.0
_ENVIRONMENT: Final = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}


@asynccontextmanager
async def run_standby(primary: PrivatePostgres) -> AsyncIterator[tuple[int, int]]:
    """Run a standby that streams, and that nobody waits for; yields its port and its process.

    Raises:
        FailedError: It does not stream within a minute.
    """
    binaries = find_postgres_binaries()
    if binaries is None:
        raise FailedError("PostgreSQL 17 is missing.")
    account = find_service_account("postgres")
    folder = make_folder(primary.data.parent / "standby", 0o700, account)
    rules = primary.data.parent / "pg_hba.conf"
    former = rules.read_text(encoding="utf-8")
    rules.write_text(f"{former}\nhost replication all 127.0.0.1/32 scram-sha-256\n", encoding="utf-8")
    server = await asyncpg.connect(primary.superuser_url)
    await server.execute("SELECT pg_reload_conf()")
    process: ChildProcess | None = None
    try:
        copy = build_run_as_command(
            account,
            [
                str(binaries / "pg_basebackup"),
                *("--pgdata", str(folder), "--dbname", primary.superuser_url, "--checkpoint", "fast"),
                *("--write-recovery-conf", "--wal-method", "stream"),
            ],
        )
        made = await asyncio.create_subprocess_exec(
            *copy, env=_ENVIRONMENT, stderr=asyncio.subprocess.PIPE, cwd="/"
        )
        _, errors = await made.communicate()
        if made.returncode:
            raise FailedError(f"pg_basebackup: {errors.decode()}")
        port = free_port()
        process = await ChildProcess.start(
            build_run_as_command(account, _words(binaries, folder, rules, port), death_signal="QUIT"),
            environment=_ENVIRONMENT,
            log=primary.data.parent / "standby.log",
            folder=primary.data.parent,
        )
        await _until_streaming(server)
        yield port, process.pid
    finally:
        await wait_for_standby(primary, wait=False)
        if process is not None:
            await process.stop(_STOP)
        rules.write_text(former, encoding="utf-8")
        await server.execute("SELECT pg_reload_conf()")
        await server.close()
        shutil.rmtree(folder, ignore_errors=True)


def _words(binaries: Path, folder: Path, rules: Path, port: int) -> list[str]:
    return [
        *(str(binaries / "postgres"), "-D", str(folder), "-c", f"port={port}"),
        *("-c", f"config_file={folder.parent / 'postgresql.conf'}", "-c", f"hba_file={rules}"),
        *("-c", f"data_directory={folder}", "-c", f"cluster_name={NAME}"),
        *("-c", "hot_standby=on", "-c", "unix_socket_directories="),
    ]


async def _until_streaming(server: asyncpg.Connection) -> None:
    streaming = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'"
    try:
        async with asyncio.timeout(_WITHIN_S):
            while not await server.fetchval(streaming):  # noqa: ASYNC110 (the server's word)
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise FailedError(f"The standby does not stream within {_WITHIN_S:.0f} s.") from None


async def wait_for_standby(primary: PrivatePostgres, *, wait: bool) -> None:
    """Let commits wait for the standby's disk, or not."""
    server = await asyncpg.connect(primary.superuser_url)
    try:
        names = "*" if wait else ""
        await server.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{names}'")
        await server.execute("SELECT pg_reload_conf()")
    finally:
        await server.close()
