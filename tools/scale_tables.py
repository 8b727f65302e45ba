"""Renders the tables of docs/scale.md, and those of your own case.

python -m tools.scale_tables --boxes 250000 --interval 30 --set days=30 --set database.disk=15e12
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from textwrap import fill
from typing import Annotated, Final

import typer

from bench.scale_figures import load_scale_figures
from tools.capacity_tables import format_interval, format_number, format_size
from tools.markdown_tables import render_rows
from tools.scale_assumptions import MachineClass, ScaleAssumptions, change_assumptions
from tools.scale_figures import (
    PARTS,
    LoadData,
    Run,
    compute_rate,
    count_records,
    load_figures,
    load_load_data,
    read_flow,
)
from tools.scale_flows import FITTED_FLOWS, compute_flows
from tools.scale_model import PartCost
from tools.scale_plan import (
    MACHINE_KINDS,
    ScalePlan,
    list_limits,
    plan_installation,
)

BOXES: Final = (10_000, 100_000, 1_000_000, 10_000_000)
INTERVALS_S: Final = (60, 1)

NAMES: Final[Mapping[str, str]] = {
    "nats": "message log (NATS)",
    "postgres-primary": "PostgreSQL, primary",
    "postgres-standby": "PostgreSQL, standbys",
    "mosquitto": "Mosquitto",
    "patroni": "Patroni",
}
_LIMITS: Final[Mapping[str, str]] = {
    "roll-ups": "one process with one connection computes them",
    "disk": "samples and roll-ups of all days on each database machine",
    "primary's CPU": "one PostgreSQL writes",
    "primary's network": "WAL to two standbys",
    "accounts file": "each broker has all accounts, and serves nobody while it reads a changed file",
    "registry in ingest": "each worker holds all boxes in memory",
}
_LINE: Final = 120
_MICRO: Final = 1e6


def plan_cases(given: ScaleAssumptions | None = None) -> list[ScalePlan]:
    """Plan all cases of the guide."""
    figures = load_figures()
    return [
        plan_installation(figures, given or ScaleAssumptions(), boxes, interval)
        for interval in INTERVALS_S
        for boxes in BOXES
    ]


def render_summary() -> str:
    """Render what one cluster carries, and what the largest case needs, in sentences."""
    figures, given = load_figures(), ScaleAssumptions()
    lines = []
    for interval in INTERVALS_S:
        first = list_limits(figures, given, interval)[0]
        plan = plan_installation(figures, given, BOXES[-1], interval)
        text = (
            f"At one message in {format_interval(interval)}, one cluster carries some"
            f" {_round(first.boxes):,} boxes; its first limit is: {first.name}. {BOXES[-1]:,} boxes need"
            f" {plan.clusters:,} clusters, {sum(plan.machines.values()):,} machines and"
            f" {_round(plan.price):,} € a month."
        )
        lines.append(fill(text, _LINE, initial_indent="- ", subsequent_indent="  "))
    return "\n".join([*lines, ""])


def render_machines(plans: Sequence[ScalePlan]) -> str:
    """Render the machines and their price."""
    body = [
        (
            *_format_case(plan),
            f"{plan.clusters:,}",
            *(f"{plan.machines[kind]:,}" if kind in plan.machines else "" for kind in MACHINE_KINDS),
            f"{sum(plan.machines.values()):,}",
            f"{plan.price:,.0f} €",
            f"{plan.first.name}, {plan.load:.0%}",
        )
        for plan in plans
    ]
    head = ("proxy", "three", "three large", "edge", "log", "worker", "database", "all", "a month")
    return render_rows(*("boxes", "interval", "messages/s", "clusters"), *head, "first limit", body=body)


def render_resources(plans: Sequence[ScalePlan]) -> str:
    """Render cores, memory, disk and network."""
    body = [
        (
            *_format_case(plan),
            *(f"{plan.cores[kind]:,.1f}" for kind in ("proxy", "edge", "log", "worker", "database")),
            format_size(plan.memory),
            format_size(plan.database_disk),
            format_size(plan.log_disk),
            *(
                f"{format_size(used)}/s"
                for used in (plan.incoming, plan.outgoing, plan.replication, plan.internal)
            ),
        )
        for plan in plans
    ]
    return render_rows(
        *("boxes", "interval", "messages/s", "cores proxy", "edge", "log", "worker", "database", "memory"),
        *("disk of a replica", "disk of the log", "from boxes", "to boxes", "replication", "other"),
        body=body,
    )


def _format_case(plan: ScalePlan) -> tuple[str, str, str]:
    return f"{plan.boxes:,}", format_interval(round(plan.interval_s)), format_number(plan.rate)


def render_limits() -> str:
    """Render the limits of one cluster."""
    figures, given = load_figures(), ScaleAssumptions()
    found = {
        interval: {limit.name: limit.boxes for limit in list_limits(figures, given, interval)}
        for interval in INTERVALS_S
    }
    body = [
        (name, *(f"{_round(found[interval][name]):,}" for interval in INTERVALS_S), _LIMITS[name])
        for name in sorted(_LIMITS, key=lambda name: found[INTERVALS_S[0]][name])
    ]
    return render_rows(
        "what", *(f"boxes, one message in {format_interval(each)}" for each in INTERVALS_S), "why", body=body
    )


def _round(value: float) -> int:
    """Round to two digits."""
    return int(float(f"{value:.2g}"))


def render_costs() -> str:
    """Render the fitted costs, and those in full batches."""
    load = load_load_data()
    body = [
        (
            NAMES.get(part, part),
            f"{cost.at_rest * 1_000:.1f}",
            f"{cost.record * _MICRO:,.0f}",
            f"{cost.message * _MICRO:.1f}",
            f"{load.full_us[part]:.1f}" if part in load.full_us else "",
        )
        for part, cost in load.parts.items()
    ]
    return render_rows(
        *("part", "at rest (ms/s)", "for each record (µs)", "for each message (µs)", "in full batches (µs)"),
        body=body,
    )


def render_box_costs() -> str:
    """Render what each box costs."""
    figures, measured = load_figures(), load_scale_figures()
    acks = measured["acks"]
    plain, tls = (measured["connections"][kind] for kind in ("plain", "tls"))
    body = [
        (
            "connection to Mosquitto",
            f"{plain['memory_bytes'] / 1024:.1f} KiB",
            f"{plain['connect_us']:,.0f} µs",
        ),
        ("connection by TLS", f"{tls['memory_bytes'] / 1024:.1f} KiB", f"{tls['connect_us']:,.0f} µs"),
        ("message by TLS, more than plain", "", f"{figures.tls_us:.1f} µs"),
        (
            "`ack` message, ingest and Mosquitto",
            "",
            f"{acks['publisher_us']:.1f} µs and {acks['broker_us']:.1f} µs",
        ),
        ("connection through haproxy", f"{figures.proxy_connection_bytes / 1024:.1f} KiB", ""),
        (
            "account, in each broker",
            f"{figures.account_bytes:.0f} B",
            f"{figures.account_reload_us:.1f} µs at each change of an account",
        ),
        (
            "connected box, in its broker",
            "",
            f"{figures.connected_reload_us:.0f} µs at each change of an account",
        ),
        ("registered box, in each ingest process", f"{figures.ingest_box_bytes:,.0f} B", ""),
        ("roll-ups of a sample, in PostgreSQL", "", f"{figures.rollup_us:.1f} µs"),
        ("delivery", "", f"{sum(figures.deliver_us):,.0f} µs"),
        ("call of the API (`/v1/sites`)", "", f"{sum(figures.api_us):,.0f} µs"),
    ]
    return render_rows("what", "memory", "CPU", body=body)


def _format_connection(measured: Mapping[str, float]) -> tuple[str, str]:
    return f"{measured['memory_bytes'] / 1024:.1f} KiB", f"{measured['connect_us']:,.0f} µs"


def render_runs() -> str:
    """Render what was measured."""
    load = load_load_data()
    body = [
        (
            f"{compute_rate(run):,.0f}",
            f"{count_records(run):,.0f}",
            *(f"{run['cpu_s'][part] / run['seconds'] * 1_000:,.0f}" for part in PARTS),
            f"{sum(run['cpu_s'].values()) / run['seconds'] * 1_000:,.0f}",
        )
        for run in load.runs
    ]
    head = ("messages/s", "records/s")
    return render_rows(*head, *(NAMES.get(part, part) for part in PARTS), "all", body=body)


def check_model(load: LoadData) -> list[tuple[str, float, float]]:
    """Compare the model with the run that is not fitted: part, model, measured (CPU seconds a second)."""
    run = load.check
    rate, seconds = compute_rate(run), run["seconds"]
    found = [
        (part, cost.compute(rate, count_records(run)), run["cpu_s"][part] / seconds)
        for part, cost in load.parts.items()
    ]
    return [*found, ("all", sum(row[1] for row in found), sum(row[2] for row in found))]


def compute_most_cores(load: LoadData) -> float:
    """Compute the CPU of all parts in that run with the most records that there can be."""
    rate = compute_rate(load.check)
    return sum(cost.compute(rate, load.shape.count_records(rate)) for cost in load.parts.values())


def check_flows(
    run: Run, flows: Mapping[str, PartCost], stored_bytes: float
) -> list[tuple[str, float, float]]:
    """Compare the model's bytes a second with those of a run: flow, model, measured."""
    rate, seconds = compute_rate(run), run["seconds"]
    found = [
        (flow, flows[flow].compute(rate, count_records(run)), read_flow(run, flow) / seconds)
        for flow in ("mqtt-in", "mqtt-out", *FITTED_FLOWS)
    ]
    return [("database", rate * stored_bytes, run["database_bytes"] / seconds), *found]


