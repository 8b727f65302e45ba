"""Upgrades three machines one after the other under load: `make rehearse-cluster-upgrade`, as root.

All machines run an older version. `vigie migrate` of the new one runs once. Then for each machine, as the
runbook says: haproxy drains it, its processes stop, its Mosquitto, NATS, etcd and PostgreSQL restart as for
new packages, the processes of the new version start, and haproxy sends to it again. The machine with the
primary is the last one, after a switchover. At the end every sample must be stored once. Every alert that was
due must have fired once and been delivered once, and no other one.

    python -m tools.clusters.rolling_upgrade --from COMMIT
"""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Final

import typer

from bench.publisher import BrokerAccount
from bench.stack import LIMITS
from simulators.rest_client import ApiClient, UnreachableError
from tools.clusters.box_load import BoxLoad
from tools.clusters.city_cluster import PACKAGES, CityCluster
from tools.clusters.city_components import ROLES, Machine, ProgramComponent
from tools.clusters.cluster_command import cancel_on_signals, say
from tools.clusters.cluster_folder import note_network, open_cluster_folder
from tools.clusters.cluster_nodes import ClusterError
from tools.clusters.drill_city import ClusterUnderLoad, HttpReads, make_city
from tools.clusters.drill_results import AlertCounts, compare_alerts, count_stored, mark, wait_until_settled
from tools.clusters.expected_alerts import AlertComparison
from tools.clusters.haproxy_config import read_servers, set_server_state
from tools.clusters.machine_processes import MQTT_PORT
from tools.rehearsals.report import RehearsalError, install_packages, run_command
from tools.rehearsals.role_processes import ProgramVersion, install_commit, this_version
from tools.rehearsals.upgrade import CACHE, find_former_version
from tools.rehearsals.webhook_ledger import WebhookLedger

FIRST_CLUSTERS: Final = "cd35d22d"
"""The commit to upgrade from while no release has a tag: it has all parts of several machines."""

STOP_ORDER: Final = ("edge", "ingest", "deliver", "maintain", "api")
"""The edge first: what it has appended is then read by the workers of the other machines."""

_HTTP: Final = "api"
_BROKERS: Final = ("mosquitto", "mosquitto_without_edge")
_STEADY_S: Final = 10.0
_WITHIN_S: Final = 120.0
_REPLICAS_S: Final = 60.0
_SHOWN: Final = 20
_HEADS: Final = (
    "step",
    "seconds",
    "longest delay of an `ack` (s)",
    "samples repeated before their `ack`",
    "connections again",
    "reads failed",
    "longest outage of reads (s)",
)


@dataclass(frozen=True, slots=True)
class UpgradeStep:
    """The effects of one step on clients.

    Attributes:
        title: The step.
        seconds: Its duration.
        longest_ack_s: The longest delay of an `ack` message that arrived in it.
        repeated: Samples that were acknowledged in it only after their box had repeated them.
        reconnects: Connections of boxes that ended in it, of eight.
        reads: Failed and all HTTP reads.
        outage_s: The longest time in which HTTP reads failed.
    """

    title: str
    seconds: float
    longest_ack_s: float
    repeated: int
    reconnects: int
    reads: tuple[int, int]
    outage_s: float

    def format_row(self) -> str:
        """Format a row of the table."""
        failed, calls = self.reads
        delays = [f"{self.seconds:.1f}", f"{self.longest_ack_s:.1f}"]
        cells = [self.title, *delays, self.repeated, self.reconnects]
        return f"| {' | '.join(map(str, [*cells, f'{failed} of {calls}', f'{self.outage_s:.1f}']))} |"


@dataclass(frozen=True, slots=True)
class UpgradeOutcome:
    """The comparison of the ledgers with the database and the received webhooks.

    Attributes:
        published: Samples made.
        stored: Of these, how many are stored.
        twice: Rows beyond one for each sample.
        alerts: The comparison of the alerts.
        delivered_again: Webhooks that arrived more than once.
    """

    published: int
    stored: int
    twice: int
    alerts: AlertCounts
    delivered_again: int

    @property
    def is_good(self) -> bool:
        """Whether nothing was lost, or happened twice."""
        alerts = self.alerts
        wrong = (self.twice, alerts.unfired, alerts.spurious, alerts.undelivered, self.delivered_again)
        return self.published == self.stored and not any(wrong)

    def __str__(self) -> str:
        alerts = self.alerts
        return (
            f"{self.published:,} samples, {self.published - self.stored} lost, {self.twice} stored twice;"
            f" {alerts.due} alerts due, {alerts.unfired} not fired, {alerts.spurious} without cause,"
            f" {alerts.undelivered} not delivered, {self.delivered_again} delivered twice"
        )


