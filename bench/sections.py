"""Renders the further sections of the report, each Markdown with its heading. Pure."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from bench import (
    api_calls,
    backtests,
    console,
    deliveries,
    exports,
    http_door,
    neighbour,
    recovery,
    sensorthings,
    series,
)
from bench.api_calls import CallRate
from bench.backtests import BacktestRun
from bench.cluster import ClusterResults, find_ratio, sum_cpu_us
from bench.delay import AlertDelays
from bench.deliveries import DeliveryRun, EndpointDelays
from bench.exports import ExportResults
from bench.fleet import FleetArrival, FleetResult
from bench.fleet_box import LONGEST_WAIT_S
from bench.http_door import HttpRate
from bench.neighbour import Found
from bench.recovery import RecoveryRun
from bench.report import render_table, wrap_prose
from bench.results import DrainResult, middle, percentile
from bench.stream_subscribers import SubscribedDrain
from bench.suite import FleetSize


def scale_section(found: Sequence[tuple[FleetSize, DrainResult]]) -> str:
    """Render the rate of (e) by numbers of boxes and rules."""
    rows = [
        [
            f"{size.boxes:,} boxes, {size.rules:,} rules ({size.rules_per_site:,} a site)",
            f"{drain.rate:,.0f}" if drain.failure is None else drain.failure,
            f"{drain.cpu_us('consumer'):.1f}",
            f"{drain.cpu_us('postgres'):.1f}",
            f"{drain.lost:,}",
        ]
        for size, drain in found
    ]
    head = ["fleet", "messages/s", "CPU consumer", "CPU PostgreSQL", "lost"]
    return "## Boxes and rules\n\nThe same backlog, drained by (e).\n\n" + render_table(head, rows)


def kinds_section(found: Sequence[tuple[str, DrainResult]]) -> str:
    """Render the rate of (e) by additional rules that must evaluate every sample."""
    rows = [
        [
            name,
            f"{drain.rate:,.0f}" if drain.failure is None else drain.failure,
            f"{drain.cpu_us('consumer'):.1f}",
            f"{drain.peak['consumer'] / 2**20:.0f} MiB" if drain.failure is None else "",
            f"{drain.lost:,}",
        ]
        for name, drain in found
    ]
    head = ["besides 20 thresholds", "messages/s", "CPU consumer", "peak consumer", "lost"]
    text = """
        The same backlog, drained by (e), with one or two additional rules on each site that must evaluate
        every sample of each box (docs/decisions/0013).
    """
    return f"## Kinds of rules\n\n{wrap_prose(text)}\n" + render_table(head, rows)


def delay_section(delays: AlertDelays) -> str:
    """Render the latency from a published sample to the webhook."""
    text = f"""
        Latency from the write of a box's sample to the broker's socket until the client's webhook has the
        alert. {delays.line()}.
    """
    return f"## From publish to webhook\n\n{wrap_prose(text)}"


HTTP: Final = "HTTP ingest"
"""The heading of the section on ingest by HTTP."""


def http_section(rates: Sequence[HttpRate], measured: str | None = None) -> str:
    """Render the rates of ingest by HTTP.

    Args:
        rates: what was measured.
        measured: date and machine, if the section was measured separately.
    """
    text = """
        `POST /v1/telemetry` to one API process, ten values a sample, 20 rules on each site, without limits of
        rates and concurrency. The API answers each call after its commit; calls that arrive together share a
        transaction. Each box has sent before. CPU is in µs a sample; the callers use the same cores.
    """
    table = render_table(http_door.HEAD, [rate.row() for rate in rates])
    return _join([f"## {HTTP}\n", wrap_prose(text), table], measured)


DELIVERIES: Final = "Webhooks out"
"""The heading of the section on deliveries."""


def deliveries_section(
    sent: Sequence[DeliveryRun], others: Sequence[EndpointDelays], measured: str | None = None
) -> str:
    """Render the rates of deliveries, and the effect of hanging endpoints on another one.

    Args:
        sent: many deliveries to one endpoint, by sender.
        others: delays of an endpoint, by the behaviour of the other ones: in pairs, first endpoints that
            answer, then as many that hang.
        measured: date and machine, if the section was measured separately.
    """
    subject = sent[0]
    text = f"""
        {subject.messages:,} events are queued for one endpoint. Its receiver answers immediately, in a
        separate process. Time is from the first arrival to the last record. CPU is in µs a delivery;
        receiver, database and sender share the same cores. Vigie (g) fans out the events, leases and signs
        deliveries, and records each attempt and the endpoint's state. `make faults` tests deliveries when
        it is killed.
    """
    rate = render_table(
        ["ratio of deliveries/s", *(f"(g) ÷ ({each.letter})" for each in sent[1:])],
        [
            [
                "Vigie's rate as a multiple",
                *(f"**{subject.rate / each.rate:.2f}**" for each in sent[1:]),
            ]
        ],
    )
    beside = f"""
        One endpoint receives {deliveries.RATE} events a second; the other endpoints receive the same events.
        Latency from an event's commit to its arrival at that endpoint:
    """
    changes = " ".join(
        f"With {hang.others}, the 99th percentile differs by {hang.at(0.99) / answer.at(0.99) - 1:+.0%} from"
        f" that with {answer.others}."
        for answer, hang in zip(others[::2], others[1::2], strict=True)
    )
    parts = [
        f"## {DELIVERIES}\n",
        wrap_prose(text),
        render_table(deliveries.HEAD, [each.row() for each in sent]),
        rate,
        wrap_prose(beside),
        render_table(deliveries.BESIDE_HEAD, [each.row() for each in others]),
        wrap_prose(changes),
    ]
    return _join(parts, measured)


BACKTESTS: Final = "Rules tried on a year"
"""The heading of the section on back-tests."""


def backtests_section(tried: Sequence[BacktestRun], measured: str | None = None) -> str:
    """Render the back-tests of a year.

    Args:
        tried: the back-tests.
        measured: date and machine, if the section was measured separately.
    """
    text = """
        `POST /v1/rules/backtest` on a year of one box that sends every minute. The maintain role reads the
        samples in pages and evaluates them with the evaluator of live samples.
    """
    parts = [
        f"## {BACKTESTS}\n",
        wrap_prose(text),
        render_table(backtests.HEAD, [each.row() for each in tried]),
    ]
    return _join(parts, measured)


CLUSTER: Final = "Through edge and log"
"""The heading of the section on several brokers and workers."""


def cluster_section(found: ClusterResults, measured: str | None = None) -> str:
    """Render the cost of edge, log, shares and a synchronous standby.

    Args:
        found: the drains.
        measured: date and machine, if the section was measured separately.
    """
    text = """
        The same backlog, drained by (e) from one broker, and by `vigie edge` into a log of three NATS nodes
        from which `vigie ingest` reads it, all on one machine. CPU is in µs a message. Ratios are medians of
        pairs measured one after the other.
    """
    ways = (
        ("one broker, one consumer", found.direct),
        ("edge, log, one worker", found.through_log),
        ("backlog in the log, one worker", found.one_worker),
        ("backlog in the log, two workers", found.two_workers),
        ("one broker, without standby", found.alone),
        ("one broker, synchronous standby", found.synchronous),
    )
    rows = [[name, *_cluster_cells(middle(drains))] for name, drains in ways]
    cpu = find_ratio(found.through_log, found.direct, sum_cpu_us)
    workers = find_ratio(found.two_workers, found.one_worker, _rate)
    standby = find_ratio(found.synchronous, found.alone, _rate)
    ratios = f"""
        - CPU through edge and log, beside one broker: **{cpu:.2f}**
        - Rate of two workers, beside one: **{workers:.2f}**
        - Rate with a synchronous standby, beside none: **{standby:.2f}**
    """
    parts = [
        f"## {CLUSTER}\n",
        wrap_prose(text),
        render_table(["way", "messages/s", "CPU of all", *(name for name, _ in _PARTS)], rows),
        "\n".join(line.strip() for line in ratios.strip().splitlines()) + "\n",
    ]
    return _join(parts, measured)


_PARTS: Final = (
    ("Mosquitto", ("mosquitto",)),
    ("edge", ("edge",)),
    ("three log nodes", ("nats1", "nats2", "nats3")),
    ("ingest", ("consumer", "worker 1", "worker 2")),
    ("PostgreSQL", ("postgres",)),
)
"""The columns of CPU, each with its processes."""


def _cluster_cells(drain: DrainResult) -> list[str]:
    parts = [sum(map(drain.cpu_us, processes)) for _, processes in _PARTS]
    cpu = [f"{part:.1f}" if part else "" for part in parts]
    return [f"{drain.rate:,.0f}", f"{sum_cpu_us(drain):.1f}", *cpu]


def _rate(drain: DrainResult) -> float:
    return drain.rate


SUBSCRIBERS: Final = "Subscribers of measurements"
"""The heading of the section on the measurement stream."""


def subscribers_section(found: Sequence[SubscribedDrain], measured: str | None = None) -> str:
    """Render what subscribers of the measurement stream cost ingest.

    Args:
        found: the drains, without subscribers first.
        measured: date and machine, if the section was measured separately.
    """
    text = """
        (e) drains the backlog while the API and `vigie deliver` run, without and with subscribers of the
        measurement stream. Each gets every sample as a server-sent event. All share the machine; the
        subscribers have the lowest priority, because they stand for other machines. CPU is in µs a message;
        of the API and deliver until the last subscriber had all samples.
    """
    rows = [
        [
            str(each.subscribers),
            f"{each.drain.rate:,.0f}",
            f"{each.drain.cpu_us('consumer'):.1f}",
            f"{each.drain.cpu_us('postgres'):.1f}",
            *(f"{seconds * 1e6 / each.drain.messages:.1f}" for seconds in each.cpu_s.values()),
            f"{each.behind_s:.1f}",
        ]
        for each in found
    ]
    without, beside = found[0].drain, found[-1].drain
    cpu = beside.cpu_us("consumer") / without.cpu_us("consumer")
    ratios = f"""
        - Rate with {found[-1].subscribers} subscribers, beside none: **{beside.rate / without.rate:.2f}**
        - CPU of ingest a message, likewise: **{cpu:.2f}**
    """
    head = ["subscribers", "messages/s", "ingest", "PostgreSQL", "API", "deliver", "behind at the end (s)"]
    parts = [
        f"## {SUBSCRIBERS}\n",
        wrap_prose(text),
        render_table(head, rows),
        "\n".join(line.strip() for line in ratios.strip().splitlines()) + "\n",
    ]
    return _join(parts, measured)


EXPORTS: Final = "Readings as a file"
"""The heading of the section on exports."""


def exports_section(found: ExportResults, measured: str | None = None) -> str:
    """Render the cost of exports.

    Args:
        found: the exports.
        measured: date and machine, if the section was measured separately.
    """
    text = f"""
        `GET /v1/readings/export` of {found.made[0].samples:,} samples of {exports.BOXES} boxes, ten values
        each, with a key that is limited to their site. Slices have their default size. Of several exports in
        turn, the table has the one with the median ratio to its reference.

        - *reference*: a process makes a file of the same samples just before the export: `psql` with
          `\\copy (SELECT …) TO '/dev/null' CSV`, as the owner and in no order; for Parquet and Arrow a script
          that reads a binary COPY and writes with pyarrow (bench/arrow_writer.py). The other client reads on.
        - *API before*: memory of the API process before an export ({found.fresh / 2**20:.0f} MiB before its
          first).
        - *API grew*: its maximum growth during the export.
        - *child*: memory of the process that writes Parquet or Arrow.
        - CPU is in µs a sample, without that of the others' reads. The clients use the same cores.
        - *others*: another client reads a site every {exports.ASK_EVERY_S * 1000:.0f} ms. Without an export
          this takes {percentile(found.quiet_ms, 0.5):.1f} ms (p50) and
          {percentile(found.quiet_ms, 0.99):.1f} ms (p99).
    """
    parts = [
        f"## {EXPORTS}\n",
        wrap_prose(text),
        render_table(exports.HEAD, found.rows()),
    ]
    return _join(parts, measured)


NEIGHBOUR: Final = "A tenant beside one at its limit"
"""The heading of the section on neighbours."""


def neighbour_section(found: Found, measured: str | None = None) -> str:
    """Render the latency of one tenant beside another that uses all of its limits.

    Args:
        found: the measured tenant, by case.
        measured: date and machine, if the section was measured separately.
    """
    text = f"""
        Two tenants use one API process or several with the default limits. The measured tenant reads
        {neighbour.READS_PER_S} times and sends {neighbour.SAMPLES_PER_S} samples a second, at random times.
        Each of its requests is timed from its due time. The other tenant is quiet, or has used up its burst
        and continues:

        - *polite*: one connection for each key, which waits as `Retry-After` says;
        - *rude*: eight connections, which never wait.

        Quiet and busy parts alternated in one run. p50 and p99 are the medians of those of the parts, as
        stalls of a tenth of a second and more (of samples alone, so probably of the disk) would decide them.
        *of all* is the p99 of all requests. CPU is of one core, *left* of the whole machine; clients, API and
        database share its cores.
    """
    order = sorted(
        found, key=lambda case: (case.workers, case.keys, case.manner != neighbour.QUIET, case.manner)
    )
    rows = [found[case].row(case, found[replace(case, manner=neighbour.QUIET)]) for case in order]
    parts = [f"## {NEIGHBOUR}\n", wrap_prose(text), render_table(neighbour.HEAD, rows)]
    return _join(parts, measured)


API_CALLS: Final = "Calls of the API"
"""The heading of the section on calls of the API."""


def api_calls_section(found: Sequence[CallRate], measured: str | None = None) -> str:
    """Render the rate and cost of calls beside a bare FastAPI application.

    Args:
        found: the calls, by server.
        measured: date and machine, if the section was measured separately.
    """
    text = f"""
        {api_calls.SITES} sites, {api_calls.BOXES} boxes, {api_calls.ALERTS} firing alerts. Four connections
        send as fast as they are answered; CPU is in µs a call, of all API processes together. Then requests
        arrive at random, {api_calls.RATE_PER_S} a second: their latency. Limits are off; the client uses the
        same cores.

        *FastAPI* is a bare application on the same database (`bench/competitors/fastapi_app.py`): uvicorn
        with httptools and uvloop, an asyncpg pool, and for a list the two statements that check the key and
        read the rows, with the same fields in the answer.
    """
    parts = [f"## {API_CALLS}\n", wrap_prose(text), render_table(api_calls.HEAD, api_calls.tabulate(found))]
    return _join(parts, measured)


def recovery_section(found: RecoveryRun) -> str:
    """Render the memory of the processes during a long drain."""
    drain = found.drain
    if drain.failure is not None:
        return f"## A long absence\n\n{drain.messages:,} messages: {drain.failure}\n"
    text = (
        f"{drain.messages:,} messages were queued: ingest drained them in {drain.seconds:.1f} s"
        f" ({drain.rate:,.0f} messages/s), {drain.lost:,} lost, {drain.twice:,} twice. The ingest role used"
        f" at most {drain.peak['consumer'] / 2**20:.0f} MiB."
    )
    return f"## A long absence\n\n{wrap_prose(text)}\n" + render_table(recovery.HEAD, found.rows())


FLEET: Final = "Boxes connected at once"
"""The heading of the section on a fleet."""


def fleet_section(found: FleetResult, measured: str | None = None) -> str:
    """Render how a fleet connects, sends, and recovers from a crash of the broker.

    Args:
        found: the course of the fleet.
        measured: date and machine, if the section was measured separately.
    """
    lost = found.total - (found.stored - found.twice)
    text = f"""
        {found.boxes:,} boxes, each with its own account and its own connection, each sending ten values
        once a minute. They are registered with `ack`, and store a sample until Vigie acknowledges it. On a
        cold start they connect at random times within a second, and retry with a back-off of up to
        {LONGEST_WAIT_S:.0f} s and full jitter. Then the broker is killed (SIGKILL) and restarted. Broker,
        roles, database and boxes share the same cores.
    """
    after = f"""
        All of them sent for {found.seconds:.0f} s: {found.made / found.seconds:,.0f} messages/s. By the end,
        including the crash, they had made {found.total:,} samples: {lost:,} lost, {found.twice:,} twice,
        {found.rejected:,} refused; {found.sent - found.total:,} were sent again. The broker answered
        {found.broker_back_s:.1f} s after it was killed. A password check costs it {found.check_us:.0f} µs
        ({found.iterations} rounds of PBKDF2).
    """
    memory = [[_MEMORY.get(name, name), f"{size / 2**20:.0f} MiB"] for name, size in found.memory.items()]
    parts = [
        f"## {FLEET}\n",
        wrap_prose(text),
        render_table(_ARRIVAL, [_arrival("from cold", found.cold), _arrival("after the crash", found.again)]),
        wrap_prose(after),
        render_table(["process", "memory"], memory),
    ]
    return _join(parts, measured)


_ARRIVAL: Final = ["connecting", "half of them", "all of them", "connections begun", "CPU Mosquitto"]
_MEMORY: Final = {
    "mosquitto before": "Mosquitto, without boxes",
    "mosquitto": "Mosquitto, with all of them",
}


def _arrival(what: str, found: FleetArrival) -> list[str]:
    return [
        what,
        f"{found.half_s:.1f} s",
        f"{found.all_s:.1f} s",
        f"{found.attempts:,}",
        f"{found.cpu_s:.1f} s",
    ]


def failed_section(title: str, error: Exception) -> str:
    """Render a section without a result."""
    return f"## {title}\n\nNot measured in this run: {error}\n"


SERIES: Final = "Series over ten million samples"


def series_section(found: series.SeriesResults, measured: str | None = None) -> str:
    """Render the latency of reads, of all samples and of a tenth."""
    whole, tenth = found.filled["whole"], found.filled["tenth"]
    calls = len(found.reads[0].took["whole"])
    text = f"""
        {whole.samples:,} samples of {series.READINGS} readings each: of {series.BOXES:,} boxes of a site
        that sent each minute, and of {series.YEARS["whole"]} boxes that sent for a year every four minutes.
        A second database has a tenth of them ({tenth.samples:,} samples). One client makes each call
        {calls} times in sequence, over HTTP on the same machine. A sixth of the boxes have a sample that
        their row of latest values does not contain yet. The API process used {found.memory / 2**20:.0f} MiB
        at most. Roll-ups of all samples took {whole.rolled_s:.0f} s ({whole.samples / whole.rolled_s:,.0f}
        samples/s), of a tenth {tenth.rolled_s:.0f} s.
    """
    parts = [
        f"## {SERIES}\n",
        wrap_prose(text),
        render_table(series.HEAD, [read.row() for read in found.reads]),
    ]
    return _join(parts, measured)


def sensorthings_section(found: sensorthings.StaResults, measured: str | None = None) -> str:
    """Render the latency of SensorThings over ten million samples."""
    text = f"""
        {found.samples:,} samples of {len(sensorthings.METRICS)} metrics, of {sensorthings.BOXES} boxes that
        sent each minute for {sensorthings.MINUTES / 1440:.0f} days. A sixth of the boxes have a sample that
        their row of latest values does not contain yet, and the current hour is not in the roll-ups. One
        client makes each call {found.rounds} times with a key and as often without one, in sequence, over
        HTTP on the same machine. Each answer is checked. Flags are evaluated for the page and its neighbours.
    """
    parts = [
        "## SensorThings over ten million samples\n",
        wrap_prose(text),
        render_table(sensorthings.HEAD, [each.row() for each in found.calls]),
    ]
    return _join(parts, measured)


CONSOLE: Final = "The console"
"""The heading of the section on the console."""


def console_section(found: console.ConsoleResults, measured: str | None = None) -> str:
    """Render what the console costs, at the server and in the browser.

    Args:
        found: all figures.
        measured: date and machine, if the section was measured separately.
    """
    city, calls = found.city, len(found.pages[0].took_ms)
    api_us, client_us = found.http_us
    text = f"""
        {city.boxes:,} boxes at {city.sites} sites, {city.alerts} firing alerts, and an owner who signed in.
        One API process; `vigie deliver` runs. One client reads each page {calls} times, one after the other,
        compressed. Limits are off; the clients use the same cores.
    """
    seen = f"""
        Chromium {found.chromium} without a window and without a graphics card, on the same cores. First loads
        have an empty cache and end when the map is drawn; their size has the headers. The map is dragged and
        zoomed for {console.MAP_S:.0f} s over all boxes. Alerts ({len(found.alerts_ms)}): from the call of
        `POST /v1/telemetry` until the page lists the alert. Charts: from the arrival of the values until the
        script has drawn them.
    """
    call = f"""
        A call of `{console.PATH}` within the process, as pages make it, takes {found.internal_us:,.0f} µs of
        CPU. By HTTP it takes {api_us:,.0f} µs at the API and {client_us:,.0f} µs at the client
        ([decision 0049](decisions/0049-console-on-the-public-api.md)).
    """
    parts = [
        f"## {CONSOLE}\n",
        wrap_prose(text),
        render_table(console.PAGES_HEAD, [page.row() for page in found.pages]),
        wrap_prose(seen),
        render_table(console.HEAD, found.rows()),
        wrap_prose(call),
    ]
    return _join(parts, measured)


def _join(parts: Sequence[str], measured: str | None) -> str:
    """Join the parts of a section, with date and machine if it was measured separately."""
    last = [] if measured is None else [wrap_prose(f"Measured separately on {measured}.")]
    return "\n".join([*parts, *last])
