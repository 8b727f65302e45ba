"""Draws the comparison as a picture."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl

mpl.use("svg")
from matplotlib import pyplot as plt

from bench.results import SUBJECT, DrainResult

_SHORT = {
    "a": "aiomqtt loop, stores nothing",
    "b": "aiomqtt batched, stores nothing",
    "c": "tutorial: INSERT a reading",
    "d": "COPY alone, no MQTT",
    "e": "Vigie, 20 rules a site",
    "f": "mq-bridge, COPY",
}
_OTHERS, _OURS = "#9aa5b1", "#1f6feb"
_PROCESSES = {"consumer": "#1f6feb", "postgres": "#57606a", "mosquitto": "#c9a227"}


def draw(drains: Sequence[DrainResult], path: Path) -> None:
    """Draw rates and CPU a message into an SVG file, with logarithmic axes for the rates."""
    shown = sorted((drain for drain in drains if drain.failure is None), key=lambda drain: drain.rate)
    labels = [f"({drain.letter}) {_SHORT[drain.letter]}" for drain in shown]
    # The same numbers give the same file.
    plt.rcParams.update({"svg.hashsalt": "vigie", "svg.fonttype": "none", "font.size": 9})
    figure, (rates, cpu) = plt.subplots(1, 2, figsize=(10, 3.2), sharey=True, layout="constrained")
    colours = [_OURS if drain.letter == SUBJECT else _OTHERS for drain in shown]
    bars = rates.barh(labels, [drain.rate for drain in shown], color=colours)
    rates.bar_label(bars, [f"{drain.rate:,.0f}" for drain in shown], padding=3)
    rates.set(xscale="log", xlabel="messages a second (ten values each)")
    rates.margins(x=0.25)
    left = [0.0] * len(shown)
    for process, colour in _PROCESSES.items():
        width = [drain.cpu_us(process) for drain in shown]
        cpu.barh(labels, width, left=left, color=colour, label=process)
        left = [start + more for start, more in zip(left, width, strict=True)]
    # The tutorial's bar would leave nothing to be seen of the others.
    cpu.set(xlim=(0, 60), xlabel="CPU µs a message (cut at 60)")
    cpu.legend(loc="upper right", frameon=False)
    for axes in (rates, cpu):
        axes.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
