"""The guides of rules and alerts: what they show as JSON is taken, and the tests that they name are there."""

import ast
import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from app.alerts.muting_schemas import InhibitionCreate, SilenceCreate
from app.platform.kernel.ids import new_id
from app.rules.definitions.schemas import RuleCreate
from app.rules.engine.threshold_evaluator import compile_rule

ROOT = Path(__file__).parents[3]
RULES = ROOT / "docs" / "rules.md"
ALERTS = ROOT / "docs" / "alerts.md"
EXAMPLE = re.compile(r"^```json\n(.*?)^```$", re.DOTALL | re.MULTILINE)
TEST = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")
KEYS = (
    "threshold",
    "margin",
    "function",
    "no_data",
    "event",
    "all",
    "not",
    "boxes",
    "levels",
    "attribute",
    "index",
)
ISSUE = re.compile(r"\[[\w-]+ (\d+)\]\(https://github\.com/[\w.-]+/[\w.-]+/(?:issues|pull)/(\d+)\)")


def examples(path: Path) -> list[Any]:
    return [json.loads(text) for text in EXAMPLE.findall(path.read_text(encoding="utf-8"))]


def complaints() -> list[list[str]]:
    """The cells of each row of the table."""
    section = RULES.read_text(encoding="utf-8").partition("\n## Fifteen complaints\n")[2]
    _, rule, *rows = [line for line in section.splitlines() if line.startswith("|")]
    assert set(rule) <= set("| -")
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows]


@cache
def names_in(path: str) -> frozenset[str]:
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return frozenset(
        node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )


def named_tests() -> list[tuple[str, str]]:
    return [found for *_, named in complaints() for found in TEST.findall(named)]


def taken(body: dict[str, Any]) -> None:
    """Check an example by the shape of the call that it is for, as strictly as the call does."""
    kinds: dict[str, type[BaseModel]] = {
        "matchers": SilenceCreate,
        "alert_id": SilenceCreate,
        "source": InhibitionCreate,
    }
    kind = next((kinds[key] for key in kinds if key in body), RuleCreate)
    made = kind.model_validate(body)
    if isinstance(made, RuleCreate):
        compile_rule(
            id=new_id(),
            version=1,
            organisation_id=new_id(),
            site_id=new_id(),
            name=made.name,
            definition=made.definition(),
            timezone="Europe/Paris",
        )


@pytest.mark.parametrize("body", examples(RULES), ids=lambda body: str(body["name"]))
def test_the_rules_that_are_shown_are_taken(body: dict[str, Any]) -> None:
    assert "site_id" in body
    taken(body)


@pytest.mark.parametrize("body", examples(ALERTS), ids=lambda body: next(iter(body)))
def test_what_the_guide_of_alerts_shows_is_taken(body: dict[str, Any]) -> None:
    taken(body)


@pytest.mark.parametrize("key", KEYS)
def test_each_kind_of_condition_is_shown(key: str) -> None:
    assert f'"{key}": ' in json.dumps(examples(RULES))


def test_fifteen_complaints_each_with_where_and_a_test() -> None:
    rows = complaints()
    assert len(rows) == 15
    for complaint, where, why, named in rows:
        assert complaint, where
        assert why, complaint
        issues = ISSUE.findall(where)
        assert issues, complaint
        assert len(issues) == where.count("](")
        assert all(shown == linked for shown, linked in issues), where
        assert TEST.findall(named), complaint
        assert TEST.sub("", named).strip(", ") == ""


@pytest.mark.parametrize(("path", "name"), named_tests(), ids=lambda value: str(value).rpartition("/")[2])
def test_the_tests_that_are_named_are_there(path: str, name: str) -> None:
    assert name in names_in(path)
