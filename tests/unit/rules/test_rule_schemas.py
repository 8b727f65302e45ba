"""What a body of `POST /v1/rules` may say, and where a refusal of it points."""

from typing import Any

import pytest
from pydantic import ValidationError

from app.platform.http.contract.problems import get_field_error_code
from app.platform.kernel.ids import new_id
from app.rules.definitions.rule_examples import EXAMPLES
from app.rules.definitions.schemas import RuleChange, RuleCreate, RuleDefinition
from app.rules.definitions.severity import SEVERITIES, find_highest_severity, rank_severity
from app.rules.engine.rule_compiler import compile_rule

THRESHOLD: dict[str, Any] = {"metric": "pm2_5", "operator": ">", "threshold": 25}
MEAN: dict[str, Any] = {**THRESHOLD, "function": "mean", "window": "PT1H"}
RANGE: dict[str, Any] = {"metric": "temperature", "operator": "outside", "low": 14, "high": 20}
SILENT: dict[str, Any] = {"no_data": "PT15M"}
EVENT: dict[str, Any] = {"event": "gunshot"}
TIMING: dict[str, Any] = {"for": "PT0S", "repeat": 1, "keep_firing_for": "PT0S"}


def stored(condition: dict[str, Any]) -> dict[str, Any]:
    found = RuleDefinition.model_validate({"severity": "info", "condition": condition}).definition()
    level: dict[str, Any] = found["levels"][0]["condition"]
    return level


def faults(
    body: dict[str, Any], shape: type[RuleDefinition | RuleChange] = RuleDefinition
) -> list[tuple[str, str]]:
    with pytest.raises(ValidationError) as caught:
        shape.model_validate(body)
    return [
        (".".join(map(str, fault["loc"])), get_field_error_code(fault)) for fault in caught.value.errors()
    ]


def faults_of(condition: object) -> list[tuple[str, str]]:
    return faults({"severity": "info", "condition": condition})


@pytest.mark.parametrize(
    ("given", "added"),
    [
        (THRESHOLD, {"clear": 25}),
        ({**THRESHOLD, "clear": None, "for": "PT1M"}, {"clear": 25, "for": "PT1M"}),
        ({**THRESHOLD, "threshold": {"attribute": "limit"}}, {"clear": {"attribute": "limit"}}),
        (RANGE, {"margin": 0}),
        (MEAN, {"clear": 25}),
        ({**RANGE, "function": "rate", "window": "PT5M"}, {"margin": 0}),
        (SILENT, {}),
        (EVENT, {"count": 1, "window": "PT5M"}),
        ({"all": [SILENT, EVENT]}, {"all": [SILENT, {**EVENT, "count": 1, "window": "PT5M"}]}),
        ({"not": THRESHOLD}, {"not": {**THRESHOLD, "clear": 25}}),
        ({"boxes": SILENT, "share": 50}, {}),
        ({**SILENT, "box": "box-1", "repeat": 3, "keep_firing_for": "PT1H"}, {}),
    ],
)
def test_a_condition_is_stored_complete(given: dict[str, Any], added: dict[str, Any]) -> None:
    assert stored(given) == {**TIMING, **given, **added}


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_examples_can_be_made_and_compiled(name: str) -> None:
    definition = RuleCreate.model_validate(EXAMPLES[name]["value"]).definition()
    compile_rule(
        id=new_id(),
        version=1,
        organisation_id=new_id(),
        site_id=new_id(),
        name=name,
        definition=definition,
        timezone="Europe/Paris",
    )


def test_each_kind_of_condition_has_an_example() -> None:
    text = str(EXAMPLES)
    words = (
        "threshold",
        "low",
        "function",
        "no_data",
        "event",
        "all",
        "any",
        "not",
        "boxes",
        "box",
        "attribute",
    )
    assert [word for word in words if f"'{word}'" not in text] == []


