"""The report's further sections, each Markdown with its heading. Pure."""

from collections.abc import Sequence

from bench import http_door, recovery
from bench.delay import Delays
from bench.http_door import HttpRate
from bench.recovery import Recovery
from bench.report import paragraph, table
from bench.results import Drain
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
        " is answered after its commit. CPU is in µs a sample; the callers use the same cores."
    )
    return f"## HTTP ingest\n\n{paragraph(text)}\n" + table(http_door.HEAD, [rate.row() for rate in rates])


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


def failed_section(title: str, error: Exception) -> str:
    """A part that gave no result."""
    return f"## {title}\n\nNot measured in this run: {error}\n"
