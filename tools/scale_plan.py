"""Plans an installation: clusters of PostgreSQL, machines of each kind, disk, network and money. Pure.

A cluster is a whole Vigie: brokers with edges, a message log, workers, and one PostgreSQL with two standbys.
What one of them does not carry is divided among several by organisation.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from tools.scale_assumptions import ScaleAssumptions
from tools.scale_flows import compute_flows
from tools.scale_model import ClusterShape, PartCost

MACHINE_KINDS: Final = ("proxy", "three", "three-large", "edge", "log", "worker", "database")
"""The kinds of machines, in the order of a message."""

DAY_S: Final = 86_400
_MICRO: Final = 1e-6
_MOST_BOXES: Final = 1 << 40
_REPLICAS: Final = 3
_MOST_PARTITIONS: Final = 256
_LEAST_PARTITIONS: Final = 12


@dataclass(frozen=True, slots=True)
class ScaleFigures:
    """The measured figures.

    Attributes:
        shape: The cluster that was measured.
        parts: CPU by part of all three machines.
        flows: Bytes a second by fitted flow.
        memory: Memory at rest of one process of a part (bytes); an edge has as much as an ingest process.
        connection_bytes: Memory of the broker for a connection, plain and by TLS.
        proxy_connection_bytes: Memory of haproxy for a connection.
        tls_us: CPU that TLS adds to a message at the broker (µs).
        account_bytes: Memory of each broker for an account.
        account_reload_us: How long a changed accounts file stops a broker, for each account (µs).
        connected_reload_us: The same for each box that is connected to it, whose password it checks (µs).
        ingest_box_bytes: Memory of each ingest process for a box.
        reading_bytes: Disk of a reading.
        rollup_bytes: Disk of the roll-ups of a box, a metric and a day.
        rollup_us: CPU of PostgreSQL for the roll-ups of a sample (µs).
        deliver_us: CPU of `vigie deliver` and of PostgreSQL for a delivery (µs).
        api_us: CPU of the API and of PostgreSQL for a call (µs).
    """

    shape: ClusterShape
    parts: Mapping[str, PartCost]
    flows: Mapping[str, PartCost]
    memory: Mapping[str, float]
    connection_bytes: tuple[float, float]
    proxy_connection_bytes: float
    tls_us: float
    account_bytes: float
    account_reload_us: float
    connected_reload_us: float
    ingest_box_bytes: float
    reading_bytes: float
    rollup_bytes: float
    rollup_us: float
    deliver_us: tuple[float, float]
    api_us: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit of one cluster.

    Attributes:
        name: The part.
        boxes: The most boxes.
    """

    name: str
    boxes: float


@dataclass(frozen=True, slots=True)
class ScalePlan:
    """An installation for a number of boxes.

    Attributes:
        boxes: All boxes.
        interval_s: Seconds between two messages of a box.
        clusters: Clusters, each with one PostgreSQL and its standbys.
        machines: Machines by kind, of all clusters.
        cores: Cores that are used, by kind, of all clusters, without headroom.
        memory: Memory of Vigie's processes, of Mosquitto and of connections (bytes).
        database_disk: Disk of samples and roll-ups, of one replica (bytes).
        log_disk: Disk of the message log, of all replicas, for an hour.
        incoming: From the boxes (bytes/s).
        outgoing: To the boxes (bytes/s).
        replication: Between machines for replicas: message log and WAL (bytes/s).
        internal: Between machines for everything else, haproxy among them (bytes/s).
        price: Euros a month.
        limits: The limits of a cluster, the smallest first.
    """

    boxes: int
    interval_s: float
    clusters: int
    machines: Mapping[str, int]
    cores: Mapping[str, float]
    memory: float
    database_disk: float
    log_disk: float
    incoming: float
    outgoing: float
    replication: float
    internal: float
    price: float
    limits: tuple[Limit, ...]

    @property
    def rate(self) -> float:
        """Messages a second."""
        return self.boxes / self.interval_s

    @property
    def first(self) -> Limit:
        """The part that saturates first."""
        return self.limits[0]

    @property
    def load(self) -> float:
        """The share of that part's limit that is used in each cluster."""
        return self.boxes / self.clusters / self.first.boxes


@dataclass(frozen=True, slots=True)
class _Cluster:
    """The processes of one cluster.

    Attributes:
        boxes: Its boxes.
        rate: Its messages a second.
        proxies: Its haproxies.
        shape: Its brokers, workers and partitions.
    """

    boxes: float
    rate: float
    proxies: int
    shape: ClusterShape


