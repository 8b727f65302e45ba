"""Renders the report of a run as Markdown. Pure."""

import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from bench.results import NAMES, READINGS_PER_MESSAGE, SUBJECT, DrainResult, ratios
from bench.suite import BenchPlan

_MIB: Final = 2**20

_INTRODUCTION: Final = """
`make bench` repeats all measurements and writes this page. The numbers are of one run on separate real
services: a durable PostgreSQL 17 with TimescaleDB and a Mosquitto, configured as by `vigie up`. Ratios hold
across machines, absolute numbers do not.
"""

_METHOD: Final = """
{messages:,} messages of {boxes:,} boxes, ten values each, are queued in a durable session at the broker, at
QoS 1.{few} Then the consumer starts.

- Time: from the consumer's connection to the broker to its last commit. For consumers that store nothing,
  it ends at the last acknowledgement. For (d), which has no broker, it starts at the first row.
- CPU is in µs a message. *Disk* is in bytes a reading with its index, uncompressed.
- Each consumer has a fresh database; their order is random.{repeat}
"""

_NOTES: Final = """
Vigie (e) checks every value, resolves its box and distinguishes duplicates from conflicts. It evaluates
twenty rules, stores latest values, and acknowledges after the commit. (f) also acknowledges after writing,
but does none of the rest. Its messages are flat: their fields are the table's columns, including the box's
number, because it can neither resolve a box nor unfold `values`. (c) acknowledges on arrival, and loses its
messages in memory when it is killed. *Lost* and *twice* are counted in the table after the run.
"""

_NONE: Final = "-"
_LINE_LENGTH: Final = 120


@dataclass(frozen=True, slots=True)
class BenchReport:
    """The results of one run.

    Attributes:
        plan: the options of the run.
        date: the day of the run, as text.
        machine: the description of the machine.
        versions: the versions of programs and packages, by name.
        drains: the drain of each consumer.
        sections: further sections, each Markdown with its heading.
    """

    plan: BenchPlan
    date: str
    machine: str
    versions: Mapping[str, str]
    drains: Sequence[DrainResult]
    sections: Sequence[str] = field(default_factory=tuple)


def wrap_prose(text: str) -> str:
    """Wrap paragraphs and lists of Markdown to the line length of the guides."""
    return "\n\n".join(_wrap_block(block) for block in re.split(r"\n\s*\n", text.strip())) + "\n"


def _wrap_block(block: str) -> str:
    items = re.split(r"^\s*- ", block, flags=re.MULTILINE)
    # A block that begins with a dash is a list: nothing comes before its first item.
    marks = ("", "") if len(items) == 1 else ("- ", "  ")
    return "\n".join(
        textwrap.fill(
            " ".join(item.split()),
            _LINE_LENGTH,
            initial_indent=marks[0],
            subsequent_indent=marks[1],
            break_on_hyphens=False,
            break_long_words=False,
        )
        for item in items
        if item.strip()
    )


