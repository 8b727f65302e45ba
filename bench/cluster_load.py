"""Measures three machines under a steady load: `python -m bench.cluster_load`, as root. Seven minutes.

Boxes with `ack`, each with its own account and connection, send ten values through haproxy to the cluster of
`tools/clusters`. Each rate runs for a minute or more. The CPU, memory, network and disk of each part go to
docs/scale.json, from which docs/scale.md is computed. All machines are namespaces of this one: CPU for each
message carries over to separate machines, absolute rates do not.
"""

import asyncio
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Annotated, Final

import typer
import uvloop

from app.edge.settings import EdgeSettings
from bench.fleet_clients import FleetClients, register_fleet, run_fleet_clients
from bench.load import rules
from bench.measure import describe_machine
from bench.process import FailedError
from bench.scale_figures import store_scale_figures
from bench.stack import LIMITS
from simulators.rest_client import ApiClient
from tools.clusters.city_cluster import MACHINES, PACKAGES, CityCluster
from tools.clusters.cluster_command import cancel_on_signals, say
from tools.clusters.cluster_folder import note_network, open_cluster_folder
from tools.clusters.cluster_nodes import ClusterError
from tools.clusters.cluster_usage import ClusterUsage, UsageReader
from tools.clusters.machine_processes import MQTT_PORT
from tools.rehearsals.report import install_packages

BOXES: Final = 6_000
"""So many that an `ack` message is about one sample: their intervals are longer than a batch takes."""
SITES: Final = 24
PARTITIONS: Final = 6
PHASES: Final = ((0.0, 30.0), (250.0, 45.0), (500.0, 45.0), (1_000.0, 100.0), (1_500.0, 45.0))
"""Messages a second, and for how many seconds. At 0 all boxes are connected."""

_SETTLE_S: Final = 8.0
_CONNECT_S: Final = 90.0
_PLACE: Final = {"type": "Point", "coordinates": [1.44, 43.6]}


@dataclass(frozen=True, slots=True)
class LoadFigures:
    """The measurement of a load.

    Attributes:
        unconnected: Memory by part before boxes connect (bytes).
        runs: A run for each rate.
        missing: Samples that were not acknowledged 90 s after the last one was made.
    """

    unconnected: Mapping[str, int]
    runs: Sequence["LoadRun"]
    missing: int


@dataclass(frozen=True, slots=True)
class LoadRun:
    """The usage of all three machines under a steady load.

    Attributes:
        wanted_per_s: The rate that was wanted.
        seconds: How long it was measured.
        messages: Samples stored.
        cpu_s: CPU seconds by part.
        memory: Memory by part at the end (bytes).
        interface_bytes: Bytes that the interfaces of the machines received.
        sent_bytes: Bytes between machines, by flow.
        wal_bytes: WAL of the primary.
        database_bytes: Growth of the database.
        records: Records of the message log.
        log_bytes: Growth of the message log on one node.
        batches: Batches of ingest: each is a transaction.
        acks: `ack` messages.
    """

    wanted_per_s: float
    seconds: float
    messages: int
    cpu_s: Mapping[str, float]
    memory: Mapping[str, int]
    interface_bytes: int
    sent_bytes: Mapping[str, int]
    wal_bytes: int
    database_bytes: int
    records: int
    log_bytes: int
    batches: int
    acks: int

    @classmethod
    def between(cls, wanted_per_s: float, before: ClusterUsage, after: ClusterUsage) -> "LoadRun":
        """Return what was used between two readings."""
        return cls(
            wanted_per_s=wanted_per_s,
            seconds=round(after.at - before.at, 2),
            messages=after.samples - before.samples,
            cpu_s={part: round(after.cpu_s[part] - before.cpu_s[part], 2) for part in after.cpu_s},
            memory=after.memory,
            interface_bytes=after.interface_bytes - before.interface_bytes,
            sent_bytes={
                flow: after.sent_bytes[flow] - before.sent_bytes.get(flow, 0) for flow in after.sent_bytes
            },
            wal_bytes=after.wal_bytes - before.wal_bytes,
            database_bytes=after.database_bytes - before.database_bytes,
            records=after.records - before.records,
            log_bytes=after.log_bytes - before.log_bytes,
            batches=after.batches - before.batches,
            acks=after.acks - before.acks,
        )

    def line(self) -> str:
        """Describe it in a line."""
        cores = ", ".join(f"{part} {used / self.seconds:.3f}" for part, used in sorted(self.cpu_s.items()))
        return (
            f"{self.messages / self.seconds:,.0f} messages/s, {self.records / self.seconds:,.0f} records/s,"
            f" {self.batches / self.seconds:,.0f} batches/s, {self.acks / self.seconds:,.0f} acks/s;"
            f" cores {sum(self.cpu_s.values()) / self.seconds:.2f} ({cores})"
        )


