"""Runs PostgreSQL on three hosts under Patroni and etcd, all on 127.0.0.1 with ports of their own.

A host is three processes: a member of etcd, Patroni, and the PostgreSQL that Patroni starts.
"""

import asyncio
import json
import os
import shutil
import signal
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import psutil

from app.platform.db.primary_connection import split_hosts
from app.platform.kernel.atomic_files import replace_file_text
from app.server_installation.deploy_files import render_deploy_file
from app.standalone import postgres_setup
from app.standalone.child_process import ChildProcess, StopStep, read_log_tail
from app.standalone.free_ports import find_free_port
from app.standalone.postgres_config import choose_postgres_memory
from app.standalone.private_postgres import DATABASE, LOGINS, OWNER, SUPERUSER
from app.standalone.unprivileged_accounts import SystemAccount, build_run_as_command, find_service_account
from tools.rehearsals.report import RehearsalError

PACKAGES: Final = ("patroni", "etcd-server", "python3-etcd", "python3-dnspython")
"""The Debian packages of the rehearsal."""

_PROGRAMS: Final = ("etcd", "patroni")
_HOST: Final = "127.0.0.1"
_NAMES: Final = ("db1", "db2", "db3")
_STOP: Final = (StopStep(signal.SIGTERM, 20.0), StopStep(signal.SIGKILL, 5.0))
_START_S: Final = 90.0
_MIB: Final = 2**20


@dataclass
class DatabaseHost:
    """One host.

    Attributes:
        name: its name in the cluster.
        folder: its files.
        port: of PostgreSQL.
        api_port: of Patroni.
        client_port, peer_port: of etcd.
        processes: those that run, by name.
    """

    name: str
    folder: Path
    port: int = field(default_factory=find_free_port)
    api_port: int = field(default_factory=find_free_port)
    client_port: int = field(default_factory=find_free_port)
    peer_port: int = field(default_factory=find_free_port)
    processes: dict[str, ChildProcess] = field(default_factory=dict)

    @property
    def data(self) -> Path:
        """PostgreSQL's data directory."""
        return self.folder / "data"

    @property
    def patroni_conf(self) -> Path:
        """Patroni's configuration."""
        return self.folder / "patroni.yml"

    @property
    def pgbackrest_conf(self) -> Path:
        """The configuration of pgBackRest, if backups are set up."""
        return self.folder / "pgbackrest.conf"

    def list_processes(self) -> list[psutil.Process]:
        """Return all processes of the host: etcd, Patroni, PostgreSQL with its backends."""
        pids = [child.pid for child in self.processes.values()]
        with suppress(OSError, ValueError, IndexError):
            pids.append(int((self.data / "postmaster.pid").read_text(encoding="utf-8").split("\n")[0]))
        found: dict[int, psutil.Process] = {}
        for pid in pids:
            with suppress(psutil.NoSuchProcess):
                process = psutil.Process(pid)
                found |= {each.pid: each for each in (process, *process.children(recursive=True))}
        return list(found.values())

    def send(self, number: signal.Signals) -> None:
        """Send a signal to all processes of the host."""
        for process in self.list_processes():
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)


