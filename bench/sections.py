"""The report's further sections, each Markdown with its heading. Pure."""

from collections.abc import Sequence
from typing import Final

from bench import backtests, deliveries, exports, http_door, neighbour, recovery, series
from bench.backtests import Tried
from bench.delay import Delays
from bench.deliveries import Beside, Sent
from bench.exports import Exports
from bench.fleet import Arrival, FleetResult
from bench.fleet_box import LONGEST_WAIT_S
from bench.http_door import HttpRate
from bench.neighbour import Case, Found
from bench.recovery import Recovery
from bench.report import paragraph, table
from bench.results import Drain, percentile
from bench.suite import Size


def scale_section(found: Sequence[tuple[Size, Drain]]) -> str:
    """How (e) changes with boxes and rules."""
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
    return "## Boxes and rules\n\nThe same backlog, drained by (e).\n\n" + table(head, rows)


def kinds_section(found: Sequence[tuple[str, Drain]]) -> str:
    """How (e) changes with rules that have to see every sample."""
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
        The same backlog, drained by (e), with one or two further rules on each site that have to see every
        sample of each box (docs/decisions/0013).
    """
    return f"## Kinds of rules\n\n{paragraph(text)}\n" + table(head, rows)


def delay_section(delays: Delays) -> str:
    """From publish to webhook."""
    text = (
        "From the instant at which a box's sample is written to the broker's socket to the instant at which"
        f" the client's webhook has the alert that it fired: {delays.line()}."
    )
    return f"## From publish to webhook\n\n{paragraph(text)}"


def http_section(rates: Sequence[HttpRate]) -> str:
    """The HTTP door."""
    text = (
        "`POST /v1/telemetry`, eight callers at once, ten values a sample, 20 rules on each site. Each call"
        " is answered after its commit; each box has sent before. CPU is in µs a sample; the callers use the"
        " same cores."
    )
    return f"## HTTP ingest\n\n{paragraph(text)}\n" + table(http_door.HEAD, [rate.row() for rate in rates])


DELIVERIES: Final = "Webhooks out"
"""The heading of the deliveries' section."""


def deliveries_section(sent: Sequence[Sent], others: Sequence[Beside], measured: str | None = None) -> str:
    """How many webhooks go out, and whom one that hangs holds up.

    Args:
        sent: many deliveries to one endpoint, by each who delivers.
        others: delays of an endpoint, by what its neighbours do: in pairs, first as many that answer, then as
            many that hang.
        measured: when and on what, where it was measured by itself.
    """
    subject = sent[0]
    text = f"""
        {subject.messages:,} events wait, and go to one endpoint, whose receiver answers at once in a process
        of its own; the clock runs from the first arrival to the last record. CPU is in µs a delivery;
        receiver, database and sender share the same cores. Vigie (g) fans the events out, leases, signs,
        records each attempt and the endpoint's state. What becomes of deliveries when it is killed is shown
        by `make faults`.
    """
    rate = table(
        ["ratio of deliveries/s", *(f"(g) ÷ ({each.letter})" for each in sent[1:])],
        [
            [
                "Vigie is so many times as fast as",
                *(f"**{subject.rate / each.rate:.2f}**" for each in sent[1:]),
            ]
        ],
    )
    beside = f"""
        One endpoint gets {deliveries.RATE} events a second, each of which its neighbours get too. From an
        event's commit to its arrival at that endpoint:
    """
    change = "; ".join(
        f"beside {hang.others} the 99th percentile differs by {hang.at(0.99) / answer.at(0.99) - 1:+.0%}"
        f" from that beside {answer.others}"
        for answer, hang in zip(others[::2], others[1::2], strict=True)
    )
    parts = [
        f"## {DELIVERIES}\n",
        paragraph(text),
        table(deliveries.HEAD, [each.row() for each in sent]),
        rate,
        paragraph(beside),
        table(deliveries.BESIDE_HEAD, [each.row() for each in others]),
        paragraph(f"{change[0].upper()}{change[1:]}."),
    ]
    if measured is not None:
        parts.append(paragraph(f"Measured by itself on {measured}."))
    return "\n".join(parts)


