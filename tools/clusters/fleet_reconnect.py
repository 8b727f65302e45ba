"""Lets half of a fleet of boxes reconnect at once, as their machine dies: `make rehearse-fleet`, as root.

Each box has its own account, and connects with TLS through haproxy, which passes it on to the brokers of two
of three machines. One of the two loses its network and dies. Then every box must be connected again, have its
retained configuration, and get the `ack` message of a further sample. A box that the API revokes must be cut
off on every edge within two seconds. At the end the machine comes back with an empty broker.

    python -m tools.clusters.fleet_reconnect --boxes 2000
"""

import asyncio
import os
import resource
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from math import ceil
from shutil import rmtree
from typing import Annotated, Final

import typer

from bench.fleet_box import FIRST_WAIT_S, LONGEST_WAIT_S
from bench.fleet_clients import FleetClients, register_fleet, run_fleet_clients
from bench.load import box_id
from bench.measure import cpu_seconds, rss
from bench.process import FailedError
from bench.publisher import BrokerAccount
from bench.stack import LIMITS
from simulators.rest_client import ApiClient
from tools.clusters.city_cluster import PACKAGES, CityCluster
from tools.clusters.city_components import Machine, ProgramComponent
from tools.clusters.cluster_command import cancel_on_signals, say
from tools.clusters.cluster_folder import note_network, open_cluster_folder
from tools.clusters.cluster_nodes import ClusterError
from tools.clusters.edge_probes import measure_stale_access, wait_for_configurations, watch_account
from tools.clusters.fleet_returns import Returns, find_quantiles
from tools.clusters.haproxy_config import count_connections, make_haproxy, read_servers
from tools.clusters.machine_processes import MQTT_PORT
from tools.rehearsals.report import RehearsalError, RehearsalReport, install_packages

_EDGES: Final = 2
_PERIOD_S: Final = 60.0
_PROBE_S: Final = 20.0
_SITE: Final = {
    "name": "Fleet",
    "kind": "street",
    "timezone": "Europe/Paris",
    "location": {"type": "Point", "coordinates": [1.44, 43.6]},
}
_PER_OPERATION: Final = 5_000
_STEADY_S: Final = 20.0
_WITHIN_S: Final = 180.0
_REVOKED_WITHIN_S: Final = 2.0
_WAIT_FOR_END_S: Final = 15.0
_SETTLE_S: Final = 60.0
_SAMPLE_EVERY_S: Final = 0.1
_RESERVED_FILES: Final = 200
_MOST_BOXES: Final = 20_000
# Boxes whose access ends in the rehearsal. They are not in the fleet.
_REVOKED: Final = 3