def _make_cluster(
    figures: ScaleFigures, given: ScaleAssumptions, boxes: float, interval_s: float
) -> _Cluster:
    """Choose the number of processes: a broker, an edge and a worker use one core at most."""
    rate = boxes / interval_s
    parts = figures.parts
    tls_s = figures.tls_us * _MICRO if given.tls else 0.0
    proxy_cores = given.headroom * rate * parts["haproxy"].message
    proxies = max(
        2,
        math.ceil(proxy_cores / given.proxy.cores),
        math.ceil(boxes * figures.proxy_connection_bytes / (given.proxy.memory * given.disk_fill)),
    )
    broker_s = max(parts["mosquitto"].message + tls_s, parts["edge"].message)
    edges = max(
        _REPLICAS,
        math.ceil(given.headroom * rate * broker_s),
        math.ceil(boxes / proxies / given.local_ports),
        math.ceil(boxes * figures.connected_reload_us * _MICRO / (given.reload_s / 2)),
    )
    workers = max(_REPLICAS, math.ceil(given.headroom * rate * parts["ingest"].message))
    partitions = min(_MOST_PARTITIONS, max(_LEAST_PARTITIONS, 2 * workers))
    return _Cluster(boxes, rate, proxies, ClusterShape(edges, workers, partitions, given.batch_delay_s))


def _compute(cost: PartCost, one: _Cluster) -> float:
    return cost.compute(one.rate, one.shape.count_records(one.rate))


def _compute_flows(figures: ScaleFigures, given: ScaleAssumptions, one: _Cluster) -> dict[str, float]:
    """Compute the bytes a second of each flow of a cluster."""
    flows = compute_flows(figures.flows, given.readings * figures.reading_bytes)
    return {name: _compute(cost, one) for name, cost in flows.items()}


def _compute_cores(figures: ScaleFigures, given: ScaleAssumptions, one: _Cluster) -> dict[str, float]:
    """Compute the cores that each kind of machine of a cluster uses; `primary` is a part of `database`."""

    def use(part: str, processes: float = 1.0) -> float:
        cost = figures.parts[part]
        return _compute(cost, one) + (processes - 1) * cost.at_rest

    # The figures at rest are those of as many processes as were measured.
    edges = one.shape.edges / figures.shape.edges
    workers = one.shape.workers / figures.shape.workers
    deliveries = one.boxes * given.alerts_a_day * given.deliveries / DAY_S
    calls = one.boxes * given.calls_an_hour / 3_600
    tls = one.rate * figures.tls_us * _MICRO if given.tls else 0.0
    more = (
        one.rate * figures.rollup_us + deliveries * figures.deliver_us[1] + calls * figures.api_us[1]
    ) * _MICRO
    primary = use("postgres-primary") + more
    return {
        "proxy": use("haproxy"),
        "edge": use("mosquitto", edges) + use("edge", edges) + tls,
        "log": use("nats"),
        "worker": use("ingest", workers)
        + sum(map(use, ("api", "deliver", "maintain")))
        + (deliveries * figures.deliver_us[0] + calls * figures.api_us[0]) * _MICRO,
        "database": primary + use("postgres-standby") + use("patroni") + use("etcd"),
        "primary": primary,
    }


def _compute_disk(figures: ScaleFigures, given: ScaleAssumptions, boxes: float, interval_s: float) -> float:
    """Compute the disk of samples and roll-ups of one replica (bytes)."""
    samples = given.days * DAY_S / interval_s
    return boxes * given.readings * (samples * figures.reading_bytes + given.days * figures.rollup_bytes)


def _find_most(holds: Callable[[float], bool]) -> float:
    """Return the most boxes for which a condition holds, to a thousandth."""
    low, high = 0.0, float(_MOST_BOXES)
    while high - low > max(1.0, low / 1_000):
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def list_limits(figures: ScaleFigures, given: ScaleAssumptions, interval_s: float) -> tuple[Limit, ...]:
    """List the limits of one cluster, the smallest first."""

    def fits_primary(boxes: float) -> bool:
        one = _make_cluster(figures, given, boxes, interval_s)
        return given.headroom * _compute_cores(figures, given, one)["primary"] <= given.database.cores

    def fits_network(boxes: float) -> bool:
        one = _make_cluster(figures, given, boxes, interval_s)
        wal = _compute_flows(figures, given, one)["wal"] * (_REPLICAS - 1) * given.envelope
        return given.headroom * 8 * wal <= given.network_bits

    room = given.database.disk * given.disk_fill
    found = (
        Limit("roll-ups", interval_s / (given.headroom * figures.rollup_us * _MICRO)),
        Limit("disk", room / _compute_disk(figures, given, 1, interval_s)),
        Limit("primary's CPU", _find_most(fits_primary)),
        Limit("primary's network", _find_most(fits_network)),
        Limit("accounts file", given.reload_s / 2 / (figures.account_reload_us * _MICRO)),
        Limit("registry in ingest", given.worker.memory * given.disk_fill / figures.ingest_box_bytes),
    )
    return tuple(sorted(found, key=lambda limit: limit.boxes))


