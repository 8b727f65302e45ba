"""The report, as Markdown. Pure: what was measured goes in, text comes out."""

import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from bench.results import NAMES, READINGS_PER_MESSAGE, SUBJECT, Drain, ratios
from bench.suite import Plan

_MIB: Final = 2**20

_METHOD: Final = """\
Written by `make bench`, which measures all of it anew. The numbers are of one run, side by side, on real
services of its own: a durable PostgreSQL 17 with TimescaleDB and a Mosquitto, configured as `vigie up` does.
Ratios hold across machines, absolute numbers do not.

## A backlog, drained

{messages:,} messages of {boxes:,} boxes, ten values each, wait in a durable session at the broker, at
QoS 1{few}. Then the consumer starts. The clock
runs from its connection to the broker to its last commit; for those that store nothing, to the last
acknowledgement; for (d), which has no broker, from its first row. CPU is in µs a message, *disk* in bytes a
reading with its index, uncompressed. Each has a fresh database; the order is one of chance{repeat}.
"""

_NOTES: Final = """\
Vigie (e) checks every value, resolves its box, tells repeats from conflicts, evaluates twenty rules, keeps
latest values, and acknowledges after the commit. (f) too acknowledges what it has written, and does nothing
else of this: its messages are flat, their fields are the table's columns, the box's number among them, since
it can neither look that up nor unfold `values`. (c) acknowledges on arrival, and loses what it holds when it
is killed. *Lost* and *twice* are counted in the table afterwards.
"""

_NONE: Final = "-"


@dataclass(frozen=True, slots=True)
class Report:
    """Everything of one run.

    Attributes:
        plan: what was asked for.
        date: when, as a day.
        machine: on what.
        versions: of what, by name.
        drains: by competitor.
        sections: further parts, each Markdown with its heading.
    """

    plan: Plan
    date: str
    machine: str
    versions: Mapping[str, str]
    drains: Sequence[Drain]
    sections: Sequence[str] = field(default_factory=tuple)


def paragraph(text: str) -> str:
    """A paragraph, broken into lines of a usual length."""
    return textwrap.fill(" ".join(text.split()), 110, break_on_hyphens=False, break_long_words=False) + "\n"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table: the first column to the left, the others to the right."""
    marks = ["---", *("---:" for _ in head[1:])]
    lines = [head, marks, *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def drains_table(drains: Iterable[Drain]) -> str:
    """The comparison; what failed is left out, and named below."""
    drains = list(drains)
    head = (
        *("consumer", "messages/s", "CPU consumer", "CPU PostgreSQL", "CPU Mosquitto"),
        *("peak consumer", "peak Mosquitto", "stored", "lost", "twice", "disk"),
    )
    rows = [_row(drain) for drain in drains if drain.failure is None]
    failed = [
        f"\n({drain.letter}) {NAMES[drain.letter]}: {drain.failure}\n" for drain in drains if drain.failure
    ]
    return table(head, rows) + "".join(failed)


def _row(drain: Drain) -> list[str]:
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


def ratios_table(drains: Iterable[Drain]) -> str:
    """Vigie's rate divided by each other's."""
    found = ratios(drains)
    return table(
        ["ratio of messages/s", *(f"({SUBJECT}) ÷ ({letter})" for letter in found)],
        [["Vigie is so many times as fast as", *(f"**{value:,.2f}**" for value in found.values())]],
    )


def steps_section(drain: Drain) -> str:
    """Where Vigie's time goes, by step of the pipeline; the rest is reading, decoding, acknowledging."""
    if not drain.steps or not drain.seconds:
        return ""
    steps = {**drain.steps, "outside the pipeline": drain.seconds - sum(drain.steps.values())}
    rows = [
        [name, f"{seconds / drain.messages * 1e6:.2f}", f"{seconds / drain.seconds:.0%}"]
        for name, seconds in sorted(steps.items(), key=lambda item: -item[1])
        if seconds / drain.seconds >= 0.001  # noqa: PLR2004 (a thousandth says nothing)
    ]
    text = (
        "## Where (e) spends its time\n\nBy the role's own figures, waiting for PostgreSQL included. Outside "
        "the pipeline are\nreading MQTT, decoding, acknowledging, and waiting for the broker.\n\n"
    )
    return text + table(["step", "µs/message", "share"], rows)


def replaced(text: str, section: str) -> str:
    """A report with one of its sections anew; a section that it did not have comes before the last one."""
    heading = section.partition("\n")[0]
    parts = re.split(r"^(?=## )", text, flags=re.MULTILINE)
    at = next((index for index, part in enumerate(parts) if part.startswith(f"{heading}\n")), None)
    if at is None:
        parts.insert(max(1, len(parts) - 1), f"{section.rstrip()}\n\n")
    else:
        parts[at] = f"{section.rstrip()}\n" + ("\n" if at < len(parts) - 1 else "")
    return "".join(parts)


def render(report: Report) -> str:
    """The whole report."""
    plan = report.plan
    count = next((drain.messages for drain in report.drains if drain.letter == "c"), 0)
    few = f" ({count:,} for (c), whose rate is what counts)" if count else ""
    repeat = f", and the median of {plan.repeat} drains is given" if plan.repeat > 1 else ""
    method = _METHOD.format(messages=plan.messages, boxes=plan.boxes, few=few, repeat=repeat)
    subject = next((drain for drain in report.drains if drain.letter == SUBJECT), None)
    versions = ", ".join(f"{name} {version}" for name, version in report.versions.items())
    parts = [
        "# Performance\n",
        *(f"{part}\n" if part.startswith("#") else paragraph(part) for part in method.split("\n\n")),
        drains_table(report.drains),
        ratios_table(report.drains),
        "![Messages a second and CPU of each consumer](img/performance.svg)\n",
        paragraph(_NOTES),
        steps_section(subject) if subject is not None else "",
        *report.sections,
        "## Measured on\n",
        paragraph(f"{report.date}: {report.machine}. {versions}."),
    ]
    return "\n".join(part for part in parts if part)
