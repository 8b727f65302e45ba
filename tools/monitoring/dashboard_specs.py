"""Defines panels and dashboards, and builds the PromQL that many panels share."""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

RATE: Final = "$__rate_interval"
"""Grafana's variable of the window of rates."""


class PanelSpec(NamedTuple):
    """A panel.

    Attributes:
        title: its title.
        unit: Grafana's name of the unit.
        queries: PromQL, and the legend of its series.
        note: what it means, and when to worry.
        span: its width, of 24.
        is_stat: whether it shows the last value as a number, instead of a graph.
    """

    title: str
    unit: str
    queries: Sequence[tuple[str, str]]
    note: str = ""
    span: int = 12
    is_stat: bool = False


class DashboardSpec(NamedTuple):
    """A dashboard: its title, a line on it, and its rows of panels by their titles."""

    title: str
    about: str
    rows: Mapping[str, Sequence[PanelSpec]]


def sum_rate(metric: str, by: str = "", where: str = "") -> str:
    """Build the summed rate of a counter."""
    group = f" by ({by})" if by else ""
    return f"sum{group} (rate({metric}{where}[{RATE}]))"


def build_quantile(quantile: float, metric: str, by: str = "", where: str = "") -> str:
    """Build a quantile of a histogram."""
    group = f"le, {by}" if by else "le"
    return f"histogram_quantile({quantile}, sum by ({group}) (rate({metric}_bucket{where}[{RATE}])))"


def make_stat(title: str, unit: str, query: str, note: str = "", span: int = 6) -> PanelSpec:
    """Make a panel that shows the last value as a number."""
    return PanelSpec(title, unit, [(query, "")], note, span, is_stat=True)
