"""Draws docs/img/scale.svg: the price of each case by kind of machine. `python -m tools.scale_picture`."""

import sys
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Final

from tools.scale_assumptions import ScaleAssumptions
from tools.scale_plan import ScalePlan, compute_prices
from tools.scale_tables import INTERVALS_S, plan_cases

PICTURE: Final = Path(__file__).parents[1] / "docs" / "img" / "scale.svg"
_WIDTH: Final = 520
_LABEL: Final = 100
_BAR: Final = 250
_ROW: Final = 34
_TOP: Final = 84
_GAP: Final = 40
_COLOURS: Final = {
    "proxy": ("haproxy", "#9aa5b1"),
    "three": ("three machines", "#0b5c6b"),
    "three-large": ("three large", "#3f8f9d"),
    "edge": ("edge", "#c9a227"),
    "log": ("log", "#8a5a00"),
    "worker": ("worker", "#7d4e8a"),
    "database": ("database", "#1f6feb"),
}
_STYLE: Final = """<style>
text { font: 14px system-ui, "Segoe UI", "DejaVu Sans", sans-serif; fill: #1b2528; }
.head { font-weight: 600; }
.end { text-anchor: end; }
.small { font-size: 12.5px; fill: #46545a; }
</style>"""


def draw_picture(plans: Sequence[ScalePlan], given: ScaleAssumptions) -> str:
    """Draw a bar for each case, divided by the price of the kinds of machines."""
    height = _TOP + len(plans) * _ROW + len(INTERVALS_S) * _GAP
    size = f'viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">',
        "<title>Price of an installation by number of boxes, divided by kind of machine</title>",
        _STYLE,
        f'<rect width="{_WIDTH}" height="{height}" fill="#fff"/>',
        *_draw_legend([kind for kind in _COLOURS if any(kind in plan.machines for plan in plans)]),
    ]
    y = _TOP
    for interval in INTERVALS_S:
        text = "one message a minute" if interval > 1 else "one message a second"
        parts.append(f'<text class="head" x="12" y="{y + 18}">Each box: {text}</text>')
        parts.append(f'<text class="head" x="{_LABEL + _BAR + 8}" y="{y + 18}">a month</text>')
        y += _GAP - 10
        for plan in plans:
            if plan.interval_s == interval:
                parts += _draw_bar(plan, given, y)
                y += _ROW
        y += 10
    return "\n".join([*parts, "</svg>", ""])


def _draw_legend(kinds: Sequence[str]) -> list[str]:
    parts = []
    for number, kind in enumerate(kinds):
        name, colour = _COLOURS[kind]
        x, y = 12 + number % 4 * 126, 14 + number // 4 * 26
        parts.append(f'<rect x="{x}" y="{y}" width="14" height="14" fill="{colour}"/>')
        parts.append(f'<text class="small" x="{x + 20}" y="{y + 12}">{escape(name)}</text>')
    return parts


def _draw_bar(plan: ScalePlan, given: ScaleAssumptions, y: int) -> list[str]:
    prices = compute_prices(given)
    parts = [f'<text class="end" x="{_LABEL - 8}" y="{y + 16}">{plan.boxes:,}</text>']
    x = float(_LABEL)
    for kind, count in plan.machines.items():
        width = _BAR * count * prices[kind] / plan.price
        name, colour = _COLOURS[kind]
        parts.append(
            f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="22" fill="{colour}">'
            f"<title>{escape(name)}: {count:,}</title></rect>"
        )
        x += width
    machines = sum(plan.machines.values())
    parts.append(
        f'<text x="{_LABEL + _BAR + 8}" y="{y + 11}">{plan.price:,.0f} €</text>'
        f'<text class="small" x="{_LABEL + _BAR + 8}" y="{y + 25}">{machines:,} machines</text>'
    )
    return parts


def render_picture() -> str:
    """Render the picture of the present figures."""
    return draw_picture(plan_cases(), ScaleAssumptions())


def main() -> int:
    """Write the picture."""
    PICTURE.write_text(render_picture(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
