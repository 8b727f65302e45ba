"""Reads what each part of a `CityCluster` has used: CPU, memory, network and disk. As root.

CPU is that of a process with its children, ended ones included, from /proc. Bytes between machines are those
of the sockets of each namespace (`ss`), by the port of the server. Bytes of an interface include all headers.
"""

import asyncio
import re
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Final

import psutil
from prometheus_client import CollectorRegistry, multiprocess

from tools.clusters.city_cluster import CityCluster
from tools.clusters.city_components import Machine, PostgresComponent, ProgramComponent
from tools.clusters.cluster_nodes import ClusterError
from tools.clusters.machine_processes import (
    API_PORT,
    ETCD_PORT,
    MQTT_PORT,
    NATS_PORTS,
    PATRONI_PORT,
    POSTGRES_PORT,
)

PRIMARY: Final = "postgres-primary"
STANDBY: Final = "postgres-standby"

FLOWS: Final = {
    MQTT_PORT: "mqtt",
    NATS_PORTS["client"]: "log-clients",
    NATS_PORTS["route"]: "log-replication",
    POSTGRES_PORT: "postgres",
    API_PORT: "http",
    ETCD_PORT: "etcd",
    2380: "etcd",
    PATRONI_PORT: "etcd",
}
"""Purposes of the connections between machines, by the port of their server."""

_SOCKET: Final = re.compile(r"^ESTAB\s+\d+\s+\d+\s+(\S+):(\d+)\s+(\S+):(\d+)")
_SENT: Final = re.compile(r"\bbytes_sent:(\d+)")
_PSS: Final = re.compile(r"^Pss:\s+(\d+) kB", re.MULTILINE)
_DATABASE: Final = """
SELECT pg_current_wal_lsn() - '0/0'::pg_lsn AS wal, pg_database_size(current_database()) AS size,
    (SELECT sum(position) FROM ingest_positions) AS records,
    (SELECT count(*) FROM samples) AS samples
"""


@dataclass(frozen=True, slots=True)
class ClusterUsage:
    """The usage of a cluster since its start, at one instant: sums of all machines.

    Attributes:
        at: The monotonic clock.
        cpu_s: CPU seconds by part.
        memory: Resident memory by part (bytes): the proportional share where processes share pages.
        interface_bytes: Bytes that the machines' interfaces have received.
        sent_bytes: Bytes that connections between machines have carried, by flow; connections that have ended
            are not among them.
        wal_bytes: WAL that the primary has written.
        database_bytes: The size of the database.
        log_bytes: The size of the message log on one node. Records of the last hour stay in it.
        records: Records of the message log that are committed.
        batches: Batches that ingest has committed.
        acks: `ack` messages that ingest has published.
        samples: Samples stored.
    """

    at: float
    cpu_s: Mapping[str, float]
    memory: Mapping[str, int]
    interface_bytes: int
    sent_bytes: Mapping[str, int]
    wal_bytes: int
    database_bytes: int
    log_bytes: int
    records: int
    batches: int
    acks: int
    samples: int