def _compute_memory(figures: ScaleFigures, given: ScaleAssumptions, one: _Cluster) -> dict[str, float]:
    """Compute the memory of Vigie's processes, of Mosquitto and of connections (bytes)."""
    memory, shape = figures.memory, one.shape
    connections = one.boxes * figures.connection_bytes[given.tls]
    accounts = shape.edges * one.boxes * figures.account_bytes
    roles = sum(memory[role] for role in ("api", "deliver", "maintain"))
    return {
        "proxy": one.boxes * figures.proxy_connection_bytes,
        "edge": shape.edges * (memory["mosquitto"] + memory["edge"]) + connections + accounts,
        "log": 0.0,
        "worker": shape.workers * (memory["ingest"] + one.boxes * figures.ingest_box_bytes)
        + _REPLICAS * roles,
        "database": 0.0,
    }


def plan_installation(
    figures: ScaleFigures, given: ScaleAssumptions, boxes: int, interval_s: float
) -> ScalePlan:
    """Plan an installation for a number of boxes."""
    limits = list_limits(figures, given, interval_s)
    clusters = max(1, math.ceil(boxes / limits[0].boxes))
    one = _make_cluster(figures, given, boxes / clusters, interval_s)
    cores = _compute_cores(figures, given, one)
    memory = _compute_memory(figures, given, one)
    disk = _compute_disk(figures, given, one.boxes, interval_s)
    flows = _compute_flows(figures, given, one)
    log_disk = _REPLICAS * flows["log"] * 3_600
    machines = _choose_machines(given, one, cores, memory, disk + log_disk / _REPLICAS)
    replication = flows["log-replication"] + (_REPLICAS - 1) * flows["wal"]
    prices = compute_prices(given)
    price = sum(count * prices[kind] for kind, count in machines.items())
    del cores["primary"]
    return ScalePlan(
        boxes=boxes,
        interval_s=interval_s,
        clusters=clusters,
        machines={kind: clusters * count for kind, count in machines.items()},
        cores={kind: clusters * used for kind, used in cores.items()},
        memory=clusters * sum(memory.values()),
        database_disk=clusters * disk,
        log_disk=clusters * log_disk,
        incoming=clusters * flows["mqtt-in"] * given.envelope,
        outgoing=clusters * flows["mqtt-out"] * given.envelope,
        replication=clusters * replication * given.envelope,
        internal=clusters * flows["internal"] * given.envelope,
        price=clusters * price,
        limits=limits,
    )


def compute_prices(given: ScaleAssumptions) -> dict[str, float]:
    """Return the price of a machine by kind."""
    large = dict.fromkeys(("database", "three-large"), given.database.price)
    return {**dict.fromkeys(MACHINE_KINDS, given.worker.price), **large, "proxy": given.proxy.price}


def _choose_machines(
    given: ScaleAssumptions,
    one: _Cluster,
    cores: Mapping[str, float],
    memory: Mapping[str, float],
    disk: float,
) -> dict[str, int]:
    """Choose machines: three for everything but haproxy, as long as that fits; otherwise of each kind."""
    inside = [kind for kind in cores if kind not in {"proxy", "primary"}]
    others = sum(cores[kind] for kind in inside) - cores["primary"]
    busiest = given.headroom * (cores["primary"] + others / _REPLICAS)
    most = sum(memory[kind] for kind in inside) / _REPLICAS
    for kind, machine in (("three", given.worker), ("three-large", given.database)):
        # Half of the memory is PostgreSQL's buffers and the cache of the operating system.
        if (
            busiest <= machine.cores
            and most <= machine.memory / 2
            and disk <= machine.disk * given.disk_fill
            and one.shape.edges <= _REPLICAS
        ):
            return {"proxy": one.proxies, kind: _REPLICAS}

    def count(kind: str, least: int) -> int:
        machine = given.worker
        return max(
            least,
            math.ceil(given.headroom * cores[kind] / machine.cores),
            math.ceil(memory[kind] / (machine.memory * given.disk_fill)),
        )

    return {
        "proxy": one.proxies,
        "edge": count("edge", _REPLICAS),
        "log": count("log", _REPLICAS),
        "worker": count("worker", _REPLICAS),
        "database": _REPLICAS,
    }
