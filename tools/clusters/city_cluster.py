"""Runs the whole of Vigie on three machines behind haproxy: network namespaces of this one. As root.

    async with CityCluster(folder) as cluster:
        await cluster.component("machine1", "mosquitto").kill()
        await cluster.cut_off(cluster.machines[1])

A machine has etcd, Patroni with PostgreSQL, NATS, Mosquitto, and one process of each role of Vigie.
"""

import asyncio
import os
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

import asyncpg

from app.platform.db.database import DATABASE_ERRORS
from app.platform.db.primary_connection import PrimaryConnector, split_hosts
from app.standalone import postgres_setup
from app.standalone.child_process import read_log_tail
from app.standalone.private_postgres import DATABASE, LOGINS, OWNER, SUPERUSER
from tools.clusters.city_components import NODES, ROLES, Component, Machine
from tools.clusters.city_states import CityStates
from tools.clusters.cluster_nodes import ClusterError
from tools.clusters.haproxy_config import make_haproxy
from tools.clusters.machine_processes import (
    API_PORT,
    HTTPS_PORT,
    MQTT_PORT,
    MQTTS_PORT,
    CitySecrets,
    MachineBuilder,
)
from tools.clusters.network_namespaces import NamespaceNetwork

PACKAGES: Final = (
    *("patroni", "etcd-server", "python3-etcd", "python3-dnspython", "haproxy", "nats-server"),
    *("mosquitto", "iproute2"),
)
"""The Debian packages of a cluster, beside those of `make install`."""

MACHINES: Final = 3
_START_S: Final = 180.0
_LOG_S: Final = 20.0
_PROBE_S: Final = 0.5
_STOP_S: Final = 20.0
# Patroni stops PostgreSQL, and needs etcd for it. Vigie's processes first, as they use all the others.
_STOP_ORDER: Final = (ROLES, ("mosquitto", "nats"), ("patroni",), ("etcd",))


