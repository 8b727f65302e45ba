"""Lists the cases of the kill drill: which part of which machine fails, how, and for how long."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from tools.clusters.city_cluster import CityCluster
from tools.clusters.city_components import Machine
from tools.clusters.cluster_nodes import ClusterError
from tools.clusters.haproxy_config import read_servers
from tools.clusters.machine_processes import ETCD_PORT

DATABASE_NODE: Final = ("patroni", "postgres", "etcd")
"""What is one node of the database."""


@dataclass(frozen=True, slots=True)
class DrillCase:
    """One case.

    Attributes:
        target: What fails, such as `log-leader`.
        action: `kill` (SIGKILL), `suspend` (SIGSTOP), or `cut` (from the network).
    """

    target: str
    action: str

    @property
    def name(self) -> str:
        """The name by which `--only` selects it."""
        return f"{self.target}:{self.action}"


@dataclass(frozen=True, slots=True)
class Victim:
    """What fails in a case.

    Attributes:
        machine: Its machine; None: haproxy, which is beside the machines.
        components: Its programs by name; empty: all of the machine.
    """

    machine: Machine | None
    components: Sequence[str] = ()

    def __str__(self) -> str:
        parts = ", ".join(self.components) or "all programs"
        return f"{self.machine.name}: {parts}" if self.machine else "haproxy"


async def _find_busiest_broker(cluster: CityCluster) -> Machine:
    servers = await read_servers(cluster.haproxy.folder)
    return max(cluster.machines, key=lambda machine: servers["mosquitto", machine.name][1])


async def _find_log_node(cluster: CityCluster, *, leads: bool) -> Machine:
    counts = await cluster.states.count_log_leads()
    choose = max if leads else min
    return choose(cluster.machines, key=lambda machine: counts[machine.name])


async def _find_database(cluster: CityCluster, role: str) -> Machine:
    machine = await cluster.states.find_database(role)
    if machine is None:
        raise ClusterError(f"no machine has the {role} of the database")
    return machine


async def _find_other_machine(cluster: CityCluster) -> Machine:
    """Find a machine that neither holds the primary nor leads most partitions of the log."""
    taken = await _find_database(cluster, "leader"), await _find_log_node(cluster, leads=True)
    return next(machine for machine in cluster.machines if machine not in taken)


async def _find_worker(cluster: CityCluster, role: str, state: str) -> Machine:
    beats = await cluster.states.read_heartbeats()
    for machine in cluster.machines:
        if beats.get((role, machine.name), "").startswith(state):
            return machine
    raise ClusterError(f"no machine has a process {role} that is {state}")


async def _find_etcd_leader(cluster: CityCluster) -> Machine:
    for machine in cluster.machines:
        if await cluster.states.leads_etcd(machine, ETCD_PORT):
            return machine
    raise ClusterError("etcd has no leader")


type _Finder = Callable[[CityCluster], Awaitable[Victim]]


def _part(find: Callable[[CityCluster], Awaitable[Machine]], *components: str) -> _Finder:
    async def find_victim(cluster: CityCluster) -> Victim:
        return Victim(await find(cluster), components)

    return find_victim


async def _find_haproxy(_: CityCluster) -> Victim:
    return Victim(None)


_FINDERS: Final[dict[str, _Finder]] = {
    "mosquitto": _part(_find_busiest_broker, "mosquitto"),
    "edge": _part(_find_busiest_broker, "edge"),
    "log-leader": _part(lambda cluster: _find_log_node(cluster, leads=True), "nats"),
    "log-follower": _part(lambda cluster: _find_log_node(cluster, leads=False), "nats"),
    "ingest": _part(_find_busiest_broker, "ingest"),
    "deliver": _part(lambda cluster: _find_worker(cluster, "deliver", "delivering"), "deliver"),
    "api": _part(_find_busiest_broker, "api"),
    "maintain": _part(lambda cluster: _find_worker(cluster, "maintain", "working"), "maintain"),
    "postgres-primary": _part(lambda cluster: _find_database(cluster, "leader"), "postgres"),
    "database-primary-node": _part(lambda cluster: _find_database(cluster, "leader"), *DATABASE_NODE),
    "database-standby-node": _part(lambda cluster: _find_database(cluster, "sync_standby"), *DATABASE_NODE),
    "etcd-leader": _part(_find_etcd_leader, "etcd"),
    "haproxy": _find_haproxy,
    "machine": _part(lambda cluster: _find_database(cluster, "leader")),
}
_MACHINES: Final[dict[str, _Finder]] = {
    "database-machine": _part(lambda cluster: _find_database(cluster, "leader")),
    "log-machine": _part(lambda cluster: _find_log_node(cluster, leads=True)),
    "other-machine": _part(_find_other_machine),
}

# A network fails for a machine, not for one of its programs.
CASES: Final = (
    *(DrillCase(target, "kill") for target in _FINDERS),
    *(DrillCase(target, "suspend") for target in _FINDERS),
    *(DrillCase(target, "cut") for target in _MACHINES),
)
"""All cases."""


async def find_victim(cluster: CityCluster, case: DrillCase) -> Victim:
    """Return what fails in a case now.

    Raises:
        ClusterError: No machine has such a part now.
    """
    return await (_FINDERS | _MACHINES)[case.target](cluster)


async def break_victim(cluster: CityCluster, case: DrillCase, victim: Victim) -> None:
    """Kill, suspend or cut off what fails."""
    if victim.machine is None:
        await (cluster.haproxy.kill() if case.action == "kill" else _call(cluster.haproxy.suspend))
    elif case.action == "cut":
        await cluster.cut_off(victim.machine)
    elif not victim.components:
        machine = victim.machine
        await (cluster.kill_machine(machine) if case.action == "kill" else cluster.suspend_machine(machine))
    else:
        parts = [victim.machine.components[name] for name in victim.components]
        for part in parts:
            await (part.kill() if case.action == "kill" else _call(part.suspend))


async def mend_victim(cluster: CityCluster, case: DrillCase, victim: Victim) -> None:
    """Start it again, let it continue, or connect it again."""
    if victim.machine is None:
        await (cluster.haproxy.start() if case.action == "kill" else _call(cluster.haproxy.resume))
    elif case.action == "kill":
        await cluster.start_machine(victim.machine)
    elif case.action == "cut":
        await cluster.rejoin(victim.machine)
    else:
        await cluster.resume_machine(victim.machine)


async def _call(function: Callable[[], None]) -> None:
    await asyncio.sleep(0)
    function()