class RollingUpgrade(ClusterUnderLoad):
    """Upgrades the machines of a cluster, which runs the older version."""

    @cached_property
    def steps(self) -> list[UpgradeStep]:
        """The effects of each step on clients."""
        return []

    @property
    def _haproxy(self) -> Path:
        return self._cluster.haproxy.folder

    async def run(self, version: ProgramVersion) -> UpgradeOutcome:
        """Upgrade all machines to a version, and compare.

        Raises:
            ClusterError: A step failed.
        """
        marks = mark(self._load, self._webhooks)
        self._load.resume()
        async with self._step("the older version on all machines"):
            await asyncio.sleep(_STEADY_S)
        async with self._step("`vigie migrate` of the new version"):
            self._cluster.builder.python = version.python
            await self._cluster.migrate()
            await asyncio.sleep(_STEADY_S)
        for machine in await self._sort_machines():
            await self._upgrade(machine)
        async with self._step("the new version on all machines"):
            await asyncio.sleep(_STEADY_S)
        self._load.pause()
        await wait_until_settled(self._cluster, self._load, self._webhooks)
        stored, twice = await count_stored(self._cluster, marks)
        comparison = AlertComparison(self._city.ledgers, self._city.sites)
        alerts, wrong = await compare_alerts(self._cluster, comparison, self._webhooks, set())
        for each in wrong[:_SHOWN]:
            say(str(each))
        return UpgradeOutcome(self._load.sent, stored, twice, alerts, self._webhooks.twice - marks.twice)

    async def _sort_machines(self) -> list[Machine]:
        """Return the machines, that with the primary last: one switchover is enough."""
        primary = await self._cluster.states.find_database("leader")
        return sorted(self._cluster.machines, key=lambda machine: machine is primary)

    async def _upgrade(self, machine: Machine) -> None:
        async with self._step(f"{machine.name}: haproxy drains it"):
            await self._drain(machine)
        async with self._step(f"{machine.name}: its processes stop"):
            for role in STOP_ORDER:
                await self._stop(machine, role)
        for name in ("mosquitto", "nats"):
            async with self._step(f"{machine.name}: {name} restarts"):
                await self._restart(machine, name)
                await self._wait_for_replicas(machine)
        if machine is await self._cluster.states.find_database("leader"):
            async with self._step(f"{machine.name}: switchover of the database"):
                await self._switch_over(machine)
        for name in ("etcd", "patroni"):
            async with self._step(f"{machine.name}: {name} restarts"):
                await self._restart(machine, name)
                await self._wait_for("all databases", self._cluster.states.are_databases_ready)
        async with self._step(f"{machine.name}: processes of the new version start"):
            for role in ROLES:
                machine.components[role] = self._cluster.builder.make_role(machine, role)
                await machine.components[role].start()
            # haproxy sends to a server that is `ready` before it has checked it.
            await self._wait_for(
                f"API and edge of {machine.name}", lambda: self._cluster.states.is_serving(machine)
            )
            for backend in (_HTTP, *_BROKERS):
                await set_server_state(self._haproxy, backend, machine.name, "ready")
            await self._cluster.wait_until_ready()
            await self._wait_for("no problems in GET /v1/cluster", self._has_no_problems)
        async with self._step(f"{machine.name} is upgraded"):
            await asyncio.sleep(_STEADY_S)

    async def _drain(self, machine: Machine) -> None:
        """Close the connections of boxes, let those of HTTP end, and wait until the edge has appended all."""
        await set_server_state(self._haproxy, _HTTP, machine.name, "drain")
        for backend in _BROKERS:
            await set_server_state(self._haproxy, backend, machine.name, "maint")

        async def is_drained() -> bool:
            servers = await read_servers(self._haproxy)
            edges = {edge.name: edge for edge in await self._cluster.states.read_edges()}
            return (
                not any(servers[backend, machine.name][1] for backend in (_HTTP, *_BROKERS))
                and edges[machine.name].unsent_messages == 0
            )

        await self._wait_for(f"a drained {machine.name}", is_drained)
        await set_server_state(self._haproxy, _HTTP, machine.name, "maint")

    async def _stop(self, machine: Machine, name: str) -> None:
        component = machine.components[name]
        await component.stop()
        process = component.process if isinstance(component, ProgramComponent) else None
        if name in ROLES and process is not None and process.returncode:
            raise ClusterError(f"{name} of {machine.name} exited with {process.returncode}")

    async def _restart(self, machine: Machine, name: str) -> None:
        await self._stop(machine, name)
        await machine.components[name].start()

    async def _wait_for_replicas(self, machine: Machine) -> None:
        """Wait until all replicas of the log are current; restart the node of a machine once more if not.

        Seen once: a restarted node of NATS was still 19,840 messages behind after two minutes.
        """
        check = self._cluster.states.are_replicas_current
        try:
            await self._cluster.wait_for("current replicas of the log", check, _REPLICAS_S)
        except ClusterError:
            say(f"NATS of {machine.name} is behind after {_REPLICAS_S:g} s: it is restarted once more")
            await self._restart(machine, "nats")
            await self._wait_for("current replicas of the log", check)

    async def _switch_over(self, machine: Machine) -> None:
        standby = await self._cluster.states.find_database("sync_standby")
        if standby is None:
            raise ClusterError("the database has no synchronous standby")
        config = machine.folder / "postgres" / "patroni.yml"
        words = [
            "patronictl",
            "-c",
            str(config),
            "switchover",
            "vigie",
            "--candidate",
            standby.name,
            "--force",
        ]
        try:
            await asyncio.to_thread(run_command, [*machine.place.launcher, *words])
        except RehearsalError as error:
            raise ClusterError(str(error)) from error
        await self._wait_for("all databases", self._cluster.states.are_databases_ready)

    async def _has_no_problems(self) -> bool:
        async with ApiClient(self._cluster.api, self._cluster.secrets.admin_key) as admin:
            try:
                return not (await admin.call("GET", "/v1/cluster"))["problems"]
            except UnreachableError:
                return False

    async def _wait_for(self, subject: str, is_ready: Callable[[], Awaitable[bool]]) -> None:
        await self._cluster.wait_for(subject, is_ready, _WITHIN_S)

    @asynccontextmanager
    async def _step(self, title: str) -> AsyncIterator[None]:
        """Run a step, and record what clients noticed."""
        began, failed, calls = time.monotonic(), self._reads.failed, self._reads.calls
        reconnects, repeated = self._load.reconnects, self._load.repeated
        self._reads.longest_outage_s = 0.0
        self._load.take_longest_ack_s()
        yield
        self.steps.append(
            UpgradeStep(
                title,
                time.monotonic() - began,
                self._load.take_longest_ack_s(),
                self._load.repeated - repeated,
                self._load.reconnects - reconnects,
                (self._reads.failed - failed, self._reads.calls - calls),
                self._reads.longest_outage_s,
            )
        )
        say(f"{time.strftime('%H:%M:%S')} {self.steps[-1].format_row()}")