def render_check() -> str:
    """Render the comparison of the model with its check."""
    load = load_load_data()
    cores = [
        (
            NAMES.get(part, part),
            f"{model * 1_000:,.0f} ms/s",
            f"{used * 1_000:,.0f} ms/s",
            _ratio(model, used),
        )
        for part, model, used in check_model(load)
    ]
    cores[-1] = ("**CPU of all parts**", *cores[-1][1:])
    most, used = compute_most_cores(load), check_model(load)[-1][2]
    cores.append(
        (
            "CPU of all parts, with the most records",
            f"{most * 1_000:,.0f} ms/s",
            f"{used * 1_000:,.0f} ms/s",
            _ratio(most, used),
        )
    )
    stored = ScaleAssumptions().readings * load_figures().reading_bytes
    flows = compute_flows(load.flows, stored)
    sizes = [
        (f"bytes: {name}", f"{format_size(model)}/s", f"{format_size(used)}/s", _ratio(model, used))
        for name, model, used in check_flows(load.check, flows, stored)
    ]
    return render_rows("part", "model", "measured", "ratio", body=[*cores, *sizes])


def _ratio(model: float, used: float) -> str:
    return f"{model / used:.2f}" if used else ""


def render_assumptions() -> str:
    """Render the assumptions, with the options that change them."""
    given = ScaleAssumptions()
    body = []
    for each in fields(given):
        value = getattr(given, each.name)
        if isinstance(value, MachineClass):
            text = (
                f"{value.cores} cores, {value.memory / 2**30:.0f} GiB, {format_size(value.disk)}:"
                f" {value.price:,.0f} € a month"
            )
        else:
            text = (
                f"{value:,}" if isinstance(value, int | float) and not isinstance(value, bool) else str(value)
            )
        body.append((f"`{each.name}`", text, _MEANINGS[each.name]))
    return render_rows("assumption", "value", "what", body=body)


