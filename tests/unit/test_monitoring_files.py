"""Rules, dashboards, configurations and runbooks are valid and current, and name what exists."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.metrics import MetricWrapperBase

from app.all_metrics import ALL_METRICS
from app.processes.api_application import create_app
from app.settings import VigieSettings
from tools.alert_tables import list_alerts
from tools.default_settings import default_settings
from tools.docs_tables import PREFIX, flatten_settings
from tools.monitoring.__main__ import HINT, render_files
from tools.monitoring.dashboards import list_queries

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
RUNBOOKS = ROOT / "docs" / "runbooks"
PAGES = sorted(path for path in RUNBOOKS.glob("*.md") if path.stem != "README")
SECTIONS = ["Meaning", "Look", "Do", "Over when"]
SUFFIXES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_count", "_sum")}
QUERY = re.compile(r"--data-urlencode 'query=([^']+)'")


def run(*words: str, folder: Path = ROOT) -> str:
    """Run a program, which must succeed; gives what it printed."""
    program = shutil.which(words[0])
    assert program is not None, f"{words[0]} is missing: sh deploy/install.sh --tests"
    done = subprocess.run([program, *words[1:]], cwd=folder, capture_output=True, text=True, check=False)  # noqa: S603  # the arguments are our own
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def exposed() -> set[str]:
    found = set()
    for metric in ALL_METRICS:
        assert isinstance(metric, MetricWrapperBase)
        found |= {metric._name + suffix for suffix in SUFFIXES[str(metric._type)]}
    return found


def recorded() -> set[str]:
    slo: dict[str, Any] = yaml.safe_load((DEPLOY / "prometheus" / "vigie-slo.yml").read_text())
    return {rule["record"] for group in slo["groups"] for rule in group["rules"] if "record" in rule}


@pytest.mark.parametrize(("path", "text"), list(render_files()), ids=lambda value: getattr(value, "name", ""))
def test_files_are_not_stale(path: Path, text: str) -> None:
    assert path.read_text(encoding="utf-8") == text, f"{path.relative_to(ROOT)} is stale: {HINT}"


def test_promtool_accepts_rules_and_configuration() -> None:
    run("promtool", "check", "rules", "vigie-alerts.yml", "vigie-slo.yml", folder=DEPLOY / "prometheus")
    run("promtool", "check", "config", "--syntax-only", "prometheus.yml", folder=DEPLOY / "prometheus")


@pytest.mark.parametrize(
    "path", sorted((DEPLOY / "prometheus" / "tests").glob("*.yml")), ids=lambda path: path.stem
)
def test_each_alert_is_quiet_and_then_fires(path: Path) -> None:
    run("promtool", "test", "rules", path.name, folder=path.parent)


def test_each_alert_has_such_a_test() -> None:
    tested = "".join(path.read_text() for path in (DEPLOY / "prometheus" / "tests").glob("*.yml"))
    assert [rule["alert"] for rule in list_alerts() if rule["alert"] not in tested] == []


def test_alertmanager_accepts_its_configuration_and_routes_by_severity() -> None:
    config = str(DEPLOY / "alertmanager" / "alertmanager.yml")
    run("amtool", "check-config", config)
    for severity, receiver in (("critical", "on-call"), ("warning", "tickets"), ("other", "tickets")):
        words = ("config", "routes", "test", f"--config.file={config}", f"severity={severity}")
        assert run("amtool", *words).strip() == receiver


def test_a_missing_role_inhibits_no_alert_on_another_one() -> None:
    rules = yaml.safe_load((DEPLOY / "alertmanager" / "alertmanager.yml").read_text())["inhibit_rules"]
    found = {}
    for rule in rules:
        if 'alertname="VigieRoleMissing"' in rule["source_matchers"]:
            (role,) = [each for each in rule["source_matchers"] if each.startswith("role=")]
            (targets,) = rule["target_matchers"]
            found[role] = targets
    assert found.keys() == {'role="ingest"', 'role="deliver"'}
    assert "VigieIngestDisconnected" in found['role="ingest"']
    assert "Ingest" not in found['role="deliver"']


def test_queries_are_promql_and_name_what_exists(tmp_path: Path) -> None:
    queries = [query.replace("$__rate_interval", "1m") for _, _, query in list_queries()]
    for path in PAGES:
        queries += QUERY.findall(path.read_text(encoding="utf-8"))
    known = exposed() | recorded()
    for query in queries:
        names = set(re.findall(r"\bvigie[_:][\w:.]+", re.sub(r"\{[^}]*\}", "", query)))
        assert names, query
        assert names <= known, query
    rules = [{"record": f"query{number}", "expr": query} for number, query in enumerate(queries)]
    (tmp_path / "queries.yml").write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))
    run("promtool", "check", "rules", "queries.yml", folder=tmp_path)


def test_panels_of_a_dashboard_have_ids_of_their_own() -> None:
    for path in (DEPLOY / "grafana" / "dashboards").glob("*.json"):
        ids = [panel["id"] for panel in json.loads(path.read_text())["panels"]]
        assert len(set(ids)) == len(ids), path.name


def test_each_alert_has_its_runbook_and_links_to_it() -> None:
    names = {rule["alert"] for rule in list_alerts()}
    assert {path.stem for path in PAGES} == names
    for rule in list_alerts():
        link = rule["annotations"]["runbook_url"]
        assert link == "{{ $externalLabels.vigie_docs }}/runbooks/" + rule["alert"]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_a_runbook_has_its_parts(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.startswith(f"# {path.stem}\n")
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == SECTIONS
    assert "```sh\n" in text.partition("## Look")[2].partition("## Do")[0]


def test_runbooks_name_calls_settings_and_log_events_that_exist() -> None:
    calls = {re.sub(r"\{[^}]*\}", "{}", path) for path in create_app(VigieSettings()).openapi()["paths"]}
    settings = {name.strip("`") for name, _, _ in flatten_settings(default_settings(), PREFIX)}
    program = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "app").rglob("*.py"))
    for path in PAGES:
        text = path.read_text(encoding="utf-8")
        named = re.findall(r"(?:(?:GET|POST|PUT|PATCH|DELETE) |\$API)(/[a-z0-9/_{}-]+)", text)
        assert {re.sub(r"\{[^}]*\}", "{}", call) for call in named} <= calls, path.name
        assert set(re.findall(r"VIGIE_\w+\w", text)) <= settings, path.name
        events = [name for found in re.findall(r"grep -E '([a-z_|]+)'", text) for name in found.split("|")]
        assert [event for event in events if f'"{event}"' not in program] == [], path.name