BACKTESTS: Final = "Rules tried on a year"
"""The heading of the back-tests' section."""


def backtests_section(tried: Sequence[Tried], measured: str | None = None) -> str:
    """Back-tests of a year.

    Args:
        tried: what was found.
        measured: when and on what, where it was measured by itself.
    """
    text = """
        `POST /v1/rules/backtest` on a year of one box that sends every minute, by the maintain role: the
        samples are read in pages and judged by the evaluator that live ones pass.
    """
    parts = [f"## {BACKTESTS}\n", paragraph(text), table(backtests.HEAD, [each.row() for each in tried])]
    if measured is not None:
        parts.append(paragraph(f"Measured by itself on {measured}."))
    return "\n".join(parts)


EXPORTS: Final = "Readings as a file"
"""The heading of the exports' section."""


def exports_section(found: Exports, measured: str | None = None) -> str:
    """What exports cost.

    Args:
        found: what was found.
        measured: when and on what, where it was measured by itself.
    """
    text = f"""
        `GET /v1/readings/export` of {found.made[0].samples:,} samples of {exports.BOXES} boxes, ten values
        each, with a key that is limited to their site; the slices and the rests in between are those of the
        default. *API before* is the memory of the API process before an export
        ({found.fresh / 2**20:.0f} MiB before its very first), and *API grew* the most that it had more
        meanwhile; the child is the process that writes Parquet. CPU is in µs a sample. Somebody
        else reads a site every {exports.ASK_EVERY_S * 1000:.0f} ms on: while nothing is exported that takes
        {percentile(found.quiet_ms, 0.5):.1f} ms (p50) and {percentile(found.quiet_ms, 0.99):.1f} ms (p99).
        The clients use the same cores.
    """
    parts = [f"## {EXPORTS}\n", paragraph(text), table(exports.HEAD, [each.row() for each in found.made])]
    if measured is not None:
        parts.append(paragraph(f"Measured by itself on {measured}."))
    return "\n".join(parts)


NEIGHBOUR: Final = "A tenant beside one at its limit"
"""The heading of the neighbours' section."""


def neighbour_section(found: Found, measured: str | None = None) -> str:
    """What one tenant sees of another that asks for all that its limits let through.

    Args:
        found: what was found.
        measured: when and on what, where it was measured by itself.
    """
    text = f"""
        Two tenants at one API process with the default limits. The watched one reads {neighbour.READS_PER_S}
        times and sends {neighbour.SAMPLES_PER_S} samples a second, at moments of chance; each of its requests
        is timed from the moment at which it was due. Its neighbour is quiet, or has used up what it may do at
        once and goes on: *polite*, on a connection for each key, waiting as `Retry-After` says; or *rude*, on
        eight, waiting for nothing. Quiet and busy parts took turns in one run. CPU is of one core, *left* of
        the whole machine; clients, API and database share its cores.
    """
    order = sorted(found, key=lambda case: (case.keys, case.manner != neighbour.QUIET, case.manner))
    rows = [found[case].row(case, found[Case(case.keys, neighbour.QUIET)]) for case in order]
    parts = [f"## {NEIGHBOUR}\n", paragraph(text), table(neighbour.HEAD, rows)]
    if measured is not None:
        parts.append(paragraph(f"Measured by itself on {measured}."))
    return "\n".join(parts)


def recovery_section(found: Recovery) -> str:
    """Memory over the time of a long drain."""
    drain = found.drain
    if drain.failure is not None:
        return f"## A long absence\n\n{drain.messages:,} messages: {drain.failure}\n"
    text = (
        f"{drain.messages:,} messages were waiting: drained in {drain.seconds:.1f} s"
        f" ({drain.rate:,.0f} messages/s), {drain.lost:,} lost, {drain.twice:,} twice. The ingest role held"
        f" at most {drain.peak['consumer'] / 2**20:.0f} MiB."
    )
    return f"## A long absence\n\n{paragraph(text)}\n" + table(recovery.HEAD, found.rows())