class FleetRehearsal:
    """Runs the steps.

    Args:
        cluster: The cluster.
        machines: Those whose brokers have boxes; the first one dies.
        report: Prints the steps.
        api: A client with a key of the organisation.
        boxes: How many.
        connect_over_s: The time over which they first connect.
    """

    def __init__(
        self,
        cluster: CityCluster,
        machines: Sequence[Machine],
        report: RehearsalReport,
        api: ApiClient,
        boxes: int,
        *,
        connect_over_s: float,
    ) -> None:
        self._cluster = cluster
        self._machines = machines
        self._report = report
        self._api = api
        self._boxes = boxes
        self._connect_over_s = connect_over_s
        self._revoked: list[tuple[str, str]] = []

    async def run(self) -> None:
        """Run all steps.

        Raises:
            RehearsalError: One failed.
        """
        with self._report.step("accounts of the boxes") as note:
            site = str((await self._api.post("/v1/sites", _SITE))["id"])
            registered = await register_fleet(self._api, self._boxes + _REVOKED, [site], _PERIOD_S)
            note(f"{len(registered):,}")
            self._revoked = [(box_id(index), password) for index, password in registered[self._boxes :]]
        await self._configure(self._cluster.machines)
        async with self._proxies() as ports, self._fleet(registered[: self._boxes], ports) as fleet:
            await self._connect(fleet)
            await self._lose_machine(fleet)
            await self._check_acks(fleet)
            await self._revoke(0, self._list_others())
            await self._return_machine()
            await self._revoke(2, self._cluster.machines)

    def _fail(self, note: Callable[[str], None], problem: str) -> None:
        """Note that an expectation is not met. The rehearsal goes on, and fails at the end."""
        note(f"FAILED: {problem}")
        self._report.failures.append(problem)

    async def _configure(self, machines: Sequence[Machine]) -> None:
        with self._report.step("a configuration of each box, retained on every edge") as note:
            began = time.monotonic()
            ids = [box_id(index) for index in range(self._boxes)]
            for begin in range(0, len(ids), _PER_OPERATION):
                operation = {"type": "configure", "config": {"interval_s": round(_PERIOD_S)}}
                body = {"ids": ids[begin : begin + _PER_OPERATION], "operation": operation}
                await self._api.post("/v1/boxes/bulk/operations", body)
            note(f"answers of the API after {time.monotonic() - began:.1f} s")
            await asyncio.gather(*(self._wait_for_configurations(each) for each in machines))
            note(f"on every edge after {time.monotonic() - began:.1f} s")

    async def _wait_for_configurations(self, machine: Machine) -> None:
        gateway = BrokerAccount(machine.host, MQTT_PORT, "gateway", self._cluster.secrets.brokers["gateway"])
        await wait_for_configurations(gateway, self._boxes, _WITHIN_S)

    @asynccontextmanager
    async def _proxies(self) -> AsyncIterator[list[int]]:
        """Run as many haproxies as the limit of open files makes necessary; yields their ports."""
        own = self._cluster.network.address
        count = ceil(self._boxes / (count_connections() - _RESERVED_FILES))
        proxies = [
            make_haproxy(
                self._cluster.folder / f"haproxy{number}",
                self._machines,
                http=[f"{own}:{18_000 + number}"],
                https=[f"{own}:{18_443 + number}"],
                mqtt=[f"{own}:{11_883 + number}"],
                mqtts=[f"{own}:{18_883 + number}"],
                certificate=self._cluster.builder.certificate_file,
            )
            for number in range(count)
        ]
        try:
            for proxy in proxies:
                await proxy.start()
            await self._cluster.wait_for("haproxy", lambda: _are_up(proxies))
            yield [18_883 + number for number in range(count)]
        finally:
            for proxy in proxies:
                await proxy.stop()

    @asynccontextmanager
    async def _fleet(
        self, boxes: Sequence[tuple[int, str]], ports: Sequence[int]
    ) -> AsyncIterator[FleetClients]:
        more = {
            "ports": ports,
            "authority": str(self._cluster.builder.authority_file),
            "behaviour": {"has_configuration": True},
        }
        folder, address = self._cluster.folder, (self._cluster.network.address, ports[0])
        async with run_fleet_clients(folder, address, os.environ, boxes, _PERIOD_S, more=more) as fleet:
            await fleet.until(fleet.begun, _WITHIN_S, "they must begin")
            yield fleet

    async def _connect(self, fleet: FleetClients) -> None:
        when = f"within {self._connect_over_s:.0f} s" if self._connect_over_s else "at once"
        with self._report.step(f"{self._boxes:,} boxes connect {when}") as note:
            began = time.monotonic()
            await fleet.tell(f"go {self._connect_over_s}")
            await fleet.until(
                lambda: fleet.total("connected") == self._boxes,
                self._connect_over_s + _WITHIN_S,
                "all must be connected",
            )
            failed = fleet.total("attempts") - self._boxes
            note(f"after {time.monotonic() - began:.1f} s, {failed} failed attempts")
        with self._report.step(f"each sends a sample in {_PERIOD_S:.0f} s") as note:
            await fleet.tell("send")
            await asyncio.sleep(_STEADY_S)
            note(f"{fleet.total('made'):,} made, {fleet.total('named'):,} acknowledged")
            self._note_memory(note)

    async def _lose_machine(self, fleet: FleetClients) -> None:
        victim = self._machines[0]
        primary = await self._cluster.states.find_database("leader")
        title = f"{victim.name} {'with the primary of the database ' if victim is primary else ''}dies"
        with self._report.step(title) as note:
            before = {name: fleet.total(name) for name in ("lost", "returned", "attempts")}
            processor = self._read_cpu_s()
            began = time.monotonic()
            await self._cluster.cut_off(victim)
            await self._cluster.kill_machine(victim)
            history: list[tuple[float, int]] = []
            while time.monotonic() < began + _WITHIN_S:
                await asyncio.sleep(_SAMPLE_EVERY_S)
                history.append((time.monotonic() - began, fleet.total("returned") - before["returned"]))
                lost = fleet.total("lost") - before["lost"]
                if lost and history[-1][1] == lost and fleet.total("connected") == self._boxes:
                    break
            attempts = fleet.total("attempts") - before["attempts"]
            returns = Returns(
                lost,
                find_quantiles(history, lost),
                attempts - history[-1][1],
                self._boxes - fleet.total("connected"),
            )
            note(str(returns))
            spent = self._read_cpu_s()
            note(", ".join(f"{name} {spent[name] - was:.1f} CPU s" for name, was in processor.items()))
            self._note_memory(note)
            if returns.locked_out or not lost:
                self._fail(note, f"{returns.locked_out} boxes are locked out, of {lost} that were lost")

    async def _check_acks(self, fleet: FleetClients) -> None:
        with self._report.step("each box sends a further sample, and gets its `ack`") as note:
            await fleet.tell(f"send {_PROBE_S:g}")
            await asyncio.sleep(_PROBE_S)
            await fleet.tell("hush")
            began = time.monotonic()
            await self._wait_for_counts(
                note, lambda: fleet.total("named") == fleet.total("made"), "not all is acknowledged"
            )
            made, named = fleet.total("made"), fleet.total("named")
            note(f"{named:,} of {made:,} after {time.monotonic() - began:.1f} s")
            await self._wait_for_counts(
                note, lambda: fleet.total("configured") == self._boxes, "not all have their configuration"
            )
            note(f"{fleet.total('configured'):,} boxes have their configuration")
            rows = await self._cluster.read_value("SELECT count(*) FROM samples")
            note(f"{rows:,} stored")
            if rows != fleet.total("made"):
                self._fail(note, f"{rows} samples are stored, {fleet.total('made')} were made")

    async def _wait_for_counts(
        self, note: Callable[[str], None], holds: Callable[[], bool], problem: str
    ) -> None:
        deadline = time.monotonic() + _SETTLE_S
        while not holds():
            if time.monotonic() > deadline:
                self._fail(note, problem)
                return
            await asyncio.sleep(_SAMPLE_EVERY_S)

    async def _revoke(self, number: int, machines: Sequence[Machine]) -> None:
        """Revoke a box that is connected to several edges, and see when each ends its access."""
        box, password = self._revoked[number]
        with self._report.step(f"the API revokes a box; {len(machines)} edges end its access") as note:
            async with AsyncExitStack() as connections:
                ends = {
                    each.name: await connections.enter_async_context(
                        watch_account(BrokerAccount(each.host, MQTT_PORT, box, password))
                    )
                    for each in machines
                }
                began = time.monotonic()
                await self._api.post(f"/v1/boxes/{box}/credentials/revoke", {})
                note(f"answer after {time.monotonic() - began:.2f} s")
                with suppress(TimeoutError):
                    async with asyncio.timeout(_WAIT_FOR_END_S):
                        await asyncio.gather(*(end.is_over.wait() for end in ends.values()))
            took = {name: end.count_seconds(began) for name, end in ends.items()}
            note(", ".join(f"{name} {'never' if s is None else f'{s:.2f} s'}" for name, s in took.items()))
            if not all(s is not None and s <= _REVOKED_WITHIN_S for s in took.values()):
                self._fail(note, f"not all edges ended the access of a box within {_REVOKED_WITHIN_S:g} s")

    async def _return_machine(self) -> None:
        """Start the machine again with a broker that has lost its data, after a revocation it has missed."""
        machine, (box, password) = self._machines[0], self._revoked[1]
        await self._api.post(f"/v1/boxes/{box}/credentials/revoke", {})
        with self._report.step(f"{machine.name} comes back, its broker empty") as note:
            data = machine.folder / "mosquitto" / "data"
            for path in data.iterdir():
                rmtree(path) if path.is_dir() else path.unlink()
            began = time.monotonic()
            await self._cluster.rejoin(machine)
            await self._cluster.start_machine(machine)
            stale = asyncio.create_task(
                measure_stale_access(BrokerAccount(machine.host, MQTT_PORT, box, password))
            )
            await self._wait_for_configurations(machine)
            note(f"all configurations after {time.monotonic() - began:.1f} s")
            accepted_s = await asyncio.wait_for(stale, _WITHIN_S)
            note(f"it accepted a box that was revoked meanwhile for {accepted_s:.1f} s")
            await self._cluster.wait_until_ready()
            note(f"ready after {time.monotonic() - began:.1f} s")

    def _list_others(self) -> list[Machine]:
        return [each for each in self._cluster.machines if each is not self._machines[0]]

    def _find_pids(self) -> dict[str, int]:
        parts = {
            f"{name} of {machine.name}": machine.components[name]
            for machine in self._machines[1:]
            for name in ("mosquitto", "edge")
        }
        return {
            name: part.process.pid
            for name, part in parts.items()
            if isinstance(part, ProgramComponent) and part.process is not None
        }

    def _read_cpu_s(self) -> dict[str, float]:
        return {name: cpu_seconds(pid) for name, pid in self._find_pids().items()}

    def _note_memory(self, note: Callable[[str], None]) -> None:
        text = ", ".join(f"{name} {rss(pid) / 2**20:.0f} MiB" for name, pid in self._find_pids().items())
        note(text)