def render_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Render a Markdown table: the first column aligned left, the others right."""
    marks = ["---", *("---:" for _ in head[1:])]
    lines = [head, marks, *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def drains_table(drains: Iterable[DrainResult]) -> str:
    """Render the table of the comparison; consumers that failed are listed below it."""
    drains = list(drains)
    head = (
        *("consumer", "messages/s", "CPU consumer", "CPU PostgreSQL", "CPU Mosquitto"),
        *("peak consumer", "peak Mosquitto", "stored", "lost", "twice", "disk"),
    )
    rows = [_row(drain) for drain in drains if drain.failure is None]
    failed = [
        f"\n({drain.letter}) {NAMES[drain.letter]}: {drain.failure}\n" for drain in drains if drain.failure
    ]
    return render_table(head, rows) + "".join(failed)


def _row(drain: DrainResult) -> list[str]:
    stores = drain.stored is not None
    return [
        f"({drain.letter}) {NAMES[drain.letter]}",
        f"{drain.rate:,.0f}",
        f"{drain.cpu_us('consumer'):.1f}",
        f"{drain.cpu_us('postgres'):.1f}",
        f"{drain.cpu_us('mosquitto'):.1f}",
        f"{drain.peak.get('consumer', 0) / _MIB:.0f} MiB",
        f"{drain.peak['mosquitto'] / _MIB:.0f} MiB" if "mosquitto" in drain.peak else _NONE,
        f"{drain.stored:,}" if stores else _NONE,
        f"{drain.lost:,}" if stores else _NONE,
        f"{drain.twice:,}" if stores else _NONE,
        f"{drain.disk / drain.messages / READINGS_PER_MESSAGE:.1f}" if drain.disk else _NONE,
    ]


def ratios_table(drains: Iterable[DrainResult]) -> str:
    """Render Vigie's rate divided by the rate of each other consumer."""
    found = ratios(drains)
    return render_table(
        ["ratio of messages/s", *(f"({SUBJECT}) ÷ ({letter})" for letter in found)],
        [["Vigie's rate as a multiple", *(f"**{value:,.2f}**" for value in found.values())]],
    )


def steps_section(drain: DrainResult) -> str:
    """Render the time of Vigie by step of the pipeline, and the rest: reading, decoding, acknowledging."""
    if not drain.steps or not drain.seconds:
        return ""
    steps = {**drain.steps, "outside the pipeline": drain.seconds - sum(drain.steps.values())}
    rows = [
        [name, f"{seconds / drain.messages * 1e6:.2f}", f"{seconds / drain.seconds:.0%}"]
        for name, seconds in sorted(steps.items(), key=lambda item: -item[1])
        if seconds / drain.seconds >= 0.001  # noqa: PLR2004 (a thousandth says nothing)
    ]
    text = """
        From the metrics of the role, including waits for PostgreSQL. *Outside the pipeline* is reading MQTT,
        decoding, acknowledging, and waiting for the broker.
    """
    heading = "## Where (e) spends its time"
    return f"{heading}\n\n{wrap_prose(text)}\n{render_table(['step', 'µs/message', 'share'], rows)}"


def replace_section(text: str, section: str) -> str:
    """Replace a section of a report; a new section is inserted before the last one."""
    heading = section.partition("\n")[0]
    parts = re.split(r"^(?=## )", text, flags=re.MULTILINE)
    at = next((index for index, part in enumerate(parts) if part.startswith(f"{heading}\n")), None)
    if at is None:
        parts.insert(max(1, len(parts) - 1), f"{section.rstrip()}\n\n")
    else:
        parts[at] = f"{section.rstrip()}\n" + ("\n" if at < len(parts) - 1 else "")
    return "".join(parts)


def render_report(report: BenchReport) -> str:
    """Render the whole report."""
    plan = report.plan
    count = next((drain.messages for drain in report.drains if drain.letter == "c"), 0)
    few = f" (c) gets only {count:,}, because only its rate counts." if count else ""
    repeat = f" The figures are medians of {plan.repeat} drains." if plan.repeat > 1 else ""
    method = _METHOD.format(messages=plan.messages, boxes=plan.boxes, few=few, repeat=repeat)
    subject = next((drain for drain in report.drains if drain.letter == SUBJECT), None)
    versions = ", ".join(f"{name} {version}" for name, version in report.versions.items())
    parts = [
        "# Performance\n",
        wrap_prose(_INTRODUCTION),
        "## A backlog, drained\n",
        wrap_prose(method),
        drains_table(report.drains),
        ratios_table(report.drains),
        "![Messages a second and CPU of each consumer](img/performance.svg)\n",
        wrap_prose(_NOTES),
        steps_section(subject) if subject is not None else "",
        *report.sections,
        "## Measured on\n",
        wrap_prose(f"{report.date}: {report.machine}. {versions}."),
    ]
    return "\n".join(part for part in parts if part)
