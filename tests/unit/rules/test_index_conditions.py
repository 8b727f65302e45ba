"""Conditions on indices: what is taken, what is refused and where, and what becomes of it."""

from typing import Any
from uuid import UUID

import pytest
from pydantic import ValidationError

from app.environmental_indices.index_definitions import BANDS_BY_METHOD, INDEX_DEFINITIONS
from app.ingest.pipeline.rule_assignments import RuleAssignments
from app.platform.http.contract.problems import CodedValueError
from app.rules.definitions.definition_changes import compute_effort, count_index_conditions
from app.rules.definitions.index_conditions import INDEX_NAMES
from app.rules.definitions.rule_queries import ChangedRule
from app.rules.definitions.schemas import RuleCreate
from app.rules.engine.rule_compiler import CompiledRule, compile_rule
from app.rules.index_rules.index_condition_evaluation import IndexLeaf, rank_band

SITE = "0199d1c5-7a3e-7c54-9d1e-5b6f0a2c8e11"
EAQI = {"index": "eaqi", "operator": ">=", "threshold": 4, "clear": 3}
LDEN = {"index": "lden-day", "operator": ">", "threshold": 65}
DUST = {"metric": "pm2_5", "operator": ">", "threshold": 25}


def made(condition: Any, **more: Any) -> dict[str, Any]:  # noqa: ANN401 (as JSON)
    body = {"site_id": SITE, "name": "Air", "severity": "info", "condition": condition, **more}
    return RuleCreate.model_validate(body).definition()


def compiled(condition: Any) -> CompiledRule:  # noqa: ANN401 (as JSON)
    nobody = UUID(int=1)
    return compile_rule(nobody, 1, nobody, nobody, "Air", made(condition))


def refusal(condition: Any) -> tuple[str, str]:  # noqa: ANN401 (as JSON)
    with pytest.raises(ValidationError) as caught:
        made(condition)
    fault = caught.value.errors()[0]
    error = fault.get("ctx", {}).get("error")
    where = ".".join(map(str, fault["loc"]))
    return where, error.code if isinstance(error, CodedValueError) else fault["type"]


@pytest.mark.parametrize(
    ("condition", "where", "code"),
    [
        (EAQI | {"index": "warp"}, "condition.index", "unknown_method"),
        (EAQI | {"index": "noise-emergence"}, "condition.index", "unknown_method"),
        (EAQI | {"period": "day"}, "condition.period", "invalid_period"),
        (EAQI | {"period": "fortnight"}, "condition.period", "literal_error"),
        (EAQI | {"metric": "pm2_5"}, "condition.metric", "choice_not_of_index"),
        (EAQI | {"country": "FR"}, "condition.country", "choice_not_of_index"),
        (LDEN | {"season": "heating"}, "condition.season", "choice_not_of_index"),
        (LDEN | {"country": "XX"}, "condition.country", "literal_error"),
        (EAQI | {"clear": 5}, "condition.clear", "invalid_clear"),
        (EAQI | {"operator": "outside"}, "condition.operator", "literal_error"),
        (EAQI | {"function": "mean"}, "condition.function", "unknown_field"),
        (EAQI | {"band": "poor"}, "condition.operator", "unknown_field"),
        ({"index": "who-24h", "operator": ">", "threshold": 15}, "condition.metric", "missing_field"),
        (
            {"index": "who-24h", "metric": "laeq", "operator": ">", "threshold": 15},
            "condition.metric",
            "metric_not_of_index",
        ),
        ({"index": "eaqi", "band": "dire"}, "condition.band", "unknown_band"),
        ({"index": "eaqi", "band": "good"}, "condition.band", "unknown_band"),
        ({"index": "leq", "band": "poor"}, "condition.band", "unknown_band"),
        ({"index": "eaqi", "band": "poor", "clear_band": "poor"}, "condition.clear_band", "invalid_clear"),
        ({"index": "eaqi", "clear_band": "fair"}, "condition.band", "missing"),
        ({"index": "eaqi"}, "condition.operator", "missing"),
        ({"all": [EAQI, DUST]}, "condition.all.1", "mixed_condition"),
        ({"any": [{"no_data": "PT1H"}, EAQI]}, "condition.any.0", "mixed_condition"),
        ({"index": "eaqi", "no_data": "PT1H"}, "condition", "ambiguous_condition"),
        ({"all": [{"box": "a", **EAQI}, EAQI]}, "condition.all.1", "leaf_without_box"),
        ({"boxes": {"box": "a", **EAQI}, "at_least": 1}, "condition.boxes", "nested_boxes"),
    ],
)
def test_what_cannot_be_meant_is_refused_where_it_stands(condition: Any, where: str, code: str) -> None:  # noqa: ANN401 (as JSON)
    assert refusal(condition) == (where, code)