async def _are_up(proxies: Sequence[ProgramComponent]) -> bool:
    for proxy in proxies:
        servers = await read_servers(proxy.folder)
        if any(state != "UP" for state, _ in servers.values()):
            return False
    return True


async def _choose_machines(cluster: CityCluster, *, loses_primary: bool) -> list[Machine]:
    """Return the machines whose brokers have boxes. The first one, which dies, has the primary or not."""
    primary = await cluster.states.find_database("leader")
    return sorted(cluster.machines, key=lambda each: (each is primary) != loses_primary)[:_EDGES]


async def rehearse(
    boxes: int, report: RehearsalReport, *, connect_over_s: float, loses_primary: bool, keeps: bool
) -> None:
    """Run the rehearsal (RehearsalError, ClusterError, FailedError)."""
    cancel_on_signals()
    async with open_cluster_folder(keeps=keeps, say=say) as folder:
        cluster = CityCluster(folder, settings=dict.fromkeys(LIMITS, "0"), say=say)
        note_network(folder, cluster.network.name)
        async with cluster, ApiClient(cluster.api, cluster.secrets.admin_key, timeout_s=60.0) as admin:
            organisation = str((await admin.post("/v1/organisations", {"name": "Fleet"}))["id"])
            wanted = {"organisation_id": organisation, "name": "fleet", "scopes": ["*"]}
            key = str((await admin.post("/v1/api-keys", wanted))["key"])
            async with ApiClient(cluster.api, key, timeout_s=120.0) as api:
                machines = await _choose_machines(cluster, loses_primary=loses_primary)
                rehearsal = FleetRehearsal(
                    cluster, machines, report, api, boxes, connect_over_s=connect_over_s
                )
                await rehearsal.run()


