"""The form of rules: what it can express comes back unchanged; what it cannot is left to JSON."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.console.framework.form_fields import FormFields
from app.console.rules.rule_form import KINDS, fields_to_rule, form_kind, rule_to_fields
from app.console.rules.rule_normal_form import normalise_rule
from app.presentation.languages import Language
from app.rules.definitions.rule_examples import EXAMPLES
from app.rules.definitions.schemas import RuleCreate
from app.rules.presets.preset_list import PRESETS

SITE = "0199d1c5-7a3e-7c54-9d1e-5b6f0a2c8e11"
# Conditions of several parts, on several boxes or with options of an index have no sentence.
INEXPRESSIBLE = {"all", "any", "share", "boxes", "index_value"}
WITHOUT_SENTENCE = {"mould-risk", "dust-mites", "site-silent", "metric-silent"}
THRESHOLD = {"metric": "pm2_5", "operator": ">", "threshold": 25, "clear": 20, "for": "PT10M"}


def rule_of(**fields: Any) -> dict[str, Any]:  # noqa: ANN401 (the fields of a rule)
    return {"site_id": SITE, "name": "r", "severity": "warning", **fields}


@pytest.mark.parametrize("language", ["en", "fr"])
@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_of_the_api_come_back_unchanged(name: str, language: Language) -> None:
    rule = EXAMPLES[name]["value"]
    fields = rule_to_fields(rule, language=language)
    assert (fields is None) == (name in INEXPRESSIBLE)
    if fields is not None:
        assert normalise_rule(fields_to_rule(fields)) == normalise_rule(rule)
        assert RuleCreate.model_validate(fields_to_rule(fields)).name == rule["name"]


def test_most_presets_are_sentences() -> None:
    for preset in PRESETS.values():
        for rule in preset.rules:
            body = {"site_id": SITE, "name": rule.name.en, **rule.body}
            assert (rule_to_fields(body) is None) == (preset.id in WITHOUT_SENTENCE), preset.id


def test_everything_around_the_condition_comes_back() -> None:
    rule = rule_of(
        condition=THRESHOLD | {"repeat": 3, "keep_firing_for": "PT5M"},
        description="Close the windows.",
        scope={"boxes": ["a", "b"], "kinds": ["street"], "tags": ["school"]},
        active=[{"days": ["mon", "fri"], "from": "22:00", "to": "06:00"}, {"from": "12:00", "to": "13:00"}],
        max_age="PT30M",
        escalations=[{"after": "PT30M", "severity": "critical"}],
        remind_every="PT2H",
        dry_run=True,
    )
    fields = rule_to_fields(rule)
    assert fields is not None
    assert normalise_rule(fields_to_rule(fields)) == normalise_rule(rule)


def test_levels_share_what_is_compared() -> None:
    levels = [
        {"severity": "warning", "condition": THRESHOLD},
        {"severity": "critical", "condition": THRESHOLD | {"threshold": 50, "clear": 40, "for": "PT0S"}},
    ]
    rule = {"site_id": SITE, "name": "r", "levels": levels}
    fields = rule_to_fields(rule)
    assert fields is not None
    assert (fields.one("threshold_1"), fields.one("threshold_2")) == ("25", "50")
    assert normalise_rule(fields_to_rule(fields)) == normalise_rule(rule)
    # A level on another metric would lose it.
    levels[1]["condition"] = THRESHOLD | {"metric": "pm10"}
    assert rule_to_fields(rule) is None


@pytest.mark.parametrize(
    "rule",
    [
        {},
        {"severity": "warning"},
        rule_of(condition=[]),
        rule_of(condition={"metric": 5, "operator": ">"}),
        rule_of(condition=THRESHOLD | {"threshold": True}),
        rule_of(condition=THRESHOLD | {"for": "ten minutes"}),
        rule_of(condition=THRESHOLD, unknown=1),
        rule_of(condition=THRESHOLD | {"unknown": 1}),
        rule_of(condition=THRESHOLD, active=[{"from": "1"}]),
        rule_of(
            condition=THRESHOLD, escalations=[{"after": f"PT{n}M", "severity": "critical"} for n in (1, 2, 3)]
        ),
        rule_of(condition=THRESHOLD, levels="x"),
    ],
)
def test_what_it_cannot_express_is_left_to_json(rule: dict[str, Any]) -> None:
    assert rule_to_fields(rule) is None


def test_text_that_is_no_number_stays_for_the_api_to_refuse() -> None:
    typed = {"kind": ["value"], "threshold_1": ["lots"], "for_1_n": ["soon"], "for_1_unit": ["min"]}
    condition = fields_to_rule(FormFields(typed))["condition"]
    assert condition == {"threshold": "lots", "for": "PTsoonM"}
    for text in ("nan", "inf", "1e999"):
        assert fields_to_rule(FormFields({"threshold_1": [text]}))["condition"] == {"threshold": text}


def test_a_decimal_comma_is_read_in_french() -> None:
    typed = {"kind": ["value"], "threshold_1": ["13,5"], "for_1_n": ["1,5"], "for_1_unit": ["h"]}
    assert fields_to_rule(FormFields(typed, "fr"))["condition"] == {"threshold": 13.5, "for": "PT5400S"}
    # The API refuses it in English: it is no number there.
    assert fields_to_rule(FormFields(typed))["condition"] == {"threshold": "13,5", "for": "PT1,5H"}


def test_an_unknown_kind_is_a_value() -> None:
    assert form_kind(FormFields({"kind": ["<script>"]})) == "value"


@given(
    st.dictionaries(
        st.sampled_from(["kind", "threshold_1", "for_1_n", "severity_2", "where", "tags", "state"]),
        st.lists(st.text(max_size=8), max_size=2),
    ),
    st.sampled_from(KINDS),
)
def test_no_form_breaks_it(values: dict[str, list[str]], kind: str) -> None:
    rule = fields_to_rule(FormFields({"kind": [kind], **values}))
    assert ("levels" in rule) or ("condition" in rule)
    normalise_rule(rule)