def test_levels_cannot_mix_indices_and_samples() -> None:
    body = {
        "site_id": SITE,
        "name": "Air",
        "levels": [{"severity": "info", "condition": EAQI}, {"severity": "warning", "condition": DUST}],
    }
    with pytest.raises(ValidationError, match="mixes indices"):
        RuleCreate.model_validate(body)


def test_what_is_stored_is_complete_and_is_taken_again() -> None:
    definition = made(EAQI | {"for": "PT2H"})
    (level,) = definition["levels"]
    assert level["condition"] == {
        "index": "eaqi",
        "period": "hour",
        "operator": ">=",
        "threshold": 4.0,
        "clear": 3.0,
        "for": "PT2H",
        "repeat": 1,
        "keep_firing_for": "PT0S",
    }
    assert made(level["condition"]) == definition


@pytest.mark.parametrize("name", INDEX_NAMES)
def test_every_method_with_periods_can_be_asked_for(name: str) -> None:
    figure = INDEX_DEFINITIONS[name]
    for length in figure.lengths:
        condition: dict[str, Any] = {"index": name, "period": length, "operator": ">", "threshold": 1}
        if figure.each:
            condition["metric"] = figure.method.metrics[0]
        (ask,) = compiled(condition).index_queries
        assert (ask.figure, ask.length) == (figure, length)


@pytest.mark.parametrize("name", sorted(BANDS_BY_METHOD))
def test_classes_are_told_apart_from_the_best_to_the_worst(name: str) -> None:
    ranks = [rank_band(name, band.key) for band in BANDS_BY_METHOD[name]]
    assert ranks == list(range(1, len(ranks) + 1))
    worst = BANDS_BY_METHOD[name][-1].key
    node = compiled({"index": name, "band": worst}).levels[0].node
    assert isinstance(node, IndexLeaf)
    assert node.limit.evaluate(ranks[-1]) == (True, True)
    assert node.limit.evaluate(ranks[-2]) == (False, False)


def test_a_class_holds_until_a_better_one() -> None:
    node = compiled({"index": "eaqi", "band": "very_poor", "clear_band": "fair"}).levels[0].node
    assert isinstance(node, IndexLeaf)
    assert [node.limit.evaluate(rank) for rank in (6.0, 5.0, 4.0, 3.0, 2.0)] == [
        (True, True),
        (True, True),
        (False, True),
        (False, True),
        (False, False),
    ]


def test_samples_have_nothing_to_do_with_it() -> None:
    definition = made({"any": [EAQI, {"not": EAQI}]})
    assert compute_effort(definition) == 0
    assert count_index_conditions(definition) == 2
    rule = compiled({"any": [EAQI, {"not": EAQI}]})
    assert (rule.columns, rule.events, rule.timed, rule.needs.spans) == (
        frozenset(),
        frozenset(),
        False,
        frozenset(),
    )
    row = ChangedRule(
        id=UUID(int=1),
        version=1,
        organisation_id=UUID(int=1),
        site_id=UUID(int=1),
        name="Air",
        definition=definition,
        effort=0,
        dry_run=False,
        enabled=True,
        deleted=False,
        revision=1,
    )
    book = RuleAssignments()
    book.apply([row])
    assert not book.has_stateful_rules
    assert book._by_site[UUID(int=1)] == {}
