"""`python -m bench`: measures, prints, and writes docs/performance.md with its picture."""

import asyncio
import platform
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Final

import asyncpg
import typer
import uvloop

from app.standalone import private_mosquitto
from bench import (
    api_calls,
    backtests,
    cluster,
    console,
    delay,
    deliveries,
    exports,
    fleet,
    http_door,
    neighbour,
    recovery,
    sections,
    sensorthings,
    series,
    stream_subscribers,
)
from bench.measure import describe_machine
from bench.plot import draw
from bench.process import FailedError
from bench.report import BenchReport, drains_table, ratios_table, render_report, replace_section
from bench.stack import BenchStack, stack
from bench.suite import BenchPlan, compare_consumers, format_drain, measure_fleet_sizes, measure_rule_kinds
from simulators.rest_client import ApiError, UnreachableError

_DOCS: Final = Path(__file__).parent.parent / "docs"
_LONG: Final = 1_000_000
_PART_WITHIN_S: Final = 240.0
_PACKAGES: Final = ("mqtt5", "aiomqtt", "asyncpg", "msgspec", "mq-bridge")


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


async def _versions(running: BenchStack) -> dict[str, str]:
    connection = await asyncpg.connect(running.postgres.url)
    try:
        server = await connection.fetchval("SHOW server_version")
        timescale = await connection.fetchval(
            "SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'"
        )
    finally:
        await connection.close()
    broker = private_mosquitto.find_mosquitto()
    numbers = () if broker is None else private_mosquitto.read_mosquitto_version(broker)
    return {
        "Python": platform.python_version(),
        "PostgreSQL": str(server).split()[0],
        "TimescaleDB": str(timescale),
        "Mosquitto": ".".join(map(str, numbers)),
        **{name: version(name) for name in _PACKAGES},
        "Linux": platform.release(),
    }


async def _further(running: BenchStack, plan: BenchPlan, *, long: bool) -> list[str]:
    """Measure the sections after the comparison. The report names one that fails, and the others continue."""

    async def scaled() -> str:
        return sections.scale_section(await measure_fleet_sizes(running, plan, _say))

    async def by_kind() -> str:
        return sections.kinds_section(await measure_rule_kinds(running, plan, _say))

    async def delayed() -> str:
        delays = await delay.measure(running)
        _say(delays.line())
        return sections.delay_section(delays)

    async def recovered() -> str:
        found = await recovery.measure(running, plan, messages=_LONG)
        _say(format_drain(found.drain))
        return sections.recovery_section(found)

    async def connected() -> str:
        return sections.fleet_section(await fleet.measure(running))

    parts: dict[str, Callable[[], Awaitable[str]]] = {
        "Boxes and rules": scaled,
        "Kinds of rules": by_kind,
        "From publish to webhook": delayed,
        sections.HTTP: partial(_http, running),
        sections.BACKTESTS: partial(_backtests, running),
        sections.DELIVERIES: partial(_deliveries, running),
        sections.API_CALLS: partial(_api_calls, running),
        sections.NEIGHBOUR: partial(_neighbour, running),
        sections.EXPORTS: partial(_exports, running),
    }
    if long:
        parts["A long absence"] = recovered
    # The last one: it leaves its accounts in the broker's file.
    parts[sections.FLEET] = connected
    texts = []
    for title, part in parts.items():
        try:
            async with asyncio.timeout(_PART_WITHIN_S * plan.repeat):
                texts.append(await part())
        except (FailedError, ApiError, UnreachableError, OSError, TimeoutError) as error:
            _say(f"{title}: {error!r}")
            texts.append(sections.failed_section(title, error))
    return texts


async def _run(plan: BenchPlan, *, only_drains: bool, long: bool) -> BenchReport:
    async with stack() as running:
        versions = await _versions(running)
        drains = await compare_consumers(running, plan, _say)
        print(f"\n{drains_table(drains)}\n{ratios_table(drains)}", flush=True)
        further = [] if only_drains else await _further(running, plan, long=long)
    return BenchReport(
        plan, datetime.now(UTC).date().isoformat(), describe_machine(), versions, drains, further
    )


