"""Runs a private PostgreSQL 17 with TimescaleDB in any folder, on a free loopback port.

It manages the cluster's files, configuration, accounts and process, and creates the database `vigie` with the
extension. Migrations create the tables, and the supervisor restarts the server.

    async with PrivatePostgres(folder, durable=False) as pg:
        await asyncpg.connect(pg.url)
"""

import asyncio
import json
import os
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

import asyncpg
import psutil

from app.platform.kernel.atomic_files import replace_file_text
from app.standalone import postgres_config, postgres_setup
from app.standalone.child_process import ChildProcess, StopStep, read_log_tail
from app.standalone.free_ports import LOOPBACK, find_free_port
from app.standalone.orphan_processes import stop_postgres_orphans
from app.standalone.service_directories import PrivateService, ServiceDirectory, make_folder
from app.standalone.unprivileged_accounts import (
    StandaloneError,
    SystemAccount,
    build_run_as_command,
    find_program,
    find_service_account,
)

MAJOR = 17
DATABASE = "vigie"
OWNER = "vigie"
SUPERUSER = "postgres"
LOGINS = ("vigie_api", "vigie_ingest", "vigie_deliver", "vigie_maintain")
_START_TIMEOUT_S = 120.0  # the recovery of 2 GB of write-ahead log on a slow disk
_STOP = (StopStep(signal.SIGINT, 8.0), StopStep(signal.SIGQUIT, 2.0))
_PORT_TRIES = 5


def find_postgres_binaries() -> Path | None:
    """Return the folder of PostgreSQL 17's programs; None if only another version is installed."""
    found = find_program("postgres", f"/usr/lib/postgresql/{MAJOR}/bin", f"/usr/pgsql-{MAJOR}/bin")
    if found is None:
        return None
    path = found.resolve()
    output = subprocess.run(  # noqa: S603  # no shell, and the arguments are ours
        [str(path), "--version"], check=False, capture_output=True, text=True, timeout=10
    )
    is_right_version = f"(PostgreSQL) {MAJOR}." in output.stdout
    return path.parent if is_right_version and (path.parent / "initdb").exists() else None


def build_postgres_url(port: int, user: str, password: str, database: str) -> str:
    """Build a connection string for asyncpg and SQLAlchemy.

    Args:
        port: the port on loopback.
        user: the login.
        password: its password.
        database: the database.
    """
    return f"postgresql://{user}:{password}@{LOOPBACK}:{port}/{database}"


