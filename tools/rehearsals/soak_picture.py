"""Draws a soak as a picture: memory, descriptors, connections, WAL, disk and delays over time."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import matplotlib as mpl

mpl.use("svg")
from matplotlib import pyplot as plt

from tools.rehearsals.soak_slopes import WARM_UP_SHARE, SeriesSlope, SoakRecord

_PANELS: Final = (
    ("memory", "memory (MiB)"),
    ("descriptors", "file descriptors"),
    ("connections", "database connections"),
    ("WAL", "WAL (MiB/s)"),
    ("disk", "disk (MiB)"),
    ("p95", "API, p95 of 5 s (ms)"),
    ("longest", "longest delay of an ack (ms)"),
    ("pending", "pending deliveries"),
)
_COLUMNS: Final = 2


def draw_soak(records: Sequence[SoakRecord], slopes: Sequence[SeriesSlope], title: str, path: Path) -> None:
    """Draw all series, each with its slope an hour, into an SVG file."""
    plt.rcParams.update({"svg.hashsalt": "vigie", "svg.fonttype": "none", "font.size": 8})
    rows = -(-len(_PANELS) // _COLUMNS)
    figure, axes = plt.subplots(rows, _COLUMNS, figsize=(11, 2.6 * rows), sharex=True, layout="constrained")
    minutes = records[-1].at_s / 60
    for panel, (first_word, label) in zip(axes.flat, _PANELS, strict=True):
        for slope in slopes:
            if slope.name.partition(" ")[0] != first_word:
                continue
            points = [
                (each.at_s / 60, each.values[slope.name]) for each in records if slope.name in each.values
            ]
            name = slope.name.partition(" ")[2] or slope.name
            panel.plot(*zip(*points, strict=True), linewidth=0.9, label=f"{name} ({slope.per_hour:+,.1f}/h)")
        panel.axvspan(0, minutes * WARM_UP_SHARE, color="#9aa5b1", alpha=0.15, linewidth=0)
        panel.set(ylabel=label, xlim=(0, minutes))
        panel.set_ylim(bottom=0)
        panel.spines[["top", "right"]].set_visible(False)
        panel.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize=7)
    for panel in axes[-1]:
        panel.set_xlabel("minutes")
    figure.suptitle(title, fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