FLEET: Final = "Boxes connected at once"
"""The heading of the fleet's section."""


def fleet_section(found: FleetResult, measured: str | None = None) -> str:
    """A fleet, connected at once.

    Args:
        found: what was found.
        measured: when and on what, where it was measured by itself.
    """
    lost = found.total - (found.stored - found.twice)
    text = f"""
        {found.boxes:,} boxes, each with its own account and its own connection, each sending ten values once
        a minute. They were registered with `ack`, and keep a sample until Vigie names it. From cold they
        connect within a second, by chance, and where that fails again with back-off up to
        {LONGEST_WAIT_S:.0f} s and full jitter. Then the broker is killed (SIGKILL) and started again under
        them. Broker, roles, database and boxes share the same cores.
    """
    after = f"""
        For {found.seconds:.0f} s all of them sent: {found.made / found.seconds:,.0f} messages/s. By the end,
        crash included, they had made {found.total:,} samples: {lost:,} lost, {found.twice:,} twice,
        {found.rejected:,} refused; {found.sent - found.total:,} were sent again. The broker answered
        {found.broker_back_s:.1f} s after it was killed. Checking a password costs it {found.check_us:.0f} µs
        ({found.iterations} rounds of PBKDF2).
    """
    memory = [[_MEMORY.get(name, name), f"{size / 2**20:.0f} MiB"] for name, size in found.memory.items()]
    parts = [
        f"## {FLEET}\n",
        paragraph(text),
        table(_ARRIVAL, [_arrival("from cold", found.cold), _arrival("after the crash", found.again)]),
        paragraph(after),
        table(["process", "memory"], memory),
    ]
    if measured is not None:
        parts.append(paragraph(f"Measured by itself on {measured}."))
    return "\n".join(parts)


_ARRIVAL: Final = ["connecting", "half of them", "all of them", "connections begun", "CPU Mosquitto"]
_MEMORY: Final = {
    "mosquitto before": "Mosquitto, without boxes",
    "mosquitto": "Mosquitto, with all of them",
}


def _arrival(what: str, found: Arrival) -> list[str]:
    return [
        what,
        f"{found.half_s:.1f} s",
        f"{found.all_s:.1f} s",
        f"{found.attempts:,}",
        f"{found.cpu_s:.1f} s",
    ]


def failed_section(title: str, error: Exception) -> str:
    """A part that gave no result."""
    return f"## {title}\n\nNot measured in this run: {error}\n"


SERIES: Final = "Series over ten million samples"


def series_section(found: series.Found, measured: str | None = None) -> str:
    """How long reads take, over all and over a tenth."""
    whole, tenth = found.filled["whole"], found.filled["tenth"]
    calls = len(found.reads[0].took["whole"])
    text = f"""
        {whole.samples:,} samples of {series.READINGS} readings each: of {series.BOXES:,} boxes of a site that
        sent each minute, and of {series.YEARS["whole"]} boxes that sent for a year every four minutes; beside
        them a tenth ({tenth.samples:,} samples). Each call {calls} times by one client, over HTTP on the same
        machine, one after the other. A sixth of the boxes have a sample that their row of latest values does
        not know yet. The API's process had {found.memory / 2**20:.0f} MiB at most. Roll-ups of all samples
        were made in {whole.rolled_s:.0f} s ({whole.samples / whole.rolled_s:,.0f} samples/s), of a tenth in
        {tenth.rolled_s:.0f} s.
    """
    head = f"## {SERIES}\n\n" + ("" if measured is None else f"Measured {measured}.\n\n")
    return head + paragraph(text) + "\n" + table(series.HEAD, [read.row() for read in found.reads])