@pytest.mark.parametrize(
    ("condition", "where", "code"),
    [
        (3, "", "wrong_type"),
        ([THRESHOLD], "", "wrong_type"),
        ({}, "", "unknown_condition"),
        ({"for": "PT1M"}, "", "unknown_condition"),
        ({"metrics": "pm2_5"}, "", "unknown_condition"),
        ({**THRESHOLD, **SILENT}, "", "ambiguous_condition"),
        ({"all": [SILENT], "any": [SILENT]}, "", "ambiguous_condition"),
        ({"all": [SILENT, {"not": {**THRESHOLD, "event": "x"}}]}, "all.1.not", "ambiguous_condition"),
        ({"all": [SILENT, {**THRESHOLD, "threshold": "25"}]}, "all.1.threshold", "wrong_type"),
        ({"all": [SILENT, {**THRESHOLD, "for": "PT1M"}]}, "all.1.for", "unknown_field"),
        ({"all": []}, "all", "invalid_value"),
        ({"any": SILENT}, "any", "wrong_type"),
        ({"not": [SILENT]}, "not", "wrong_type"),
        ({"operator": ">", "threshold": 25}, "metric", "missing_field"),
        ({"metric": "pm2_5", "threshold": 25}, "operator", "missing_field"),
        ({"metric": "pm2_5", "operator": "outside", "low": 1}, "high", "missing_field"),
        ({**THRESHOLD, "metric": "dust"}, "metric", "unknown_metric"),
        ({**THRESHOLD, "operator": "=="}, "operator", "invalid_value"),
        ({**THRESHOLD, "operator": ["<"]}, "operator", "invalid_value"),
        ({**THRESHOLD, "clear": 26}, "clear", "invalid_clear"),
        ({**THRESHOLD, "clear": {"attribute": "a", "default": 26}}, "clear", "invalid_clear"),
        ({**THRESHOLD, "operator": "<=", "clear": 24}, "clear", "invalid_clear"),
        ({**THRESHOLD, "threshold": {"default": 3}}, "threshold.attribute", "missing_field"),
        ({**THRESHOLD, "threshold": {"attribute": "A"}}, "threshold.attribute", "invalid_attribute"),
        ({**THRESHOLD, "threshold": {"attribute": "a", "default": "3"}}, "threshold.default", "wrong_type"),
        ({**THRESHOLD, "threshold": float("nan")}, "threshold", "invalid_value"),
        ({**THRESHOLD, "threshold": float("inf")}, "threshold", "invalid_value"),
        ({**THRESHOLD, "threshold": 10**400}, "threshold", "wrong_type"),
        ({**THRESHOLD, "threshold": True}, "threshold", "wrong_type"),
        ({**THRESHOLD, "low": 1}, "low", "unknown_field"),
        ({**THRESHOLD, "box": "a b"}, "box", "invalid_box_id"),
        ({**RANGE, "high": 13}, "high", "invalid_range"),
        ({**RANGE, "margin": 3.5}, "margin", "invalid_margin"),
        ({**RANGE, "margin": -1}, "margin", "invalid_value"),
        ({**RANGE, "clear": 15}, "clear", "unknown_field"),
        ({**THRESHOLD, "function": "mean"}, "window", "missing_field"),
        ({**THRESHOLD, "window": "PT1H"}, "function", "missing_field"),
        ({**MEAN, "function": "median"}, "function", "invalid_value"),
        ({**MEAN, "window": "PT0.5S"}, "window", "invalid_duration"),
        ({**MEAN, "window": "P8D"}, "window", "invalid_duration"),
        ({**MEAN, "window": "1h"}, "window", "invalid_duration"),
        ({**MEAN, "coverage": 0}, "coverage", "invalid_value"),
        ({**MEAN, "coverage": 100.1}, "coverage", "invalid_value"),
        ({**MEAN, "percentile": 95}, "percentile", "unknown_field"),
        ({**MEAN, "function": "percentile"}, "percentile", "missing_field"),
        ({**MEAN, "function": "percentile", "percentile": 100}, "percentile", "invalid_value"),
        ({**MEAN, "metric": "laeq"}, "function", "arithmetic_mean_of_decibels"),
        ({**MEAN, "metric": "lcpeak", "function": "sum"}, "function", "arithmetic_mean_of_decibels"),
        ({**MEAN, "function": "energy_mean"}, "function", "not_a_level"),
        ({**SILENT, "metric": "dust"}, "metric", "unknown_metric"),
        ({"no_data": "PT0S"}, "no_data", "invalid_duration"),
        ({"no_data": 15}, "no_data", "wrong_type"),
        ({"event": "Gunshot"}, "event", "invalid_value"),
        ({**EVENT, "metric": "laeq"}, "metric", "unknown_field"),
        ({**EVENT, "confidence": 1.1}, "confidence", "invalid_value"),
        ({**EVENT, "class": "a\0b"}, "class", "nul_in_text"),
        ({**EVENT, "class_": "pistol"}, "class_", "unknown_field"),
        ({**EVENT, "model": "x" * 65}, "model", "text_too_long"),
        ({**EVENT, "count": 0}, "count", "invalid_value"),
        ({**EVENT, "count": 1.0}, "count", "wrong_type"),
        ({"boxes": SILENT}, "", "at_least_or_share"),
        ({"boxes": SILENT, "at_least": 1, "share": 1}, "", "at_least_or_share"),
        ({"boxes": SILENT, "at_least": 0}, "at_least", "invalid_value"),
        ({"boxes": SILENT, "share": 0}, "share", "invalid_value"),
        ({"boxes": SILENT, "share": 101}, "share", "invalid_value"),
        ({"boxes": SILENT, "share": 1, "scope": {}}, "scope", "empty_scope"),
        ({"boxes": SILENT, "share": 1, "scope": {"tags": []}}, "scope.tags", "invalid_value"),
        ({"boxes": ["box-1"], "share": 1}, "boxes", "wrong_type"),
        ({**SILENT, "for": "P32D"}, "for", "invalid_duration"),
        ({**SILENT, "for": None}, "for", "wrong_type"),
        ({**SILENT, "repeat": 0}, "repeat", "invalid_value"),
        ({**SILENT, "repeat": 10**30}, "repeat", "invalid_value"),
        ({**SILENT, "keep_firing_for": "PT"}, "keep_firing_for", "invalid_duration"),
    ],
)
def test_a_refusal_points_at_the_one_part_that_is_wrong(condition: object, where: str, code: str) -> None:
    assert faults_of(condition) == [(f"condition.{where}".rstrip("."), code)]


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        ({**THRESHOLD, "operator": "gt"}, ["'gt'", "`>` `>=` `<` `<=` `inside` `outside`"]),
        ({**RANGE, "operator": "between"}, ["'between'", "`>` `>=` `<` `<=` `inside` `outside`"]),
        ({**THRESHOLD, "threshold": "night_limit"}, ['{"attribute": "night_limit"}']),
        ({**THRESHOLD, "threshold": "evening"}, ['{"attribute": "evening"}']),
        ({**THRESHOLD, "threshold": "25"}, ["'25' is not a number"]),
        ({**THRESHOLD, "hysteresis": 3}, ["`threshold`, `clear`, `function`, `window`", "`for`, `repeat`"]),
        ({**RANGE, "hysteresis": 3}, ["`low`, `high`, `margin`"]),
        ({**EVENT, "min_confidence": 0.5}, ["`event`, `confidence`, `class`, `model`, `count`, `window`"]),
        ({"boxes": SILENT, "at_least": 1, "percent": 3}, ["`boxes`, `at_least`, `share`, `scope`"]),
        ({**SILENT, "for": "P1W"}, ["write days (P7D)"]),
    ],
)
def test_a_refusal_says_what_would_be_right(condition: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ValidationError) as caught:
        RuleDefinition.model_validate({"severity": "info", "condition": condition})
    (fault,) = caught.value.errors()
    assert [word for word in words if word not in fault["msg"]] == []