async def _backtests(running: BenchStack, measured: str | None = None) -> str:
    tried = await backtests.measure(running)
    for each in tried:
        _say(each.line())
    return sections.backtests_section(tried, measured)


async def _deliveries(running: BenchStack, measured: str | None = None) -> str:
    sent = await deliveries.measure_delivery_rates(running)
    for each in sent:
        _say(each.line())
    beside = await deliveries.compare_endpoint_delays(running)
    for other in beside:
        _say(f"beside {other.others}: p50 {other.at(0.5):.1f} ms, p99 {other.at(0.99):.1f} ms")
    return sections.deliveries_section(sent, beside, measured)


async def _http(running: BenchStack, measured: str | None = None) -> str:
    rates = await http_door.measure(running)
    for each in rates:
        _say(each.line())
    return sections.http_section(rates, measured)


async def _neighbour(running: BenchStack, measured: str | None = None) -> str:
    # Few rounds and one process in a full run, to keep it short.
    if measured is None:
        found = await neighbour.measure(running, rounds=2)
    else:
        found = await neighbour.measure(running, rounds=5, workers=(1, 2))
    for case, watched in found.items():
        _say(f"{case.name}: p50 {watched.at(0.5):.1f} ms, p99 {watched.at(0.99):.1f} ms")
    return sections.neighbour_section(found, measured)


async def _api_calls(running: BenchStack, measured: str | None = None) -> str:
    # Short in a full run, and with one process only.
    if measured is None:
        found = await api_calls.measure(running, seconds=2.0, rounds=1)
    else:
        found = await api_calls.measure(running, workers=(1, 4))
    for row in api_calls.tabulate(found):
        _say(", ".join(f"{name} {cell}" for name, cell in zip(api_calls.HEAD, row, strict=True)))
    return sections.api_calls_section(found, measured)


async def _series(running: BenchStack, measured: str | None = None) -> str:
    found = await series.measure(running)
    for each in found.reads:
        _say(f"{each.name}: p50 {each.at('whole', 0.5):.1f} ms, p99 {each.at('whole', 0.99):.1f} ms")
    return sections.series_section(found, measured)


async def _sensorthings(running: BenchStack, measured: str) -> str:
    found = await sensorthings.measure(running)
    for each in found.calls:
        _say(", ".join(each.row()))
    return sections.sensorthings_section(found, measured)


async def _console(running: BenchStack, measured: str) -> str:
    found = await console.measure(running)
    for row in (*(page.row() for page in found.pages), *found.rows()):
        _say(", ".join(row))
    return sections.console_section(found, measured)


async def _exports(running: BenchStack, measured: str | None = None) -> str:
    # Few samples in a full run, to keep it short.
    found = await exports.measure(running, samples=100_000 if measured is None else exports.SAMPLES)
    for each in found.made:
        _say(each.line())
    return sections.exports_section(found, measured)


async def _fleet(boxes: int, running: BenchStack, measured: str) -> str:
    return sections.fleet_section(await fleet.measure(running, boxes=boxes), measured)


async def _cluster(plan: BenchPlan, running: BenchStack, measured: str) -> str:
    return sections.cluster_section(await cluster.measure(running, plan, _say), measured)


async def _subscribers(plan: BenchPlan, running: BenchStack, measured: str) -> str:
    return sections.subscribers_section(await stream_subscribers.measure(running, plan, _say), measured)


async def _alone(part: Callable[[BenchStack, str], Awaitable[str]]) -> str:
    """Measure one section separately."""
    async with stack() as running:
        return await part(running, f"{datetime.now(UTC).date().isoformat()}: {describe_machine()}")