def write_steps(path: Path, steps: Sequence[UpgradeStep], outcome: UpgradeOutcome) -> None:
    """Write the steps as a Markdown table, and the outcome below it."""
    lines = [f"| {' | '.join(_HEADS)} |", f"|{'---|' * len(_HEADS)}", *(each.format_row() for each in steps)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([*lines, "", str(outcome), ""]), encoding="utf-8")


async def rehearse(
    old: ProgramVersion, new: ProgramVersion, per_s: float, table: Path, *, keeps: bool
) -> int:
    """Run the rehearsal; returns 0 if nothing was lost, or happened twice."""
    cancel_on_signals()
    async with open_cluster_folder(keeps=keeps, say=say) as folder:
        cluster = CityCluster(folder, settings=dict.fromkeys(LIMITS, "0"), say=say)
        cluster.builder.python = old.python
        note_network(folder, cluster.network.name)
        async with cluster, WebhookLedger(host=cluster.network.address).listening() as webhooks:
            city = await make_city(cluster, webhooks)
            account = BrokerAccount(
                cluster.mqtt_host, MQTT_PORT, "gateway", cluster.secrets.brokers["gateway"]
            )
            load = BoxLoad(account, city.ledgers, per_s)
            reads = HttpReads(f"{cluster.api}/v1/boxes?limit=10", city.key)
            load.pause()
            upgrade = RollingUpgrade(cluster, city, load, webhooks, reads)
            async with load.running(), reads.running():
                outcome = await upgrade.run(new)
            write_steps(table, upgrade.steps, outcome)
            say(str(outcome))
    return 0 if outcome.is_good else 1


def main(
    *,
    former: Annotated[str, typer.Option("--from", help="Commit or tag; empty: newest tag")] = "",
    to: Annotated[str, typer.Option(help="Commit or tag to upgrade to; empty: the files of this clone")] = "",
    per_s: Annotated[float, typer.Option(min=10.0, help="Samples a second")] = 1_000.0,
    table: Annotated[Path, typer.Option(help="Where the table is written")] = Path(
        "build/cluster-upgrade.md"
    ),
    keeps: Annotated[bool, typer.Option("--keep", help="Leave the files and logs at the end")] = False,
) -> None:
    """Upgrade three machines under load. Exits with 1 if anything was lost, or happened twice."""
    install_packages(PACKAGES)
    try:
        old = install_commit(former or find_former_version(FIRST_CLUSTERS), CACHE)
        new = install_commit(to, CACHE, "new") if to else this_version()
        sys.exit(asyncio.run(rehearse(old, new, per_s, table, keeps=keeps)))
    except (ClusterError, RehearsalError) as error:
        say(str(error))
        sys.exit(1)
    except asyncio.CancelledError:
        say("Stopped.")
        sys.exit(130)


if __name__ == "__main__":
    typer.run(main)