def test_a_rule_without_severity_may_have_levels() -> None:
    with pytest.raises(ValidationError) as caught:
        RuleDefinition.model_validate({"condition": SILENT})
    assert "or `levels`" in caught.value.errors()[0]["msg"]


def test_an_unknown_field_is_named_beside_every_other_fault() -> None:
    wrong = {**THRESHOLD, "metric": "dust", "hysteresis": 1, "scope": {"tags": [3]}, "for": "x"}
    assert sorted(faults_of(wrong)) == [
        ("condition.for", "invalid_duration"),
        ("condition.hysteresis", "unknown_field"),
        ("condition.metric", "unknown_metric"),
        ("condition.scope", "unknown_field"),
    ]
    # The fields of what a part holds are that one's own.
    inner = {"boxes": SILENT, "share": 1, "scope": {"sites": []}, "count": 3}
    assert sorted(faults_of(inner)) == [
        ("condition.count", "unknown_field"),
        ("condition.scope.sites", "unknown_field"),
    ]


def test_every_fault_of_a_tree_is_named_once() -> None:
    wrong = {"all": [{**THRESHOLD, "threshold": "x"}, {"any": [{}, SILENT]}, {**RANGE, "high": 1}]}
    assert faults_of(wrong) == [
        ("condition.all.0.threshold", "wrong_type"),
        ("condition.all.1.any.0", "unknown_condition"),
        ("condition.all.2.high", "invalid_range"),
    ]


def nested(depth: int) -> dict[str, Any]:
    return SILENT if depth == 1 else {"not": nested(depth - 1)}


def test_trees_have_a_depth_and_a_size() -> None:
    assert stored(nested(6)) == {**TIMING, **nested(6)}
    assert faults_of(nested(7)) == [("condition" + ".not" * 6, "condition_too_deep")]
    assert faults_of(nested(500)) == [("condition" + ".not" * 6, "condition_too_deep")]
    assert len(stored({"all": [SILENT] * 49})["all"]) == 49
    assert faults_of({"all": [SILENT] * 50}) == [("condition.all.49", "condition_too_large")]
    assert faults_of({"all": [{"any": [3] * 100_000}] * 100_000}) == [
        ("condition.all.0.any.48", "condition_too_large")
    ]