async def _register(cluster: CityCluster, boxes: int, sites: int) -> list[tuple[int, str]]:
    """Register sites with twenty rules each, and the boxes; returns their indexes and passwords."""
    async with ApiClient(cluster.api, cluster.secrets.admin_key, timeout_s=60.0) as admin:
        organisation = str((await admin.post("/v1/organisations", {"name": "Load"}))["id"])
        wanted = {"organisation_id": organisation, "name": "load", "scopes": ["*"]}
        key = str((await admin.post("/v1/api-keys", wanted))["key"])
    async with ApiClient(cluster.api, key, timeout_s=60.0) as client:
        made = []
        for number in range(sites):
            site = {
                "name": f"Site {number}",
                "kind": "street",
                "timezone": "Europe/Paris",
                "location": _PLACE,
            }
            made.append(str((await client.post("/v1/sites", site))["id"]))
            for index, condition in enumerate(rules()):
                rule = {"site_id": made[-1], "name": f"Rule {index}", "severity": "info"}
                await client.post("/v1/rules", {**rule, "condition": condition})
        return await register_fleet(client, boxes, made, 60.0)


async def _run_phases(
    reader: UsageReader, clients: FleetClients, boxes: int, phases: Sequence[tuple[float, float]]
) -> LoadFigures:
    """Connect the boxes, and run one rate after another.

    Raises:
        FailedError: Not all boxes connect.
        ClusterError: The primary has moved.
    """
    await clients.until(clients.begun, _CONNECT_S, "they must begin")
    unconnected = (await reader.read()).memory
    await clients.tell("go")
    await clients.until(lambda: clients.total("connected") == boxes, _CONNECT_S, "all are due")
    found = []
    for rate, seconds in phases:
        if rate:
            await clients.tell(f"send {boxes / rate}")
        await asyncio.sleep(_SETTLE_S)
        before = await reader.read()
        await asyncio.sleep(seconds)
        found.append(LoadRun.between(rate, before, await reader.read()))
        say(f"{time.strftime('%H:%M:%S')} {found[-1].line()}\n{json.dumps(asdict(found[-1]))}")
    await clients.tell("hush")
    try:
        await clients.until_settled(_CONNECT_S)
    except FailedError as error:
        say(str(error))
    missing = clients.total("made") - clients.total("named") - clients.total("rejected")
    say(f"{clients.total('made'):,} made, {clients.total('named'):,} committed, {missing:,} missing")
    return LoadFigures(unconnected, found, missing)


async def measure(
    *,
    boxes: int = BOXES,
    sites: int = SITES,
    phases: Sequence[tuple[float, float]] = PHASES,
    keeps: bool = False,
) -> LoadFigures:
    """Run a cluster under each rate.

    Raises:
        ClusterError: The cluster does not start, or its primary moves.
        FailedError: Not all boxes connect.
    """
    cancel_on_signals()
    async with open_cluster_folder(keeps=keeps, say=say) as folder:
        cluster = CityCluster(folder, partitions=PARTITIONS, settings=dict.fromkeys(LIMITS, "0"), say=say)
        note_network(folder, cluster.network.name)
        async with cluster:
            registered = await _register(cluster, boxes, sites)
            say(f"{boxes:,} boxes at {sites} sites")
            address = (cluster.mqtt_host, MQTT_PORT)
            async with run_fleet_clients(folder, address, os.environ, registered, 60.0) as clients:
                return await _run_phases(UsageReader(cluster), clients, boxes, phases)


def main(
    *,
    keeps: Annotated[bool, typer.Option("--keep", help="Leave the files and logs at the end")] = False,
) -> None:
    """Measure three machines under a steady load; writes docs/scale.json."""
    install_packages(PACKAGES)
    try:
        found = uvloop.run(measure(keeps=keeps))
    except (ClusterError, FailedError) as error:
        say(str(error))
        sys.exit(1)
    figures = {
        "measured": f"{datetime.now(UTC).date().isoformat()}: {describe_machine()}",
        "boxes": BOXES,
        "partitions": PARTITIONS,
        "machines": MACHINES,
        "batch_delay_s": EdgeSettings().batch_delay_ms / 1000,
        **asdict(found),
    }
    store_scale_figures("cluster", figures)


if __name__ == "__main__":
    typer.run(main)