class CityCluster:
    """Three machines behind haproxy.

    Args:
        folder: Their files. The accounts of the services must reach it.
        http: Further addresses of haproxy for HTTP, as `host:port`, beside that on the bridge.
        mqtt: Further addresses of haproxy for MQTT.
        partitions: Partitions of the message log.
        settings: Further settings of Vigie's processes, as environment variables.
        say: Prints a line for each step.
    """

    def __init__(
        self,
        folder: Path,
        *,
        http: tuple[str, ...] = (),
        mqtt: tuple[str, ...] = (),
        partitions: int = 6,
        settings: Mapping[str, str] | None = None,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.folder = folder
        self.partitions = partitions
        self.network = NamespaceNetwork(MACHINES)
        self.secrets = CitySecrets()
        self.machines = [
            Machine(f"machine{number}", place, folder / f"machine{number}")
            for number, place in enumerate(self.network.places, 1)
        ]
        self.builder = MachineBuilder(
            folder,
            self.machines,
            self.network.network,
            self.network.address,
            self.secrets,
            partitions,
            settings or {},
        )
        own = self.network.address
        self.haproxy = make_haproxy(
            folder / "haproxy",
            self.machines,
            http=(f"{own}:{API_PORT}", *http),
            https=(f"{own}:{HTTPS_PORT}",),
            mqtt=(f"{own}:{MQTT_PORT}", *mqtt),
            mqtts=(f"{own}:{MQTTS_PORT}",),
            certificate=self.builder.certificate_file,
        )
        self.states = CityStates(self.machines, self.builder, self.haproxy.folder)
        self._say = say

    @property
    def api(self) -> str:
        """The address of the API, through haproxy."""
        return f"http://{self.network.address}:{API_PORT}"

    @property
    def mqtt_host(self) -> str:
        """The host of the brokers, through haproxy; their port is 1883, with TLS 8883."""
        return self.network.address

    @property
    def superuser_url(self) -> str:
        """The address of the database for the superuser. It names all hosts."""
        return self.builder.database_url(SUPERUSER)

    def component(self, machine: str, name: str) -> Component:
        """Return a program of a machine."""
        return self.find_machine(machine).components[name]

    def find_machine(self, name: str) -> Machine:
        """Return the machine of a name."""
        return next(machine for machine in self.machines if machine.name == name)

    async def __aenter__(self) -> Self:
        """Start everything.

        Raises:
            ClusterError: A part does not start; the message has the end of its log.
        """
        try:
            await self._start()
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop everything, and remove the network."""
        await self.stop()

    async def _start(self) -> None:
        began = time.monotonic()
        await self.network.__aenter__()
        for machine in self.machines:
            self.builder.add_components(machine)
        await asyncio.gather(*(machine.start(NODES) for machine in self.machines))
        await self.wait_for("three databases, one of them the primary", self.states.are_databases_ready)
        await self._wait_for_log()
        self._say(f"etcd, PostgreSQL, NATS, Mosquitto: {time.monotonic() - began:.0f} s")
        await self._make_database()
        await self.migrate()
        self._say(f"database: {time.monotonic() - began:.0f} s")
        await asyncio.gather(*(machine.start(ROLES) for machine in self.machines))
        await self.haproxy.start()
        await self.wait_until_ready()
        self._say(f"Vigie's processes: {time.monotonic() - began:.0f} s")

    async def _wait_for_log(self) -> None:
        """Wait until all nodes of NATS have found a leader; restart one that does not, as an operator would.

        Seen once: all three had started within 0.1 s, had their routes, and one never learned of the leader.
        """

        async def is_healthy() -> bool:
            return not await self.states.list_unhealthy_log_nodes()

        try:
            await self.wait_for("healthy nodes of the log", is_healthy, _LOG_S)
        except ClusterError:
            for machine in await self.states.list_unhealthy_log_nodes():
                self._say(f"NATS of {machine.name} has found no leader after {_LOG_S:g} s: it is restarted")
                await machine.components["nats"].stop()
                await machine.components["nats"].start()
            await self.wait_for("healthy nodes of the log", is_healthy)

    async def wait_until_ready(self, timeout_s: float = _START_S) -> None:
        """Wait until all machines work, and haproxy sends to all of them.

        Raises:
            ClusterError: They do not within `timeout_s`.
        """
        await self.wait_for("three machines that work", self.states.are_all_ready, timeout_s)

    async def wait_for(
        self, subject: str, is_ready: Callable[[], Awaitable[bool]], timeout_s: float = _START_S
    ) -> None:
        """Wait until a check returns true.

        Raises:
            ClusterError: It does not within `timeout_s`; the message has the states and the ends of logs.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while True:
                    with suppress(OSError, ValueError, *DATABASE_ERRORS):
                        if await is_ready():
                            return
                    await asyncio.sleep(_PROBE_S)
        raise ClusterError(f"{subject}: not within {timeout_s:g} s\n{await self._describe_failure()}")

    async def _describe_failure(self) -> str:
        lines = await self.states.describe()
        for machine in self.machines:
            for name in (*NODES, *ROLES):
                component = machine.components.get(name)
                if component is not None and not component.is_running:
                    lines.append(f"{machine.name} {name} does not run: {read_log_tail(component.log)}")  # type: ignore[attr-defined]
        return "\n".join(lines)

    async def _make_database(self) -> None:
        secrets = self.secrets.database
        host = await self.states.find_primary()
        admin = next(
            url for url in split_hosts(self.builder.database_url(SUPERUSER, "postgres")) if f"@{host}:" in url
        )
        inside = next(url for url in split_hosts(self.superuser_url) if f"@{host}:" in url)
        logins = {login: secrets[login] for login in LOGINS}
        await postgres_setup.make_database(admin, DATABASE, OWNER, secrets[OWNER], logins)
        await postgres_setup.make_extension(admin, inside, self.folder / "timescaledb")

    async def migrate(self) -> None:
        """Run `vigie migrate` of the version that `builder.python` has.

        Raises:
            ClusterError: It failed; the message has the end of its log.
        """
        migration = self.builder.make_role(self.machines[0], "migrate")
        await migration.start()
        if migration.process is None or await migration.process.wait():
            raise ClusterError(f"the migrations failed: {read_log_tail(migration.log)}")

    async def kill_machine(self, machine: Machine) -> None:
        """Kill all processes of a machine (SIGKILL), as a power cut would."""
        await self._send(machine, signal.SIGKILL)
        for component in machine.components.values():
            await component.kill()

    async def start_machine(self, machine: Machine) -> None:
        """Start all programs of a machine that do not run."""
        await machine.start()

    async def suspend_machine(self, machine: Machine) -> None:
        """Suspend all processes of a machine (SIGSTOP)."""
        await self._send(machine, signal.SIGSTOP)

    async def resume_machine(self, machine: Machine) -> None:
        """Let all processes of a machine continue."""
        await self._send(machine, signal.SIGCONT)

    async def cut_off(self, machine: Machine) -> None:
        """Cut a machine off from the others and from haproxy. Its processes go on."""
        await self.network.disconnect(machine.place)

    async def rejoin(self, machine: Machine) -> None:
        """Connect a machine again that was cut off."""
        await self.network.connect(machine.place)

    async def _send(self, machine: Machine, number: signal.Signals) -> None:
        for pid in await self.network.list_pids(machine.place):
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    async def read_value(self, query: str, *arguments: object) -> object:
        """Read one value of the database, as the superuser."""
        connection = await PrimaryConnector(self.superuser_url).connect()
        try:
            return await connection.fetchval(query, *arguments)
        finally:
            await connection.close()

    async def read_rows(self, query: str, *arguments: object) -> list[asyncpg.Record]:
        """Read rows of the database, as the superuser."""
        connection = await PrimaryConnector(self.superuser_url).connect()
        try:
            return list(await connection.fetch(query, *arguments))
        finally:
            await connection.close()

    async def stop(self) -> None:
        """Stop everything, and remove the network. What does not stop in good order is killed."""
        await self.states.close()
        await self.haproxy.stop()
        for machine in self.machines:
            with suppress(ClusterError):
                await self.rejoin(machine)
            await self.resume_machine(machine)
        with suppress(TimeoutError):
            async with asyncio.timeout(_STOP_S):
                for names in _STOP_ORDER:
                    await asyncio.gather(
                        *(
                            machine.components[name].stop()
                            for machine in self.machines
                            for name in names
                            if name in machine.components
                        )
                    )
        for machine in self.machines:
            await self.kill_machine(machine)
        await self.network.__aexit__()


def is_answering(url: str) -> bool:
    """Return whether a GET request is answered with 200."""
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310  # an address of the cluster
            return bool(answer.status == 200)  # noqa: PLR2004
    except (urllib.error.URLError, OSError):
        return False