@pytest.mark.parametrize(
    ("condition", "where", "code"),
    [
        ({"all": [{"boxes": SILENT, "share": 1}, SILENT]}, "all.1", "leaf_without_box"),
        ({"any": [{**SILENT, "box": "a"}, {"not": EVENT}]}, "any.1.not", "leaf_without_box"),
        ({"boxes": {**SILENT, "box": "a"}, "share": 1}, "boxes", "nested_boxes"),
        (
            {"boxes": {"not": {"boxes": SILENT, "share": 1}}, "share": 1},
            "boxes.not",
            "nested_boxes",
        ),
    ],
)
def test_a_rule_on_its_site_as_a_whole_says_which_boxes(
    condition: dict[str, Any], where: str, code: str
) -> None:
    assert faults_of(condition) == [(f"condition.{where}", code)]
    ladder = [
        {"severity": "info", "condition": {"boxes": SILENT, "at_least": 2}},
        {"severity": "critical", "condition": condition},
    ]
    assert faults({"levels": ladder}) == [(f"levels.1.condition.{where}", code)]
    assert faults({"levels": ladder}, RuleChange) == [(f"levels.1.condition.{where}", code)]


def test_all_levels_of_a_ladder_are_on_the_site_or_none() -> None:
    ladder = [
        {"severity": "info", "condition": SILENT},
        {"severity": "critical", "condition": {"boxes": SILENT, "at_least": 2}},
    ]
    assert faults({"levels": ladder}) == [("levels.0.condition", "leaf_without_box")]


def levels(*severities: str) -> list[dict[str, Any]]:
    return [{"severity": severity, "condition": SILENT} for severity in severities]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, [("severity", "missing_field"), ("condition", "missing_field")]),
        ({"condition": SILENT}, [("severity", "missing_field")]),
        ({"severity": "info"}, [("condition", "missing_field")]),
        ({"severity": "info", "condition": None}, [("condition", "wrong_type")]),
        ({"levels": levels("info", "critical"), "severity": "info"}, [("levels", "condition_or_levels")]),
        ({"levels": levels("info", "critical"), "condition": SILENT}, [("levels", "condition_or_levels")]),
        ({"levels": levels("info")}, [("levels", "invalid_value")]),
        ({"levels": levels("info", "info")}, [("levels.1.severity", "levels_not_ascending")]),
        ({"levels": levels("info", "critical", "warning")}, [("levels.2.severity", "levels_not_ascending")]),
        ({"levels": None}, [("levels", "wrong_type")]),
    ],
)
def test_a_rule_has_one_condition_or_levels(body: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    assert faults(body) == expected


@pytest.mark.parametrize(
    ("field", "value", "where", "code"),
    [
        ("scope", {}, "", "empty_scope"),
        ("scope", {"boxes": []}, "boxes", "invalid_value"),
        ("scope", {"boxes": ["a b"]}, "boxes.0", "invalid_box_id"),
        ("scope", {"boxes": ["a"] * 201}, "boxes", "invalid_value"),
        ("scope", {"kinds": ["Street"]}, "kinds.0", "invalid_kind"),
        ("scope", {"tags": ["a b"]}, "tags.0", "invalid_tag"),
        ("scope", {"sites": ["a"]}, "sites", "unknown_field"),
        ("active", [], "", "invalid_value"),
        ("active", [{"from": "25:00", "to": "06:00"}], "0.from", "invalid_hours"),
        ("active", [{"from": "22:00"}], "0.to", "missing_field"),
        ("active", [{"days": ["monday"], "from": "22:00", "to": "23:00"}], "0.days.0", "invalid_value"),
        ("max_age", "PT0S", "", "invalid_duration"),
        ("max_age", None, "", "wrong_type"),
        ("escalations", [{"after": "PT1H"}], "0.severity", "missing_field"),
        ("escalations", [{"after": "PT0S", "severity": "critical"}], "0.after", "invalid_duration"),
        (
            "escalations",
            [{"after": "PT1H", "severity": "warning"}, {"after": "PT60M", "severity": "critical"}],
            "1",
            "escalations_not_ascending",
        ),
        (
            "escalations",
            [{"after": "PT1H", "severity": "critical"}, {"after": "PT2H", "severity": "warning"}],
            "1",
            "escalations_not_ascending",
        ),
        (
            "escalations",
            [{"after": f"PT{hour}H", "severity": "critical"} for hour in range(1, 7)],
            "",
            "invalid_value",
        ),
        ("remind_every", "PT59S", "", "invalid_duration"),
    ],
)
def test_what_surrounds_the_condition_is_checked(field: str, value: object, where: str, code: str) -> None:
    expected = [(f"{field}.{where}".rstrip("."), code)]
    assert faults({"severity": "info", "condition": SILENT, field: value}) == expected
    assert faults({field: value}, RuleChange) == expected


def test_severities_have_an_order() -> None:
    assert [rank_severity(severity) for severity in SEVERITIES] == [0, 1, 2]
    assert find_highest_severity(["warning", "critical", "info"]) == "critical"
    assert find_highest_severity(["info"]) == "info"