class PrivatePostgres(PrivateService):
    """A private cluster, started and stopped as a context manager or explicitly.

    Args:
        folder: the folder of its files; created if missing, reused otherwise.
        durable: False is for tests: it disables `fsync` and similar settings, and uses a temporary folder if
            the service's account cannot reach `folder`.
        port: the port to listen on; by default the last one if it is free, else any free one.
        log: the log file; `folder/postgres.log` by default.
        environment: additional environment variables of the server.
        archive: settings by which it archives WAL for backups.
    """

    title = "PostgreSQL"
    host = LOOPBACK

    def __init__(
        self,
        folder: Path,
        *,
        durable: bool = True,
        port: int | None = None,
        log: Path | None = None,
        environment: Mapping[str, str] | None = None,
        archive: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = folder.absolute()
        self.log = (log or self.folder / "postgres.log").absolute()
        self.port = port or 0
        self._fixed_port = port
        self._durable = durable
        self._account: SystemAccount | None = find_service_account("postgres")
        self._home = ServiceDirectory(self.folder, self._account, durable=durable)
        self._environment = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", **(environment or {})}
        self._archive = archive
        self._passwords: dict[str, str] = {}
        self._bin: Path | None = None

    @property
    def url(self) -> str:
        """The address of the database `vigie` for its owner, which is not a superuser."""
        return build_postgres_url(self.port, OWNER, self._passwords[OWNER], DATABASE)

    def url_of(self, login: str) -> str:
        """Return the address of the database `vigie` for one of LOGINS."""
        return build_postgres_url(self.port, login, self._passwords[login], DATABASE)

    @property
    def superuser_url(self) -> str:
        """The address of the database `vigie` for the superuser."""
        return build_postgres_url(self.port, SUPERUSER, self._passwords[SUPERUSER], DATABASE)

    @property
    def _admin_url(self) -> str:
        """The address of a database without the extension, for the superuser."""
        return build_postgres_url(self.port, SUPERUSER, self._passwords[SUPERUSER], "postgres")

    @property
    def data(self) -> Path:
        """The cluster's data directory."""
        return self._home.path / "data"

    async def start(self) -> None:
        """Start the server, create the cluster if it is missing, and wait until the server answers.

        Raises:
            StandaloneError: a program is missing, or the server does not start; the message ends with its
                log.
        """
        self._bin = find_postgres_binaries()
        if self._bin is None:
            raise StandaloneError(f"PostgreSQL {MAJOR} is missing: apt-get install postgresql-{MAJOR}")
        home = self._home.open()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.log.parent.mkdir(parents=True, exist_ok=True)
        # The folder stays ours; only `data` belongs to the server, which therefore cannot replace our files.
        make_folder(home, 0o750, self._account, group_only=True)
        self._load_passwords(home)
        await stop_postgres_orphans(self.data)
        if not (self.data / "PG_VERSION").exists():
            await self._initialise(home)
        await self._launch(home)
        logins = {role: self._passwords[role] for role in LOGINS}
        await postgres_setup.make_database(self._admin_url, DATABASE, OWNER, self._passwords[OWNER], logins)
        await postgres_setup.make_extension(self._admin_url, self.superuser_url, home / "timescaledb")

    async def stop(self, steps: tuple[StopStep, ...] = _STOP) -> None:
        """Stop the server. Open transactions are rolled back, and committed ones are written."""
        if self.child is None:
            return
        child, self.child = self.child, None
        await child.stop(steps)
        # After a hard stop the backends end a moment later; none may outlive this call.
        await stop_postgres_orphans(self.data)

    def kill(self) -> None:
        """Kill the postmaster (SIGKILL), as a crash would; `start` recovers."""
        if self.child is not None:
            self.child.send(signal.SIGKILL)

    def close(self) -> None:
        """Remove temporary files."""
        self._home.close()

    async def create_database(self, name: str, *, template: str = DATABASE) -> str:
        """Create another database of the same owner as a copy of `template`; returns its address."""
        await postgres_setup.copy_database(self._admin_url, name, template=template, owner=OWNER)
        return build_postgres_url(self.port, OWNER, self._passwords[OWNER], name)

    def _load_passwords(self, home: Path) -> None:
        path = home / "passwords.json"
        if not path.exists():
            if (self.data / "PG_VERSION").exists():
                raise StandaloneError(f"{path} is gone: the cluster beside it cannot be opened without it")
            replace_file_text(path, "{}", mode=0o600)
        known = json.loads(path.read_text(encoding="utf-8"))
        missing = [user for user in (SUPERUSER, OWNER, *LOGINS) if user not in known]
        if missing:
            # Files of older releases have fewer passwords.
            known |= {user: secrets.token_urlsafe(24) for user in missing}
            replace_file_text(path, json.dumps(known), mode=0o600)
        self._passwords = known

    async def _initialise(self, home: Path) -> None:
        """Create the cluster under a temporary name, then rename it, so that a partial one is never used."""
        fresh = home / "data.new"
        shutil.rmtree(fresh, ignore_errors=True)
        make_folder(fresh, 0o700, self._account)
        password = fresh.with_name("password.tmp")
        replace_file_text(password, self._passwords[SUPERUSER], mode=0o600)
        if self._account is not None:
            os.chown(password, self._account.uid, self._account.gid)
        arguments = [
            *(str(self._program("initdb")), f"--pgdata={fresh}", f"--username={SUPERUSER}"),
            *("--auth=scram-sha-256", f"--pwfile={password}", "--encoding=UTF8", "--no-instructions"),
            *("--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C.UTF-8"),
            "--data-checksums" if self._durable else "--no-sync",
        ]
        try:
            await self._run(arguments, home)
        finally:
            password.unlink()
        fresh.replace(self.data)

    def _program(self, name: str) -> Path:
        if self._bin is None:
            raise StandaloneError(f"PostgreSQL {MAJOR} is missing")
        return self._bin / name

    async def _run(self, arguments: list[str], home: Path) -> None:
        child = await self._spawn(arguments, home, "KILL")
        try:
            status = await child.wait()
        except asyncio.CancelledError:
            await child.stop((StopStep(signal.SIGTERM, 2.0),))
            raise
        if status != 0:
            raise StandaloneError(f"{Path(arguments[0]).name} failed ({status}):\n{read_log_tail(self.log)}")

    async def _spawn(self, arguments: list[str], home: Path, death_signal: str) -> ChildProcess:
        return await ChildProcess.start(
            build_run_as_command(self._account, arguments, death_signal=death_signal),
            environment=self._environment,
            log=self.log,
            folder=home,
        )

    async def _launch(self, home: Path) -> None:
        memory = home / "port"
        last = int(memory.read_text()) if memory.exists() else None
        total = psutil.virtual_memory().total
        failure = ""
        for _ in range(_PORT_TRIES):
            self.port = self._fixed_port or find_free_port(last)
            last = None
            text = postgres_config.render_postgres_config(
                port=self.port, total_bytes=total, durable=self._durable, archive=self._archive
            )
            for name, content in (("postgresql.conf", text), ("pg_hba.conf", postgres_config.ACCESS_RULES)):
                replace_file_text(home / name, content, mode=0o640)
                if self._account is not None:
                    os.chown(home / name, 0, self._account.gid)
            self.child = await self._spawn(
                [
                    *(str(self._program("postgres")), "-D", str(self.data)),
                    *(
                        "-c",
                        f"config_file={home / 'postgresql.conf'}",
                        "-c",
                        f"hba_file={home / 'pg_hba.conf'}",
                    ),
                ],
                home,
                "INT",
            )
            if await self._wait_until_ready(self.child):
                replace_file_text(memory, str(self.port))
                self._fixed_port = self.port  # other processes know the port from now on
                return
            failure = read_log_tail(self.log)
            # Another program may have taken the port in the meantime.
            if "could not bind" not in failure:
                break
        self.child = None
        raise StandaloneError(f"PostgreSQL does not start:\n{failure}")

    async def _wait_until_ready(self, child: ChildProcess) -> bool:
        """Wait until a query succeeds; False if the process ended or the timeout passed."""
        deadline = time.monotonic() + _START_TIMEOUT_S
        while child.returncode is None and time.monotonic() < deadline:
            try:
                connection = await asyncpg.connect(self._admin_url, timeout=5)
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
                await asyncio.sleep(0.05)
                continue
            try:
                await connection.fetchval("SELECT 1")
            finally:
                await connection.close()
            return True
        await child.stop(_STOP)
        return False