class PatroniCluster:
    """The three hosts.

    Args:
        folder: their files; PostgreSQL's account must reach it.

    Attributes:
        hosts: the hosts by name.
        rest_password: of the account `vigie` at Patroni's REST API.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.hosts = {name: DatabaseHost(name, folder / name) for name in _NAMES}
        self._account: SystemAccount | None = find_service_account("postgres")
        self.rest_password = os.urandom(12).hex()
        self._passwords = {name: os.urandom(12).hex() for name in (SUPERUSER, "replicator", OWNER, *LOGINS)}

    def _url(self, login: str, database: str = DATABASE) -> str:
        hosts = ",".join(f"{_HOST}:{host.port}" for host in self.hosts.values())
        return f"postgresql://{login}:{self._passwords[login]}@{hosts}/{database}"

    @property
    def url(self) -> str:
        """The address of the database for its owner. It names all hosts."""
        return self._url(OWNER)

    @property
    def superuser_url(self) -> str:
        """The address of the database for the superuser."""
        return self._url(SUPERUSER)

    def url_of(self, login: str) -> str:
        """Return the address of the database for one of LOGINS."""
        return self._url(login)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the hosts for the length of a block, with a database that has roles and the extension."""
        try:
            for host in self.hosts.values():
                self._write_files(host)
            await asyncio.gather(*(self.start(host) for host in self.hosts.values()))
            await self.wait_for_members(primary=1, standbys=2)
            await self._make_database()
            yield
        finally:
            for host in self.hosts.values():
                host.send(signal.SIGCONT)
            await asyncio.gather(*(self.stop(host) for host in self.hosts.values()))

    def _write_files(self, host: DatabaseHost) -> None:
        host.folder.mkdir(parents=True)
        memory = choose_postgres_memory(512 * _MIB)
        conf = render_deploy_file(
            "server/postgresql/vigie.conf",
            total_mib=512,
            shared_buffers=memory.shared_buffers,
            effective_cache_size=memory.effective_cache_size,
            maintenance_work_mem=memory.maintenance_work_mem,
            work_mem=memory.work_mem,
        )
        replace_file_text(host.folder / "vigie.conf", conf)
        script = host.folder / "archive-missing-wal.sh"
        replace_file_text(script, render_deploy_file("ha/archive-missing-wal.sh"))
        patroni = render_deploy_file(
            "ha/patroni.yml",
            name=host.name,
            host=_HOST,
            api_port=host.api_port,
            etcd=",".join(f"{_HOST}:{each.client_port}" for each in self.hosts.values()),
            port=host.port,
            data=host.data,
            conf=host.folder / "vigie.conf",
            sockets=host.folder,
            network="127.0.0.1/32",
            archive_script=script,
            pgbackrest_conf=host.pgbackrest_conf,
        )
        replace_file_text(host.patroni_conf, patroni)
        if self._account is not None:
            for path in (host.folder, *host.folder.iterdir()):
                os.chown(path, self._account.uid, self._account.gid)

    async def start(self, host: DatabaseHost, names: Sequence[str] = _PROGRAMS) -> None:
        """Start a host's processes."""
        members = ",".join(f"{each.name}=http://{_HOST}:{each.peer_port}" for each in self.hosts.values())
        client, peer = (f"http://{_HOST}:{port}" for port in (host.client_port, host.peer_port))
        etcd = [
            *("etcd", "--name", host.name, "--data-dir", str(host.folder / "etcd"), "--log-level", "warn"),
            "--enable-v2",
            *("--listen-client-urls", client, "--advertise-client-urls", client),
            *("--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer),
            *("--initial-cluster", members, "--initial-cluster-token", "vigie"),
        ]
        for name, words in (("etcd", etcd), ("patroni", ["patroni", str(host.patroni_conf)])):
            if name not in names:
                continue
            host.processes[name] = await ChildProcess.start(
                build_run_as_command(self._account, [_find(words[0]), *words[1:]]),
                environment={
                    "PATH": "/usr/bin:/bin",
                    # `archive_command` is the same on all hosts, and names files of this one.
                    "HOME": str(host.folder),
                    "LC_ALL": "C.UTF-8",
                    "PATRONI_SUPERUSER_PASSWORD": self._passwords[SUPERUSER],
                    "PATRONI_REPLICATION_PASSWORD": self._passwords["replicator"],
                    "PATRONI_RESTAPI_USERNAME": "vigie",
                    "PATRONI_RESTAPI_PASSWORD": self.rest_password,
                },
                log=host.folder / f"{name}.log",
                folder=host.folder,
            )

    async def stop(self, host: DatabaseHost, names: Sequence[str] = _PROGRAMS) -> None:
        """Stop a host's processes: Patroni stops its PostgreSQL."""
        for name in reversed(_PROGRAMS):
            if name in names and (child := host.processes.pop(name, None)):
                await child.stop(_STOP)
        if names == _PROGRAMS:
            host.send(signal.SIGKILL)

    def kill(self, host: DatabaseHost) -> None:
        """Kill all processes of a host (SIGKILL), as a power cut would."""
        host.send(signal.SIGKILL)
        host.processes.clear()

    async def read_members(self) -> dict[str, dict[str, Any]]:
        """Return what Patroni says of the members, by name; empty if no Patroni answers."""
        for host in self.hosts.values():
            with suppress(OSError, urllib.error.URLError, ValueError):
                url = f"http://{_HOST}:{host.api_port}/cluster"
                text = await asyncio.to_thread(_fetch, url)
                return {each["name"]: each for each in json.loads(text)["members"]}
        return {}

    async def find_host(self, role: str) -> DatabaseHost:
        """Return the host of a role of Patroni (RehearsalError)."""
        for name, member in (await self.read_members()).items():
            if member["role"] == role:
                return self.hosts[name]
        raise RehearsalError(f"no host is the {role}")

    async def find_primary(self) -> DatabaseHost | None:
        """Return the host of the primary; None if there is none now."""
        for name, member in (await self.read_members()).items():
            if member["role"] == "leader" and member["state"] == "running":
                return self.hosts[name]
        return None

    async def move_etcd_leader(self, host: DatabaseHost) -> None:
        """Make a host's member the leader of etcd."""
        members, leader = dict[str, str](), ""
        for each in self.hosts.values():
            status = await asyncio.to_thread(_ask_etcd, each, "status", {})
            members[each.name], leader = status["header"]["member_id"], status["leader"]
        if members[host.name] != leader:
            former = next(each for each in self.hosts.values() if members[each.name] == leader)
            target = {"targetID": members[host.name]}
            await asyncio.to_thread(_ask_etcd, former, "transfer-leadership", target)

    async def wait_for_members(self, *, primary: int, standbys: int) -> None:
        """Wait until so many run, one of the standbys in step with the primary.

        Raises:
            RehearsalError: They do not; the message has the end of Patroni's logs.
        """
        members: dict[str, dict[str, Any]] = {}
        with suppress(TimeoutError):
            async with asyncio.timeout(_START_S):
                while True:
                    members = await self.read_members()
                    roles = [(each["role"], each["state"]) for each in members.values()]
                    followers = roles.count(("replica", "streaming")) + roles.count(
                        ("sync_standby", "streaming")
                    )
                    if (
                        roles.count(("leader", "running")) == primary
                        and followers >= standbys
                        and ("sync_standby", "streaming") in roles
                    ):
                        return
                    await asyncio.sleep(0.2)
        logs = "\n".join(read_log_tail(host.folder / "patroni.log") for host in self.hosts.values())
        raise RehearsalError(f"the hosts are not as they should be: {members}\n{logs}")

    async def _make_database(self) -> None:
        primary = await self.find_primary()
        if primary is None:
            raise RehearsalError("there is no primary")
        logins = {role: self._passwords[role] for role in LOGINS}
        here = f"@{_HOST}:{primary.port}/"
        admin = next(url for url in split_hosts(self._url(SUPERUSER, "postgres")) if here in url)
        await postgres_setup.make_database(admin, DATABASE, OWNER, self._passwords[OWNER], logins)
        inside = next(url for url in split_hosts(self.superuser_url) if here in url)
        await postgres_setup.make_extension(admin, inside, self.folder / "timescaledb")


def _find(program: str) -> str:
    found = shutil.which(program)
    if found is None:
        raise RehearsalError(f"`{program}` is missing")
    return found


def _fetch(url: str) -> str:
    with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310 (an address of this rehearsal)
        return str(answer.read().decode())


def _ask_etcd(host: DatabaseHost, name: str, body: dict[str, str]) -> dict[str, Any]:
    url = f"http://{_HOST}:{host.client_port}/v3/maintenance/{name}"
    request = urllib.request.Request(url, json.dumps(body).encode(), method="POST")
    with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310 (as above)
        return dict(json.loads(answer.read()))
