"""Renders the dashboards as Grafana's JSON, with the library that Grafana maintains for it."""

from itertools import count
from typing import Final

from grafana_foundation_sdk.builders import common
from grafana_foundation_sdk.builders.dashboard import Dashboard, DashboardLink, DatasourceVariable, Row
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.builders.stat import Panel as StatPanel
from grafana_foundation_sdk.builders.timeseries import Panel as GraphPanel
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import (
    LegendDisplayMode,
    LegendPlacement,
    SortOrder,
    TooltipDisplayMode,
)
from grafana_foundation_sdk.models.dashboard import DashboardCursorSync, DashboardLinkType, DataSourceRef

from tools.monitoring.dashboard_specs import DashboardSpec, PanelSpec
from tools.monitoring.dashboards import DASHBOARDS

_SOURCE: Final = DataSourceRef(type_val="prometheus", uid="${datasource}")
_HEIGHT: Final = 8
_STAT_HEIGHT: Final = 5
_TAG: Final = "vigie"


def render_dashboards() -> dict[str, str]:
    """Render each dashboard as Grafana's JSON, by its name."""
    return {name: _render(name, spec) for name, spec in DASHBOARDS.items()}


def _render(name: str, spec: DashboardSpec) -> str:
    links = (
        DashboardLink("Vigie")
        .type(DashboardLinkType.DASHBOARDS)
        .tags([_TAG])
        .as_dropdown(True)
        .keep_time(True)
    )
    board = (
        Dashboard(spec.title)
        .uid(f"vigie-{name}")
        .description(spec.about)
        .tags([_TAG])
        .editable()
        .refresh("30s")
        .time("now-6h", "now")
        .timezone("browser")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .link(links)
        .with_variable(DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
    )
    numbers = count(1)
    for title, panels in spec.rows.items():
        board = board.with_row(Row(title).id(next(numbers)))
        for panel in panels:
            made = _make_stat(panel) if panel.is_stat else _make_graph(panel)
            board = board.with_panel(made.id(next(numbers)))
    return JSONEncoder(sort_keys=True, indent=2).encode(board.build()) + "\n"


def _make_stat(spec: PanelSpec) -> StatPanel:
    panel = (
        StatPanel()
        .title(spec.title)
        .description(spec.note)
        .unit(spec.unit)
        .datasource(_SOURCE)
        .height(_STAT_HEIGHT)
        .span(spec.span)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    )
    for query, _ in spec.queries:
        panel = panel.with_target(Dataquery().expr(query).datasource(_SOURCE).instant())
    return panel


def _make_graph(spec: PanelSpec) -> GraphPanel:
    legend = (
        common.VizLegendOptions()
        .display_mode(LegendDisplayMode.LIST)
        .placement(LegendPlacement.BOTTOM)
        .show_legend(True)
    )
    tooltip = common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI).sort(SortOrder.DESCENDING)
    panel = (
        GraphPanel()
        .title(spec.title)
        .description(spec.note)
        .unit(spec.unit)
        .datasource(_SOURCE)
        .height(_HEIGHT)
        .span(spec.span)
        .min(0)
        .line_width(1)
        .fill_opacity(8)
        .legend(legend)
        .tooltip(tooltip)
    )
    for query, label in spec.queries:
        panel = panel.with_target(Dataquery().expr(query).legend_format(label).datasource(_SOURCE).range())
    return panel
