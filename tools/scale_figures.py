"""Loads the figures of docs/scale.md: those of docs/scale.json, and some of docs/performance.md."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from bench.scale_figures import load_scale_figures
from tools.capacity_tables import ROLLUP_BYTES, load_performance, read_figures, read_row
from tools.scale_flows import FITTED_FLOWS, compute_least_flows
from tools.scale_model import CHECK_RATE, WITH_RECORDS, ClusterShape, PartCost, fit_part
from tools.scale_plan import ScaleFigures

PARTS: Final = (
    *("haproxy", "mosquitto", "edge", "nats", "ingest", "postgres-primary", "postgres-standby"),
    *("api", "deliver", "maintain", "patroni", "etcd"),
)
"""The parts of a cluster, in the order of a message."""

_DRAINED: Final = ("mosquitto", "edge", "nats", "ingest", "postgres-primary")

type Run = Mapping[str, Any]
"""A run of `bench.cluster_load`: the fields of its `LoadRun`."""


class LoadData:
    """The runs of `bench.cluster_load`, and the costs fitted to them.

    Args:
        data: The part `cluster` of docs/scale.json.
        acks: The part `acks`.
        performance: The Markdown of docs/performance.md, which has the costs in full batches.
    """

    def __init__(self, data: Mapping[str, Any], acks: Mapping[str, float], performance: str) -> None:
        machines = int(data["machines"])
        self.measured = str(data["measured"])
        self.shape = ClusterShape(machines, machines, int(data["partitions"]), float(data["batch_delay_s"]))
        self.runs: Sequence[Run] = data["runs"]
        self.check = next(run for run in self.runs if run["wanted_per_s"] == CHECK_RATE)
        self.at_rest = next(run for run in self.runs if not run["wanted_per_s"])
        drained = read_row(performance, "edge, log, one worker")
        self.full_us = dict(zip(_DRAINED, drained[2:], strict=True))
        """CPU of a message in full batches, with its `ack` message (µs)."""
        self.full_us["ingest"] += acks["publisher_us"]
        self.full_us["mosquitto"] += acks["broker_us"]
        self.parts = {
            part: self._fit(
                _read_cpu(part),
                counts=part in WITH_RECORDS,
                least=self.full_us.get(part, 0.0) / 1e6,
            )
            for part in PARTS
        }
        least = compute_least_flows()
        self.flows = {
            flow: self._fit(partial(read_flow, flow=flow), counts=True, least=least[flow])
            for flow in FITTED_FLOWS
        }
        """Bytes a second of each fitted flow."""

    def _fit(self, read: Callable[[Run], float], *, counts: bool, least: float) -> PartCost:
        points = [
            (count_records(run), compute_rate(run), read(run) / run["seconds"])
            for run in self.runs
            if run["wanted_per_s"] != CHECK_RATE and (run["wanted_per_s"] or not counts)
        ]
        at_rest = read(self.at_rest) / self.at_rest["seconds"] if counts else None
        return fit_part(points, at_rest=at_rest, least=least)


def compute_rate(run: Run) -> float:
    """Return the messages a second of a run."""
    return float(run["messages"] / run["seconds"])


def count_records(run: Run) -> float:
    """Return the records a second of a run."""
    return float(run["records"] / run["seconds"])


def read_flow(run: Run, flow: str) -> float:
    """Return the bytes of a flow of `tools.scale_flows` in a run."""
    written = {"log": run["log_bytes"], "wal": run["wal_bytes"]}
    sent = sum(size for name, size in run["sent_bytes"].items() if name.startswith(flow))
    return float(written.get(flow, sent))


def _read_cpu(part: str) -> Callable[[Run], float]:
    return lambda run: float(run["cpu_s"][part])


def load_load_data() -> LoadData:
    """Load the runs of the present file."""
    figures = load_scale_figures()
    return LoadData(figures["cluster"], figures["acks"], load_performance())


def load_figures() -> ScaleFigures:
    """Load the figures of the present files."""
    return read_scale_figures(load_load_data(), load_scale_figures(), load_performance())


def read_scale_figures(load: LoadData, figures: Mapping[str, Any], performance: str) -> ScaleFigures:
    """Read the figures.

    Args:
        load: The runs of `bench.cluster_load`.
        figures: All parts of docs/scale.json.
        performance: The Markdown of docs/performance.md.
    """
    single = read_figures(performance)
    deliver = read_row(performance, "(g) **Vigie deliver**")
    api = read_row(performance, "`/v1/sites` | Vigie")
    accounts, registered = figures["accounts"]["files"], figures["registered"]["ingest"]
    plain, tls = figures["connections"]["plain"], figures["connections"]["tls"]
    few, many = (row for row in accounts if not row["connected"])
    busy = next(row for row in accounts if row["connected"])
    roles = {
        role: read_row(performance, role)[0] * 2**20 for role in ("api", "ingest", "deliver", "maintain")
    }
    return ScaleFigures(
        shape=load.shape,
        parts=load.parts,
        flows=load.flows,
        memory={**roles, "edge": roles["ingest"], "mosquitto": single.broker_bytes},
        connection_bytes=(plain["memory_bytes"], tls["memory_bytes"]),
        proxy_connection_bytes=figures["connections"]["proxy_bytes"],
        tls_us=max(0.0, tls["publish_us"] - plain["publish_us"]),
        account_bytes=_find_slope((few, many), "accounts", "memory_bytes"),
        account_reload_us=_find_slope((few, many), "accounts", "reload_s") * 1e6,
        connected_reload_us=(busy["reload_s"] - few["reload_s"]) / busy["connected"] * 1e6,
        ingest_box_bytes=_find_slope(registered, "boxes", "memory_bytes"),
        reading_bytes=single.disk_bytes,
        rollup_bytes=ROLLUP_BYTES,
        rollup_us=single.rollup_us,
        deliver_us=(deliver[1], deliver[2]),
        api_us=(api[1], api[3]),
    )


def _find_slope(rows: Sequence[Mapping[str, float]], by: str, of: str) -> float:
    """Return how much a figure grows for each box, between the smallest and the largest number."""
    first, last = rows[0], rows[-1]
    return (last[of] - first[of]) / (last[by] - first[by])
