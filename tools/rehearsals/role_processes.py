"""Runs processes of one or two versions of Vigie side by side, on one private PostgreSQL and Mosquitto."""

import asyncio
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

import aiohttp
import asyncpg

from app.platform.db.primary_connection import PrimaryConnector
from app.platform.kernel.secret_tokens import generate_key
from app.platform.secrets.sealing import generate_encryption_key
from app.standalone.child_process import ChildProcess, StopStep, read_log_tail
from app.standalone.free_ports import find_free_port
from app.standalone.private_mosquitto import PrivateMosquitto
from app.standalone.private_postgres import LOGINS
from app.standalone.process_commands import (
    ServiceConnections,
    build_process_environment,
    build_stack_environment,
)
from app.standalone.unprivileged_accounts import build_run_as_command
from bench.publisher import BrokerAccount
from bench.stack import LIMITS, PASSWORDS, run_services
from tools.rehearsals.report import RehearsalError, run_command

ROLES: Final = ("api", "ingest", "deliver", "maintain")

_ROOT: Final = Path(__file__).parents[2]
_STOP: Final = (StopStep(signal.SIGTERM, 15.0),)
_READY_S: Final = 120.0
_MIGRATE_S: Final = 300.0
_OK: Final = 200


@dataclass(frozen=True, slots=True)
class ProgramVersion:
    """An installed version of Vigie.

    Attributes:
        name: its name in the rehearsal's output.
        python: the interpreter of its environment.
    """

    name: str
    python: Path

    def command(self, *words: str) -> list[str]:
        """Build the command line of `vigie <words>`, which ends with the rehearsal."""
        return build_run_as_command(None, [str(self.python), "-P", "-m", "app", *words], death_signal="KILL")


def this_version() -> ProgramVersion:
    """Return the version that runs the rehearsal."""
    return ProgramVersion("new", Path(sys.executable))


