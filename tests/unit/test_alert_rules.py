"""The alerting rules for Prometheus name metrics and labels that exist."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import Gauge
from prometheus_client.metrics import MetricWrapperBase

from app.all_metrics import ALL_METRICS
from app.ingest.settings import IngestSettings

RULES = Path(__file__).parents[2] / "deploy" / "prometheus" / "vigie-alerts.yml"
# Prometheus' own, of each target.
OWN = {"up": {"job", "instance"}}
SUFFIXES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_count", "_sum")}


def exposed() -> dict[str, set[str]]:
    """Name as Prometheus knows it → its labels."""
    found: dict[str, set[str]] = {}
    for metric in ALL_METRICS:
        if isinstance(metric, MetricWrapperBase):
            for suffix in SUFFIXES[str(metric._type)]:
                bucket = {"le"} if suffix == "_bucket" else set()
                found[metric._name + suffix] = set(metric._labelnames) | bucket
    return found


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: str(rule["alert"]))
def test_a_rule_stands_on_what_is_exposed(rule: dict[str, Any]) -> None:
    known = exposed()
    known |= OWN
    names = re.findall(r"\bvigie_\w+|\bup\b", rule["expr"])
    assert names
    assert set(names) <= known.keys()
    labels = set().union(*(known[name] for name in names))
    selected = "".join(re.findall(r"\{([^}]*)\}", rule["expr"]))
    assert set(re.findall(r"(\w+)\s*[!=]", selected)) <= labels
    grouped = " ".join(re.findall(r"\bby \(([^)]*)\)", rule["expr"]))
    assert set(re.findall(r"\w+", grouped)) <= labels
    assert set(re.findall(r"\$labels\.(\w+)", str(rule["annotations"]))) <= labels
    assert rule["labels"]["severity"] in {"info", "warning", "critical"}
    assert {"summary", "description"} <= rule["annotations"].keys()


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: str(rule["alert"]))
def test_a_process_that_stands_by_is_no_alarm(rule: dict[str, Any]) -> None:
    """Each process shows every gauge: what is compared with little must be the most of them."""
    gauges = [metric._name for metric in ALL_METRICS if isinstance(metric, Gauge)]
    bare = rf"(?<!max\()\b({'|'.join(gauges)})\s*(<|==)"
    assert re.search(bare, rule["expr"]) is None


def test_a_batch_that_never_gets_in_is_an_alarm() -> None:
    rule = next(each for each in rules() if each["alert"] == "VigieBatchesRetried")
    found = re.fullmatch(r"sum\(increase\(\w+\{(.+)\}\[5m\]\)\) > (\d+)", rule["expr"])
    assert found is not None
    assert int(found[2]) < 5 * 60 / IngestSettings().reconnect_max_s
    assert found[1] == 'reason!~"bisected|shared|states_behind"'


def test_names_of_alerts_are_unique() -> None:
    names = [rule["alert"] for rule in rules()]
    assert len(set(names)) == len(names)
    assert "VigieBrokerDropsMessages" in names