@dataclass
class UsageReader:
    """Reads the usage of a cluster whose primary stays where it is.

    Attributes:
        cluster: The cluster.
        primary: The machine of the primary; the first reading finds it.
    """

    cluster: CityCluster
    primary: Machine | None = field(default=None)

    async def read(self) -> ClusterUsage:
        """Read everything.

        Raises:
            ClusterError: There is no primary, or it has moved since the first reading.
        """
        primary = await self.cluster.states.find_database("leader")
        if primary is None or (self.primary is not None and primary is not self.primary):
            raise ClusterError("the primary has moved: the figures of its parts would be mixed")
        self.primary = primary
        row = (await self.cluster.read_rows(_DATABASE))[0]
        streams = (await self.cluster.states.read_streams()).values()
        counters = self._read_counters()
        flows: Counter[str] = Counter()
        for machine in self.cluster.machines:
            flows.update(count_sent_bytes(await _list_sockets(machine)))
        flows.update(count_sent_bytes(await _run("ss", "-tinH")))
        at, processes = time.monotonic(), list(self._list_processes(primary))
        return ClusterUsage(
            at=at,
            cpu_s=_sum((part, _read_cpu_s(pid) - _read_cpu_s(inside)) for part, pid, inside in processes),
            memory=_sum((part, _read_memory(pid) - _read_memory(inside)) for part, pid, inside in processes),
            interface_bytes=sum(map(self._read_interface, self.cluster.machines)),
            sent_bytes=dict(flows),
            wal_bytes=int(row["wal"]),
            database_bytes=int(row["size"]),
            log_bytes=sum(int(each["state"]["bytes"]) for each in streams),
            records=int(row["records"] or 0),
            batches=counters["vigie_ingest_batches_total"],
            acks=counters["vigie_acks_sent_total"],
            samples=int(row["samples"]),
        )

    def _read_counters(self) -> Counter[str]:
        """Sum the counters of Vigie's processes, over all their labels."""
        found: Counter[str] = Counter()
        for machine in self.cluster.machines:
            folder = str(machine.folder / "vigie" / "metrics")
            collector = multiprocess.MultiProcessCollector(CollectorRegistry(), path=folder)  # type: ignore[no-untyped-call]
            for metric in collector.collect():  # type: ignore[no-untyped-call]
                for sample in metric.samples:
                    if sample.name.endswith(("_total", "_count")):
                        found[sample.name] += round(sample.value)
        return found

    def _list_processes(self, primary: Machine) -> Iterator[tuple[str, int, int]]:
        """List the parts: name, process id, and the id of a process below it that is another part (or 0)."""
        for machine in self.cluster.machines:
            server = 0
            for name, component in machine.components.items():
                if isinstance(component, PostgresComponent):
                    server = component.list_processes()[0].pid
                    yield (PRIMARY if machine is primary else STANDBY), server, 0
                elif isinstance(component, ProgramComponent) and component.process is not None:
                    inside = _find_postmaster(machine) if name == "patroni" else 0
                    yield name, component.process.pid, inside
        haproxy = self.cluster.haproxy.process
        if haproxy is not None:
            yield "haproxy", haproxy.pid, 0

    def _read_interface(self, machine: Machine) -> int:
        node = machine.components["nats"]
        if not isinstance(node, ProgramComponent) or node.process is None:
            return 0
        lines = Path(f"/proc/{node.process.pid}/net/dev").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) for line in lines if line.strip().startswith("eth0:"))


def _find_postmaster(machine: Machine) -> int:
    """Return the id of PostgreSQL if it is below Patroni; 0 if it is not."""
    server, patroni = machine.components["postgres"], machine.components["patroni"]
    if isinstance(server, PostgresComponent) and isinstance(patroni, ProgramComponent) and patroni.process:
        root = server.list_processes()[0]
        if any(parent.pid == patroni.process.pid for parent in root.parents()):
            return root.pid
    return 0


def _list_tree(pid: int) -> list[psutil.Process]:
    with suppress(psutil.NoSuchProcess):
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    return []


def _read_cpu_s(pid: int) -> float:
    """Return the CPU seconds of a process and its descendants, ended ones included; 0 for none."""
    total = 0.0
    for process in _list_tree(pid) if pid else []:
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


def _read_memory(pid: int) -> int:
    """Return the memory of a process and its descendants (PSS), in which shared pages count once."""
    total = 0
    for process in _list_tree(pid) if pid else []:
        # A process may end meanwhile. psutil reads all of smaps, which takes 0.1 s for a backend.
        with suppress(OSError):
            text = Path(f"/proc/{process.pid}/smaps_rollup").read_text(encoding="ascii")
            total += 1024 * sum(int(size) for size in _PSS.findall(text))
    return total


def _sum[N: (int, float)](pairs: Iterator[tuple[str, N]]) -> dict[str, N]:
    found: dict[str, N] = {}
    for part, value in pairs:
        found[part] = found[part] + value if part in found else value
    return found


def count_sent_bytes(text: str) -> Counter[str]:
    """Sum the bytes that sockets have sent to other hosts, by flow: `-in` to servers, `-out` from them.

    Args:
        text: The output of `ss -tinH`: two lines for each socket.
    """
    found: Counter[str] = Counter()
    lines = text.splitlines()
    for first, second in pairwise(lines):
        ends = _SOCKET.match(first)
        sent = _SENT.search(second)
        if ends is None or sent is None or ends[1] == ends[3]:
            continue
        if int(ends[4]) in FLOWS:
            found[f"{FLOWS[int(ends[4])]}-in"] += int(sent[1])
        elif int(ends[2]) in FLOWS:
            found[f"{FLOWS[int(ends[2])]}-out"] += int(sent[1])
    return found


async def _list_sockets(machine: Machine) -> str:
    return await _run(*machine.place.launcher, "ss", "-tinH")


async def _run(*words: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    output, errors = await process.communicate()
    if process.returncode:
        raise ClusterError(f"{' '.join(words)}: {errors.decode().strip()}")
    return output.decode()
