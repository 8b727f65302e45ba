"""Generates the tables of docs/operations/capacity.md from the figures of docs/performance.md.

`make bench` writes that page; it is the only record of a run. A missing row is an error that names it.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tools.markdown_tables import render_rows

_PERFORMANCE: Final = Path(__file__).parents[1] / "docs" / "performance.md"
_MIB: Final = 2**20
_GIB: Final = 2**30
_DAYS: Final = 30
_DAY_S: Final = 86_400
_MINUTE_S: Final = 60
_PLAIN: Final = 10
_MICRO: Final = 1e-6
# Half of a core stays free for bursts, clean-up and reading.
_HEADROOM: Final = 2
# The API, deliveries and the operating system while nothing else happens.
_BASE_CORES: Final = 0.5
# PostgreSQL's share and what the operating system needs; `vigie up` gives PostgreSQL an eighth as its buffer.
_POSTGRES_SHARE: Final = 0.125
_SYSTEM_BYTES: Final = 2 * _GIB
ROLLUP_BYTES: Final = 1_640
"""Measured on 2,700 rows of the tables `hourly` and `daily`: one of each for a box, a metric and a day."""
READINGS: Final = 10
FLEETS: Final = (100, 1_000, 10_000, 50_000, 100_000)
INTERVALS_S: Final = (10, 60, 900)


@dataclass(frozen=True, slots=True)
class BenchFigures:
    """The figures of the benchmark from which capacity is computed.

    Attributes:
        ingest_us: CPU of the ingest role for a message, with the dearest kind of rule (µs).
        postgres_us: CPU of PostgreSQL for a message (µs).
        broker_us: CPU of Mosquitto for a message (µs).
        rollup_us: CPU of the roll-ups for a sample (µs).
        rate: Messages a second that ingest drains from a backlog of 10,000 boxes.
        disk_bytes: Disk of a reading with its index.
        roles_bytes: Memory of all roles together.
        broker_bytes: Memory of the broker without boxes.
        box_bytes: Memory of the broker for a connected box.
    """

    ingest_us: float
    postgres_us: float
    broker_us: float
    rollup_us: float
    rate: float
    disk_bytes: float
    roles_bytes: float
    broker_bytes: float
    box_bytes: float

    @property
    def message_us(self) -> float:
        """CPU of all processes for a message (µs)."""
        return self.ingest_us + self.postgres_us + self.broker_us + self.rollup_us


def read_figures(text: str) -> BenchFigures:
    """Read the figures from the page of the benchmark.

    Args:
        text: The Markdown of docs/performance.md.

    Raises:
        ValueError: A row is missing.
    """
    drained = read_row(text, "(e) **Vigie ingest**, 20 rules on each site")
    fleet = read_row(text, "10,000 boxes, 200 rules (20 a site)")
    rules = [read_row(text, name)[1] for name in ("nothing else", "half of a site's boxes")]
    boxes = int(_find(text, r"^([\d,]+) boxes, each with its own account").replace(",", ""))
    empty, full = (read_row(text, f"Mosquitto, {name}")[0] for name in ("without boxes", "with all of them"))
    roles = sum(read_row(text, name)[0] for name in ("api", "ingest", "deliver", "maintain"))
    rollups = float(
        _find(text, r"Roll-ups of all samples took [\d,]+ s\s+\(([\d,]+) samples/s\)").replace(",", "")
    )
    return BenchFigures(
        ingest_us=fleet[1] + rules[1] - rules[0],
        postgres_us=fleet[2],
        broker_us=drained[3],
        rollup_us=1 / rollups / _MICRO,
        rate=fleet[0],
        disk_bytes=drained[9],
        roles_bytes=roles * _MIB,
        broker_bytes=empty * _MIB,
        box_bytes=(full - empty) * _MIB / boxes,
    )


def read_row(text: str, name: str) -> list[float]:
    """Return the numbers of a row of a table of the page; cells without one count as 0.

    Raises:
        ValueError: The row is missing.
    """
    cells = _find(text, rf"^\| {re.escape(name)} \|(.*)\|$").split("|")
    numbers = [re.match(r"\s*([\d,.]+)", cell) for cell in cells]
    return [float(number[1].replace(",", "")) if number else 0.0 for number in numbers]


def _find(text: str, pattern: str) -> str:
    found = re.search(pattern, text, re.MULTILINE)
    if found is None:
        raise ValueError(f"docs/performance.md has nothing like {pattern!r}: adapt tools/capacity_tables.py")
    return found[1]


def compute_cores(figures: BenchFigures, boxes: int, interval_s: int) -> float:
    """Compute the cores of a machine for everything."""
    return _BASE_CORES + _HEADROOM * boxes / interval_s * figures.message_us * _MICRO


def compute_memory(figures: BenchFigures, boxes: int) -> float:
    """Compute the memory of a machine for everything (bytes)."""
    used = figures.roles_bytes + figures.broker_bytes + boxes * figures.box_bytes + _SYSTEM_BYTES
    return used / (1 - _POSTGRES_SHARE)


def compute_disk(figures: BenchFigures, boxes: int, interval_s: int) -> float:
    """Compute the disk that a month of samples and their roll-ups take (bytes)."""
    samples = _DAYS * _DAY_S / interval_s
    return boxes * READINGS * (samples * figures.disk_bytes + _DAYS * ROLLUP_BYTES)


def load_performance() -> str:
    """Load the present page of the benchmark."""
    return _PERFORMANCE.read_text(encoding="utf-8")


def load_figures() -> BenchFigures:
    """Load the figures of the present page."""
    return read_figures(load_performance())


def render_capacity_table() -> str:
    figures = load_figures()
    body = [
        (
            f"{boxes:,}",
            format_interval(interval),
            format_number(boxes / interval),
            f"{compute_cores(figures, boxes, interval):.1f}",
            f"{compute_memory(figures, boxes) / _GIB:.1f} GiB",
            format_size(compute_disk(figures, boxes, interval)),
        )
        for interval in INTERVALS_S
        for boxes in FLEETS
    ]
    return render_rows("boxes", "interval", "messages/s", "cores", "memory", "disk a month", body=body)


def format_interval(seconds: int) -> str:
    return f"{seconds} s" if seconds < _MINUTE_S else f"{seconds // _MINUTE_S} min"


def format_number(value: float) -> str:
    return f"{value:,.1f}" if value < _PLAIN else f"{value:,.0f}"


def format_size(value: float) -> str:
    for unit, size in (("PB", 1e15), ("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if value >= size:
            return f"{format_number(value / size)} {unit}"
    return f"{value / 1e3:.0f} kB"


def render_figures_table() -> str:
    figures = load_figures()
    dearest = "CPU of ingest a message: 10,000 boxes, 20 thresholds on each site and the dearest kind of rule"
    roles = f"{figures.roles_bytes / _MIB:.0f} MiB"
    body = [
        ("`ingest`", f"{figures.ingest_us:.1f} µs", dearest),
        ("`postgres`", f"{figures.postgres_us:.1f} µs", "CPU of PostgreSQL a message"),
        ("`broker`", f"{figures.broker_us:.1f} µs", "CPU of Mosquitto a message"),
        ("`rollups`", f"{figures.rollup_us:.1f} µs", "time of hourly and daily roll-ups a sample"),
        ("`rate`", f"{figures.rate:,.0f} messages/s", "a backlog of 10,000 boxes, drained"),
        ("`reading`", f"{figures.disk_bytes:.1f} B", "disk of a reading with its index"),
        ("`rollup`", f"{ROLLUP_BYTES:,} B", "disk of the roll-ups of a box, a metric and a day"),
        ("`roles`", roles, "memory of `api`, `ingest`, `deliver` and `maintain`, with 10,000 boxes"),
        ("`mosquitto`", f"{figures.broker_bytes / _MIB:.0f} MiB", "memory of Mosquitto without boxes"),
        ("`box`", f"{figures.box_bytes / 1024:.1f} KiB", "memory of Mosquitto for a box, without TLS"),
    ]
    return render_rows("name", "figure", "what", body=body)


CAPACITY_TABLES: Final[Mapping[str, Callable[[], str]]] = {
    "capacity": render_capacity_table,
    "capacity-figures": render_figures_table,
}