_MEANINGS: Final[Mapping[str, str]] = {
    "date": "when the prices were assumed",
    "days": "days for which samples and roll-ups are stored",
    "readings": "values of a sample",
    "headroom": "a machine has so many times the computed CPU and network",
    "disk_fill": "the share of a disk, and of a machine's memory, that may be used",
    "tls": "whether boxes connect by TLS",
    "alerts_a_day": "alerts of a box a day",
    "deliveries": "deliveries of an alert: firing and resolved, to one webhook",
    "calls_an_hour": "calls of the API for each box an hour",
    "reload_s": "how long a changed accounts file may keep a broker from serving boxes (s)",
    "local_ports": "connections of a proxy to one broker: the local ports that Linux uses by default",
    "envelope": "bytes on the wire for each byte of content: headers of TCP and IP, and TLS",
    "batch_delay_s": "how long an edge gathers messages (`VIGIE_EDGE__BATCH_DELAY_MS`)",
    "network_bits": "network of a machine (bits/s)",
    "proxy": "machines of haproxy",
    "worker": "machines of brokers, log and workers, and each of *three*",
    "database": "machines of PostgreSQL, and each of *three large*",
}


SCALE_TABLES: Final[Mapping[str, Callable[[], str]]] = {
    "scale-summary": render_summary,
    "scale-machines": lambda: render_machines(plan_cases()),
    "scale-resources": lambda: render_resources(plan_cases()),
    "scale-limits": render_limits,
    "scale-costs": render_costs,
    "scale-box-costs": render_box_costs,
    "scale-runs": render_runs,
    "scale-check": render_check,
    "scale-assumptions": render_assumptions,
}
"""The tables of docs/scale.md, by name."""


def main(
    *,
    boxes: Annotated[int, typer.Option(min=1, help="Connected boxes")],
    interval: Annotated[float, typer.Option(min=0.001, help="Seconds between two messages of a box")] = 60.0,
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="An assumption, such as days=30 or database.disk=15e12")
    ] = None,
) -> None:
    """Plan an installation from the measured figures."""
    try:
        given = change_assumptions(ScaleAssumptions(), changes or ())
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    plan = plan_installation(load_figures(), given, boxes, interval)
    typer.echo(f"{render_machines([plan])}\n\n{render_resources([plan])}")


if __name__ == "__main__":
    typer.run(main)