def count_possible_boxes() -> int:
    """Return how many boxes one broker and the clients can have: each box is an open file."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MOST_BOXES if most == resource.RLIM_INFINITY else min(_MOST_BOXES, most - 2 * _RESERVED_FILES)


def main(
    *,
    boxes: Annotated[int, typer.Option(min=0, help="0: as many as open files permit, at most 20,000")] = 0,
    connect_over: Annotated[
        float, typer.Option(min=0.0, help="Seconds over which the boxes first connect; 0: all at once")
    ] = 0.0,
    primary: Annotated[bool, typer.Option(help="The lost machine has the primary of the database")] = False,
    keeps: Annotated[bool, typer.Option("--keep", help="Leave the files and logs at the end")] = False,
) -> None:
    """Lose a machine with thousands of boxes. Exits with 1 if a box is locked out, or not cut off in time."""
    install_packages(PACKAGES)
    report = RehearsalReport()
    say(f"waits before a connection: random, 0 to {FIRST_WAIT_S:g} s, doubled up to {LONGEST_WAIT_S:g} s")
    try:
        asyncio.run(
            rehearse(
                boxes or count_possible_boxes(),
                report,
                connect_over_s=connect_over,
                loses_primary=primary,
                keeps=keeps,
            )
        )
    except (RehearsalError, ClusterError, FailedError) as error:
        report.failures.append(str(error))
    except asyncio.CancelledError:
        report.failures.append("stopped")
    sys.exit(report.end())


if __name__ == "__main__":
    typer.run(main)