def main(
    *,
    messages: Annotated[int, typer.Option(min=1_000, help="Messages in the backlog")] = 200_000,
    boxes: Annotated[int, typer.Option(min=4, help="Boxes that sent the backlog")] = 1_000,
    repeat: Annotated[int, typer.Option(min=1, help="Runs per consumer; the report shows medians")] = 1,
    competitors: Annotated[str, typer.Option(help="Consumers to compare, of a to f")] = "abcdef",
    seed: Annotated[int, typer.Option(help="Seed of the values")] = 1,
    docs: Annotated[Path, typer.Option(help="Folder for performance.md and img/")] = _DOCS,
    only_drains: Annotated[bool, typer.Option("--only-drains", help="Only compare the consumers")] = False,
    only_fleet: Annotated[int, typer.Option(min=0, help="Only connect this many boxes")] = 0,
    only_backtests: Annotated[
        bool, typer.Option("--only-backtests", help="Only back-test rules on a year of samples")
    ] = False,
    only_deliveries: Annotated[bool, typer.Option("--only-deliveries", help="Only deliver webhooks")] = False,
    only_http: Annotated[bool, typer.Option("--only-http", help="Only send samples by HTTP")] = False,
    only_api: Annotated[
        bool,
        typer.Option("--only-api", help="Only measure calls beside a bare FastAPI application"),
    ] = False,
    only_neighbour: Annotated[
        bool, typer.Option("--only-neighbour", help="Only measure a tenant beside another one at its limit")
    ] = False,
    only_exports: Annotated[
        bool, typer.Option("--only-exports", help="Only export a million samples")
    ] = False,
    only_series: Annotated[
        bool, typer.Option("--only-series", help="Only read series of ten million samples")
    ] = False,
    only_sensorthings: Annotated[
        bool, typer.Option("--only-sensorthings", help="Only read ten million samples by SensorThings")
    ] = False,
    only_console: Annotated[
        bool, typer.Option("--only-console", help="Only measure the console, in Chromium too")
    ] = False,
    only_cluster: Annotated[
        bool, typer.Option("--only-cluster", help="Only drain through edge and log, and with a standby")
    ] = False,
    only_subscribers: Annotated[
        bool, typer.Option("--only-subscribers", help="Only drain beside subscribers of measurements")
    ] = False,
    long: Annotated[bool, typer.Option("--long", help="Also drain a backlog of a million messages")] = False,
) -> None:
    """Compare Vigie's ingest with other consumers on private services; takes up to ten minutes by default."""
    plan = BenchPlan(messages, boxes, repeat, "".join(sorted(set(competitors) & set("abcdef"))), seed)
    parts: Sequence[tuple[int, Callable[[BenchStack, str], Awaitable[str]]]] = (
        (only_fleet, partial(_fleet, only_fleet)),
        (only_backtests, _backtests),
        (only_deliveries, _deliveries),
        (only_http, _http),
        (only_api, _api_calls),
        (only_neighbour, _neighbour),
        (only_exports, _exports),
        (only_series, _series),
        (only_sensorthings, _sensorthings),
        (only_console, _console),
        (only_cluster, partial(_cluster, plan)),
        (only_subscribers, partial(_subscribers, plan)),
    )
    alone = next((part for is_chosen, part in parts if is_chosen), None)
    if alone is not None:
        section = uvloop.run(_alone(alone))
        path = docs / "performance.md"
        path.write_text(replace_section(path.read_text(encoding="utf-8"), section), encoding="utf-8")
        print(f"\n{section}\nWritten: {path}")
        return
    report = uvloop.run(_run(plan, only_drains=only_drains, long=long))
    text = render_report(report)
    docs.mkdir(parents=True, exist_ok=True)
    (docs / "performance.md").write_text(text, encoding="utf-8")
    draw(report.drains, docs / "img" / "performance.svg")
    print(f"\n{text}\nWritten: {docs / 'performance.md'}")


if __name__ == "__main__":
    typer.run(main)
