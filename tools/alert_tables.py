"""Generates the tables of alerts, objectives and dashboards of the guides, from the rules of Prometheus."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from tools.markdown_tables import render_rows
from tools.monitoring.dashboards import DASHBOARDS
from tools.monitoring.slo_rules import OBJECTIVES

PROMETHEUS: Final = Path(__file__).parents[1] / "deploy" / "prometheus"
_TEMPLATE: Final = re.compile(r"\{\{.*?\}\}")


def list_alerts() -> list[dict[str, Any]]:
    """List the alerting rules of `deploy/prometheus`, in the order of files and groups."""
    rules = [
        rule
        for path in sorted(PROMETHEUS.glob("vigie-*.yml"))
        for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]
        for rule in group["rules"]
    ]
    return [rule for rule in rules if "alert" in rule]


def render_alerts() -> str:
    severities: dict[str, list[str]] = {}
    summaries: dict[str, str] = {}
    for rule in list_alerts():
        severities.setdefault(rule["alert"], []).append(rule["labels"]["severity"])
        summaries[rule["alert"]] = _TEMPLATE.sub("…", rule["annotations"]["summary"])
    body = [
        (f"[{name}]({name}.md)", ", ".join(severities[name]), summaries[name]) for name in sorted(summaries)
    ]
    return render_rows("alert", "severity", "fires when", body=body)


def render_objectives() -> str:
    body = [
        (
            objective.title,
            f"{objective.goal:.1%}",
            objective.reason,
            f"[{objective.alert}](../runbooks/{objective.alert}.md)",
        )
        for objective in OBJECTIVES
    ]
    return render_rows("good", "goal in 30 days", "reason", "alert", body=body)


def render_boards() -> str:
    body = [
        (f"`{name}`", spec.title.removeprefix("Vigie / "), spec.about, str(sum(map(len, spec.rows.values()))))
        for name, spec in DASHBOARDS.items()
    ]
    return render_rows("file", "dashboard", "shows", "panels", body=body)


ALERT_TABLES: Final[Mapping[str, Callable[[], str]]] = {
    "alerts": render_alerts,
    "objectives": render_objectives,
    "dashboards": render_boards,
}