def install_commit(commit: str, cache: Path, name: str = "old") -> ProgramVersion:
    """Install a commit of this repository with the packages of its own `uv.lock`.

    Args:
        commit: a commit or tag.
        cache: where it is installed. A later rehearsal of the same commit finds it there.
        name: its name in the rehearsal's output.

    Raises:
        RehearsalError: git does not know the commit, or it cannot be installed.
    """
    full = run_command(["git", "-C", str(_ROOT), "rev-parse", "--verify", f"{commit}^{{commit}}"]).strip()
    folder = cache / full[:12]
    python = folder / ".venv" / "bin" / "python"
    if not (folder / "complete").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        archive = folder.with_suffix(".tar")
        run_command(["git", "-C", str(_ROOT), "archive", "--output", str(archive), full])
        run_command(["tar", "-xf", str(archive), "-C", str(folder)])
        archive.unlink()
        environment = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
        done = subprocess.run(
            ["uv", "sync", "--frozen", "--no-dev", "--quiet"],  # noqa: S607 (from the PATH, as make finds it)
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RehearsalError(f"uv sync of {commit} failed: {done.stderr[-500:]}")
        (folder / "complete").touch()
    return ProgramVersion(name, python)


class RehearsedDatabase(Protocol):
    """A database of a rehearsal: PostgreSQL on one host or on several."""

    @property
    def url(self) -> str:
        """The address for the owner of the tables."""

    @property
    def superuser_url(self) -> str:
        """The address for the superuser."""

    def url_of(self, login: str) -> str:
        """Return the address for a login of a process."""


@dataclass
class RunningRole:
    """A running process.

    Attributes:
        version: the version that it runs.
        role: one of ROLES.
        address: of an API.
    """

    version: ProgramVersion
    role: str
    child: ChildProcess
    log: Path
    address: str = ""

    @property
    def pid(self) -> int:
        """The process id."""
        return self.child.pid


@dataclass
class RehearsedServices:
    """A private database and broker, and the processes that use them.

    Attributes:
        folder: where files and logs are.
        postgres: the database.
        mosquitto: the broker.
        admin_key: the administrator's key.
        running: the processes that run.
        settings: further settings of the processes, as environment variables.
    """

    folder: Path
    postgres: RehearsedDatabase
    mosquitto: PrivateMosquitto
    admin_key: str = field(default_factory=generate_key)
    running: list[RunningRole] = field(default_factory=list)
    settings: dict[str, str] = field(default_factory=dict)

    @property
    def gateway(self) -> BrokerAccount:
        """The broker's account that may publish for every box."""
        return BrokerAccount(self.mosquitto.host, self.mosquitto.port, "gateway", PASSWORDS["gateway"])

    def _environment(self, version: ProgramVersion, role: str, port: int) -> dict[str, str]:
        metrics = self.folder / f"metrics-{version.name}"
        metrics.mkdir(exist_ok=True)
        keys = self.folder / "keys"
        if not keys.exists():
            keys.write_text(f"{generate_encryption_key()}\n", encoding="utf-8")
            keys.chmod(0o600)
        base = {name: value for name, value in os.environ.items() if not name.startswith("VIGIE_")}
        client = hashlib.sha256(self.admin_key.encode()).hexdigest()[:16]
        variables = build_stack_environment(
            marker=str(self.folder),
            metrics=metrics,
            host="127.0.0.1",
            port=port,
            admin_key=self.admin_key,
            keys_file=keys,
            roles=ROLES,
            services=ServiceConnections(
                database=self.postgres.url,
                logins={},
                broker_port=self.mosquitto.port,
                ingest_password=PASSWORDS["ingest"],
                ingest_client_id=f"vigie-ingest-{client}",
                password_file=self.mosquitto.password_file,
                static_password_file=self.mosquitto.static_password_file,
                pid_file=self.mosquitto.pid_file,
            ),
            # The receiver of the webhooks is on this machine.
            base={
                **base,
                **dict.fromkeys(LIMITS, "0"),
                "VIGIE_ALLOW_INSECURE": '["webhooks_private"]',
                **self.settings,
            },
        )
        logins = {login.removeprefix("vigie_"): self.postgres.url_of(login) for login in LOGINS}
        return build_process_environment(role, variables, logins)

    async def migrate(self, version: ProgramVersion) -> str:
        """Run `vigie migrate` of a version; returns the revision afterwards.

        Raises:
            RehearsalError: it failed.
        """
        log = self.folder / f"migrate-{version.name}.log"
        environment = self._environment(version, "migrate", 1)
        child = await ChildProcess.start(version.command("migrate"), environment=environment, log=log)
        async with asyncio.timeout(_MIGRATE_S):
            status = await child.wait()
        if status:
            raise RehearsalError(f"vigie migrate ({version.name}) exited with {status}: {read_log_tail(log)}")
        return str(await self.value("SELECT version_num FROM alembic_version"))

    async def start(self, version: ProgramVersion, role: str) -> RunningRole:
        """Start a process, and wait until it works, or stands by behind another one."""
        port = find_free_port() if role == "api" else 1
        log = self.folder / f"{role}-{version.name}.log"
        environment = self._environment(version, role, port)
        child = await ChildProcess.start(version.command(role), environment=environment, log=log)
        started = RunningRole(version, role, child, log, f"http://127.0.0.1:{port}" if role == "api" else "")
        self.running.append(started)
        await self.wait_for(f"{version.name} {role}", lambda: self._is_up(started))
        return started

    async def stop(self, process: RunningRole) -> float:
        """Stop a process by SIGTERM; returns how long it took.

        Raises:
            RehearsalError: its exit status is not 0.
        """
        began = time.monotonic()
        self.running.remove(process)
        status = await process.child.stop(_STOP)
        if status:
            raise RehearsalError(f"{process.role} ({process.version.name}) exited with {status}")
        return time.monotonic() - began

    async def _is_up(self, process: RunningRole) -> bool:
        if process.child.returncode is not None:
            raise RehearsalError(f"{process.role} ended: {read_log_tail(process.log)}")
        if process.role == "api":
            try:
                async with (
                    aiohttp.ClientSession() as session,
                    session.get(f"{process.address}/healthz") as answer,
                ):
                    return answer.status == _OK
            except aiohttp.ClientError:
                return False
        # The instance's name ends with the process id.
        query = "SELECT count(*) FROM heartbeats WHERE role = $1 AND instance LIKE $2 AND state <> 'starting'"
        return bool(await self.value(query, process.role, f"%:{process.pid}"))

    async def wait_for(
        self, what: str, ask: Callable[[], Awaitable[bool]], timeout_s: float = _READY_S
    ) -> None:
        """Wait until `ask` says yes (RehearsalError)."""
        until = time.monotonic() + timeout_s
        while not await ask():
            if time.monotonic() > until:
                raise RehearsalError(f"{what}: not within {timeout_s:g} s")
            await asyncio.sleep(0.1)

    async def value(self, query: str, *arguments: object) -> object:
        """Read one value of the database."""
        connection = await PrimaryConnector(self.postgres.superuser_url).connect()
        try:
            return await connection.fetchval(query, *arguments)
        finally:
            await connection.close()

    async def rows(self, query: str, *arguments: object) -> list[asyncpg.Record]:
        """Read rows of the database."""
        connection = await PrimaryConnector(self.postgres.superuser_url).connect()
        try:
            return list(await connection.fetch(query, *arguments))
        finally:
            await connection.close()

    @asynccontextmanager
    async def stopping_processes(self) -> AsyncIterator[None]:
        """Stop the processes that still run at the end of a block."""
        try:
            yield
        finally:
            await asyncio.gather(*(each.child.stop(_STOP) for each in self.running))

    async def is_working(self, role: str, pid: int) -> bool:
        """Return whether this process works, instead of standing by."""
        query = (
            "SELECT count(*) FROM heartbeats WHERE role = $1 AND instance LIKE $2"
            " AND state !~ '^(starting|standby|waiting)' AND at > now() - interval '5 s'"
        )
        return bool(await self.value(query, role, f"%:{pid}"))


@asynccontextmanager
async def rehearsed_services() -> AsyncIterator[RehearsedServices]:
    """Run a database and a broker in a new folder; at the end stop all, and remove the folder."""
    async with run_services() as (folder, postgres, mosquitto):
        services = RehearsedServices(folder, postgres, mosquitto)
        async with services.stopping_processes():
            yield services
