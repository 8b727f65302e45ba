"""Draws the figures of docs/concepts.md: `uv run python -m tools.concept_figures`.

Boxes stand on a grid; arrows lead from side to side. The colours hold on white, which the SVG brings with it.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Final, Literal

FOLDER: Final = Path(__file__).parents[1] / "docs" / "img"
_COLUMN: Final = 190
_ROW: Final = 96
_WIDTH: Final = 140
_HEIGHT: Final = 56
_MARGIN: Final = 24
_LINE: Final = 17
_STYLE: Final = """<style>
text { font: 14px system-ui, "Segoe UI", "DejaVu Sans", sans-serif; fill: #1b2528; text-anchor: middle; }
.label { font-size: 12.5px; fill: #46545a; }
.beside { paint-order: stroke; stroke: #fff; stroke-width: 4px; }
.box { fill: #eef4f5; stroke: #0b5c6b; stroke-width: 1.5; }
.store { fill: #fdf3e3; stroke: #8a5a00; stroke-width: 1.5; }
.frame { fill: none; stroke: #46545a; stroke-dasharray: 5 4; }
.arrow { fill: none; stroke: #46545a; stroke-width: 1.5; marker-end: url(#tip); }
</style>
<defs><marker id="tip" markerWidth="9" markerHeight="8" refX="8" refY="4" orient="auto">
<path d="M0,0 L9,4 L0,8 z" fill="#46545a"/></marker></defs>"""


@dataclass(frozen=True, slots=True)
class FigureBox:
    """A box of a figure.

    Attributes:
        column: Its place, from the left.
        row: Its place, from the top.
        text: The lines of its text, separated by `|`.
        kind: `store` for what keeps data.
    """

    column: float
    row: float
    text: str
    kind: Literal["box", "store"] = "box"

    @property
    def middle(self) -> tuple[float, float]:
        """The centre."""
        x = _MARGIN + self.column * _COLUMN + _WIDTH / 2
        return x, _MARGIN + self.row * _ROW + _HEIGHT / 2


@dataclass(frozen=True, slots=True)
class ConceptFigure:
    """A figure of boxes and arrows.

    Attributes:
        boxes: The boxes by their name.
        arrows: From, to, and the text beside the arrow.
        frame: The names of the boxes that a dashed frame surrounds, and its text.
    """

    boxes: Mapping[str, FigureBox]
    arrows: tuple[tuple[str, str, str], ...]
    frame: tuple[tuple[str, ...], str] | None = None


FIGURES: Final[Mapping[str, ConceptFigure]] = {
    "concepts-things": ConceptFigure(
        {
            "organisation": FigureBox(0, 0.5, "Organisation"),
            "site": FigureBox(1, 0.5, "Site|time zone, purposes"),
            "box": FigureBox(2, 0, "Box"),
            "sample": FigureBox(3, 0, "Sample|values of metrics", "store"),
            "rule": FigureBox(2, 1, "Rule|condition"),
            "alert": FigureBox(3, 1, "Alert", "store"),
        },
        (
            ("organisation", "site", "owns"),
            ("site", "box", ""),
            ("site", "rule", ""),
            ("box", "sample", "sends"),
            ("rule", "alert", "raises"),
            ("sample", "alert", "decides"),
        ),
    ),
    "concepts-sample": ConceptFigure(
        {
            "box": FigureBox(0, 0, "Box"),
            "broker": FigureBox(1, 0, "Mosquitto|queue", "store"),
            "ingest": FigureBox(2, 0, "ingest|check, evaluate"),
            "database": FigureBox(3, 0, "Samples, alerts,|outgoing events", "store"),
            "quarantine": FigureBox(3, 1, "Quarantine|with a code", "store"),
            "ack": FigureBox(1, 1, "PUBACK, ack|to the box"),
        },
        (
            ("box", "broker", "MQTT"),
            ("broker", "ingest", "batch"),
            ("ingest", "database", ""),
            ("ingest", "quarantine", "refused"),
            ("ingest", "ack", "after the commit"),
            ("ack", "box", ""),
        ),
        (("database", "quarantine"), "one transaction"),
    ),
    "concepts-alert": ConceptFigure(
        {
            "rest": FigureBox(0, 0, "At rest"),
            "pending": FigureBox(1, 0, "Pending|condition holds"),
            "firing": FigureBox(2, 0, "Firing|held long enough"),
            "resolved": FigureBox(3, 0, "Resolved|value at clear"),
            "acknowledged": FigureBox(2, 1, "Acknowledged|by a person"),
            "escalated": FigureBox(3, 1, "Escalated|not acknowledged"),
        },
        (
            ("rest", "pending", ""),
            ("pending", "firing", ""),
            ("firing", "resolved", ""),
            ("firing", "acknowledged", ""),
            ("firing", "escalated", ""),
        ),
    ),
    "concepts-processes": ConceptFigure(
        {
            "boxes": FigureBox(0, 0, "Boxes"),
            "mosquitto": FigureBox(1, 0, "Mosquitto", "store"),
            "ingest": FigureBox(2, 0, "vigie ingest"),
            "clients": FigureBox(0, 1, "Clients,|console, public"),
            "api": FigureBox(1, 1, "vigie api"),
            "postgresql": FigureBox(2, 1, "PostgreSQL,|TimescaleDB", "store"),
            "maintain": FigureBox(2, 2, "vigie maintain"),
            "deliver": FigureBox(3, 1, "vigie deliver"),
            "receivers": FigureBox(3, 2, "Webhooks, mail,|MQTT, chat"),
        },
        (
            ("boxes", "mosquitto", ""),
            ("mosquitto", "ingest", ""),
            ("ingest", "postgresql", ""),
            ("clients", "api", "HTTP"),
            ("api", "postgresql", ""),
            ("postgresql", "deliver", "events"),
            ("deliver", "receivers", ""),
            ("maintain", "postgresql", ""),
        ),
    ),
}


def draw_figure(figure: ConceptFigure) -> str:
    """Draw a figure as SVG."""
    right = max(box.middle[0] for box in figure.boxes.values()) + _WIDTH / 2 + _MARGIN
    bottom = max(box.middle[1] for box in figure.boxes.values()) + _HEIGHT / 2 + _MARGIN
    size = f'viewBox="0 0 {right:g} {bottom:g}" width="{right:g}" height="{bottom:g}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">',
        _STYLE,
        f'<rect width="{right:g}" height="{bottom:g}" fill="#fff"/>',
    ]
    if figure.frame is not None:
        parts.append(_draw_frame(figure, *figure.frame))
    parts += [_draw_arrow(figure.boxes[start], figure.boxes[end], text) for start, end, text in figure.arrows]
    parts += [_draw_box(box) for box in figure.boxes.values()]
    return "\n".join([*parts, "</svg>", ""])


def _draw_box(box: FigureBox) -> str:
    x, y = box.middle
    lines = box.text.split("|")
    first = y + 5 - (len(lines) - 1) * _LINE / 2
    texts = ""
    for number, line in enumerate(lines):
        kind = "label" if number else "name"
        texts += f'<text class="{kind}" x="{x:g}" y="{first + number * _LINE:g}">{escape(line)}</text>'
    corner = f'x="{x - _WIDTH / 2:g}" y="{y - _HEIGHT / 2:g}"'
    return f'<rect class="{box.kind}" {corner} width="{_WIDTH}" height="{_HEIGHT}" rx="6"/>{texts}'


def _draw_arrow(start: FigureBox, end: FigureBox, text: str) -> str:
    (x1, y1), (x2, y2) = start.middle, end.middle
    if x1 != x2:
        side = 1 if x2 > x1 else -1
        x1, x2 = x1 + side * _WIDTH / 2, x2 - side * (_WIDTH / 2 + 2)
    else:
        side = 1 if y2 > y1 else -1
        y1, y2 = y1 + side * _HEIGHT / 2, y2 - side * (_HEIGHT / 2 + 2)
    path = f'<path class="arrow" d="M{x1:g},{y1:g} L{x2:g},{y2:g}"/>'
    if not text:
        return path
    x, y = (x1 + x2) / 2, (y1 + y2) / 2 + (4 if x1 == x2 else -6)
    return f'{path}<text class="label beside" x="{x:g}" y="{y:g}">{escape(text)}</text>'


def _draw_frame(figure: ConceptFigure, names: tuple[str, ...], text: str) -> str:
    middles = [figure.boxes[name].middle for name in names]
    left = min(x for x, _ in middles) - _WIDTH / 2 - 10
    top = min(y for _, y in middles) - _HEIGHT / 2 - 10
    width = max(x for x, _ in middles) + _WIDTH / 2 + 10 - left
    height = max(y for _, y in middles) + _HEIGHT / 2 + 10 - top
    middle = f'x="{left + width / 2:g}" y="{top + height / 2 + 4:g}"'
    return (
        f'<rect class="frame" x="{left:g}" y="{top:g}" width="{width:g}" height="{height:g}" rx="8"/>'
        f'<text class="label" {middle}>{escape(text)}</text>'
    )


def main() -> int:
    """Write the figures."""
    for name, figure in FIGURES.items():
        (FOLDER / f"{name}.svg").write_text(draw_figure(figure), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
