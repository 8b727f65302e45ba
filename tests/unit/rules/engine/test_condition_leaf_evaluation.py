"""Each kind of leaf and each combination, by example."""

from itertools import product
from typing import Any

import pytest

from app.rules.engine.box_and_site_views import BoxFacts, BoxView, SiteView
from app.rules.engine.condition_combinations import AllOf, AnyOf, BoxQuorum, NegatedNode
from app.rules.engine.condition_leaf_evaluation import ConditionCause
from app.rules.engine.rule_compiler import CompiledRule
from app.rules.engine.thresholds import UNKNOWN_VERDICT, ConditionVerdict
from app.rules.engine.value_windows import BoxHistory
from tests.unit.rules.helpers import BOX, Definition, RuleInput, at, compiled, event, move, row, single

NOTHING, HOLDS, RAISES = (False, False), (False, True), (True, True)
T, F, U = True, False, None


def view_of(rule: CompiledRule, things: list[RuleInput], facts: BoxFacts = BOX) -> BoxView:
    view = BoxView(facts, {}, BoxHistory(rule.needs), rule.needs)
    for thing in things:
        if thing.values is not None:
            move(view, thing.time_us, thing.values)
        elif thing.event is not None and view.event_on_time(thing.event[0], thing.time_us):
            view.take_event(*thing.event)
    return view


def sample(minute: float, **given: float) -> RuleInput:
    return RuleInput(1, at(minute), row(**given))


def ask(
    condition: Definition,
    things: list[RuleInput],
    minute: float,
    **others: Any,  # noqa: ANN401 (as JSON)
) -> tuple[ConditionVerdict, ConditionCause]:
    """What a condition says of a box at a minute, and its cause."""
    rule = compiled(single(condition, **others))
    view = view_of(rule, things)
    node = rule.levels[0].node
    return node.evaluate(view, at(minute)), node.cause(view, at(minute))


def verdict(condition: Definition, things: list[RuleInput], minute: float, **others: Any) -> ConditionVerdict:  # noqa: ANN401 (as JSON)
    return ask(condition, things, minute, **others)[0]


DUST = {"metric": "pm2_5", "operator": ">", "threshold": 25, "clear": 20}


def test_a_value_is_known_until_it_is_too_old() -> None:
    things = [sample(0, pm2_5=30)]
    assert verdict(DUST, [], 0) == UNKNOWN_VERDICT
    assert verdict(DUST, [sample(0, temperature=1)], 0) == UNKNOWN_VERDICT
    assert verdict(DUST, things, 60) == RAISES
    assert verdict(DUST, things, 60.01) == UNKNOWN_VERDICT
    assert verdict(DUST, things, 10.01, max_age="PT10M") == UNKNOWN_VERDICT
    assert verdict(DUST, [*things, sample(1, pm2_5=22)], 1) == HOLDS


def test_the_cause_of_a_value() -> None:
    _, cause = ask(DUST, [sample(0, pm2_5=30)], 0)
    assert cause == ConditionCause("pm2_5", 30, 25, 20, None, None, "levels/0/condition", None, ())


def test_a_range_names_its_upper_bound() -> None:
    condition = {"metric": "temperature", "operator": "outside", "low": 2, "high": 8, "margin": 1}
    found, cause = ask(condition, [sample(0, temperature=1)], 0)
    assert (found, cause.value, cause.threshold, cause.clear) == (RAISES, 1, 8, None)
    assert verdict(condition, [sample(0, temperature=2.5)], 0) == HOLDS
    assert verdict(condition, [sample(0, temperature=3)], 0) == NOTHING


FLAT = [sample(minute, pm2_5=5, laeq=60) for minute in range(10)]
RISING = [sample(minute, pm2_5=minute, laeq=60) for minute in range(10)]


@pytest.mark.parametrize(
    ("things", "asked", "value", "expected"),
    [
        (RISING, {"function": "mean", "operator": ">", "threshold": 4}, 4.5, RAISES),
        (RISING, {"function": "min", "operator": "<", "threshold": 1}, 0, RAISES),
        (RISING, {"function": "max", "operator": ">=", "threshold": 9}, 9, RAISES),
        (RISING, {"function": "sum", "operator": ">", "threshold": 45}, 45, NOTHING),
        (RISING, {"function": "percentile", "percentile": 90, "operator": ">", "threshold": 7}, 8, RAISES),
        (RISING, {"function": "rate", "operator": ">", "threshold": 59}, 60, RAISES),
        (RISING, {"function": "spread", "operator": "<=", "threshold": 0.5}, 9, NOTHING),
        (FLAT, {"function": "spread", "operator": "<=", "threshold": 0.5}, 0, RAISES),
        (FLAT, {"function": "count", "operator": "<", "threshold": 10}, 10, NOTHING),
        (FLAT, {"function": "energy_mean", "metric": "laeq", "operator": ">", "threshold": 60}, 60, NOTHING),
        (FLAT, {"function": "mean", "operator": "inside", "low": 4, "high": 6, "margin": 1}, 5, RAISES),
    ],
)
def test_each_function_over_a_window(
    things: list[RuleInput], asked: dict[str, Any], value: float, expected: ConditionVerdict
) -> None:
    found, cause = ask({"metric": "pm2_5", "window": "PT10M", **asked}, things, 9)
    assert (found, cause.value) == (expected, value)
    assert (cause.function, cause.window_us) == (asked["function"], 600_000_000)


def test_a_window_says_nothing_until_it_is_three_quarters_full_unless_it_is_certain() -> None:
    mean = {"metric": "pm2_5", "function": "mean", "window": "PT20M", "operator": ">", "threshold": 1}
    things = [sample(minute, pm2_5=5) for minute in range(20)]
    assert verdict(mean, things[:14], 13) == UNKNOWN_VERDICT
    assert verdict(mean, things[:15], 14) == RAISES
    for certain in (
        {"function": "max", "operator": ">", "threshold": 4},
        {"function": "count", "operator": ">=", "threshold": 3},
        {"function": "min", "operator": "<", "threshold": 6},
    ):
        assert verdict({**mean, **certain}, things[:3], 2) == RAISES
    # More values could take these back.
    for open_ in (
        {"function": "max", "operator": "<", "threshold": 6},
        {"function": "count", "operator": "<", "threshold": 9},
        {"function": "min", "operator": ">", "threshold": 4},
        {"function": "spread", "operator": "<=", "threshold": 9},
    ):
        assert verdict({**mean, **open_}, things[:3], 2) == UNKNOWN_VERDICT
    # And certain is only what raises.
    assert verdict({**mean, "function": "max", "threshold": 9}, things[:3], 2) == UNKNOWN_VERDICT


def test_a_window_empties_though_nothing_comes() -> None:
    mean = {"metric": "pm2_5", "function": "mean", "window": "PT10M", "operator": ">", "threshold": 1}
    assert verdict(mean, FLAT, 9) == RAISES
    assert verdict(mean, FLAT, 14) == UNKNOWN_VERDICT
    assert verdict(mean, FLAT, 30) == UNKNOWN_VERDICT
    few = {"metric": "pm2_5", "function": "count", "window": "PT10M", "operator": "<", "threshold": 9}
    assert verdict(few, FLAT, 30) == UNKNOWN_VERDICT


def test_coverage_is_asked_beside_the_span() -> None:
    mean = {"metric": "pm2_5", "function": "mean", "window": "PT10M", "operator": ">", "threshold": 1}
    gaps = [FLAT[0], FLAT[4], FLAT[9]]
    assert verdict(mean, gaps, 9) == RAISES
    assert verdict({**mean, "coverage": 30}, gaps, 9) == RAISES
    assert verdict({**mean, "coverage": 31}, gaps, 9) == UNKNOWN_VERDICT


@pytest.mark.parametrize("metric", [None, "pm2_5"])
def test_silence_begins_with_the_first_sample_and_lasts_to_the_second(metric: str | None) -> None:
    quiet = {"no_data": "PT15M", **({"metric": metric} if metric else {})}
    assert verdict(quiet, [], 100) == UNKNOWN_VERDICT
    things = [sample(0, pm2_5=1)]
    assert verdict(quiet, things, 14.999) == NOTHING
    found, cause = ask(quiet, things, 15)
    assert (found, cause.value, cause.threshold, cause.function) == (RAISES, 900, 900, "no_data")
    assert cause.metric == metric
    # Other metrics end the silence of a box, not that of a metric.
    assert verdict(quiet, [*things, sample(5, temperature=1)], 15) == (RAISES if metric else NOTHING)
    # Nor is an event a sample.
    assert verdict(
        {"any": [quiet, {"event": "gunshot", "count": 9}]}, [*things, event(5, "gunshot", 1, [])], 15
    ) == (RAISES)


SHOT = {"confidence": 0.8, "class": "pistol", "model": "glock-17"}
OTHER = {"confidence": 0.9, "class": "firework"}


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({}, True),
        ({"confidence": 0.8}, True),
        ({"confidence": 0.81, "class": "pistol"}, False),
        ({"confidence": 0.81}, True),
        ({"class": "pistol"}, True),
        ({"class": "rifle"}, False),
        ({"model": "glock-17"}, True),
        ({"model": "glock-17", "class": "firework"}, False),
        ({"count": 2}, False),
    ],
)
def test_an_event_fits_by_one_of_its_candidates(asked: dict[str, Any], found: bool) -> None:  # noqa: FBT001 (expected)
    things = [event(0, "gunshot", 1, [SHOT, OTHER])]
    assert verdict({"event": "gunshot", **asked}, things, 1) == (found, found)


def test_an_event_without_candidates_fits_where_nothing_is_asked_of_them() -> None:
    bare = [event(0, "gunshot", 1, [])]
    assert verdict({"event": "gunshot"}, bare, 1) == RAISES
    assert verdict({"event": "gunshot", "confidence": 0}, bare, 1) == RAISES
    assert verdict({"event": "gunshot", "confidence": 0.1}, bare, 1) == NOTHING
    assert verdict({"event": "gunshot", "class": "pistol"}, bare, 1) == NOTHING
    assert verdict({"event": "scream"}, bare, 1) == NOTHING


def test_events_are_counted_within_the_window() -> None:
    shots = [event(minute, "gunshot", 1, [SHOT]) for minute in (0, 4, 8)]
    twice = {"event": "gunshot", "count": 2, "window": "PT5M"}
    assert verdict(twice, shots[:2], 4) == RAISES
    assert verdict(twice, shots[:2], 4.999) == RAISES
    assert verdict(twice, shots[:2], 5) == NOTHING
    found, cause = ask(twice, shots, 8)
    assert found == RAISES
    assert cause.event == {"type": "gunshot", "time_us": at(8), **SHOT}
    assert (cause.value, cause.threshold, cause.window_us) == (0.8, 0, 300_000_000)
    # Five minutes, where nothing is said.
    assert verdict({"event": "gunshot"}, shots[:1], 4.999) == RAISES
    assert verdict({"event": "gunshot"}, shots[:1], 5) == NOTHING


class _Given:
    """A part that says what it is told to."""

    def __init__(self, *verdict: bool | None) -> None:
        self.verdict = verdict

    def evaluate(self, view: object, at_us: int) -> Any:  # noqa: ANN401, ARG002 (a verdict)
        return self.verdict


def given(*verdict: bool | None) -> Any:  # noqa: ANN401 (stands for any part)
    return _Given(*verdict)


AND = {(T, T): T, (T, F): F, (T, U): U, (F, T): F, (F, F): F, (F, U): F, (U, T): U, (U, F): F, (U, U): U}
OR = {(T, T): T, (T, F): T, (T, U): T, (F, T): T, (F, F): F, (F, U): U, (U, T): T, (U, F): U, (U, U): U}


def test_all_and_any_are_kleenes() -> None:
    for (first, second), expected in AND.items():
        assert AllOf("", (given(first, second), given(second, first))).evaluate(None, 0) == (
            expected,
            expected,
        )
    for (first, second), expected in OR.items():
        assert AnyOf("", (given(first, second), given(second, first))).evaluate(None, 0) == (
            expected,
            expected,
        )


def test_a_not_raises_when_its_part_has_cleared_and_holds_until_that_raises() -> None:
    contrary = {T: F, F: T, U: U}
    for raises, holds in product((T, F, U), repeat=2):
        found = NegatedNode("", (given(raises, holds),)).evaluate(None, 0)
        assert found == (contrary[holds], contrary[raises])
        # By De Morgan, and twice is nothing.
        assert NegatedNode("", (NegatedNode("", (given(raises, holds),)),)).evaluate(None, 0) == (
            raises,
            holds,
        )
    quiet = {"not": {"metric": "laeq", "operator": ">", "threshold": 60, "clear": 55}}
    assert [verdict(quiet, [sample(0, laeq=level)], 0) for level in (54, 55, 56, 60, 61)] == [
        RAISES,
        RAISES,
        HOLDS,
        HOLDS,
        NOTHING,
    ]


def test_the_cause_is_the_part_that_raises() -> None:
    both = {"any": [{**DUST, "threshold": 99}, {"not": {**DUST, "clear": 25}}, {"all": [DUST, DUST]}]}
    _, cause = ask(both, [sample(0, pm2_5=30)], 0)
    assert cause.path == "levels/0/condition/any/2/all/0"
    _, cause = ask(both, [sample(0, pm2_5=5)], 0)
    assert cause.path == "levels/0/condition/any/1/not"
    # Where none does, the first.
    _, cause = ask({"all": [DUST, DUST]}, [sample(0, pm2_5=5)], 0)
    assert (cause.path, cause.value) == ("levels/0/condition/all/0", 5)


@pytest.mark.parametrize(
    ("answers", "asked", "expected"),
    [
        ((T, T, F), {"at_least": 2}, T),
        ((T, F, F), {"at_least": 2}, F),
        ((T, U, F), {"at_least": 2}, U),
        ((T, T, U), {"at_least": 2}, T),
        ((U, F, F), {"at_least": 2}, F),
        ((T, F), {"share": 50}, T),
        ((T, F, F), {"share": 50}, F),
        ((T, F, U), {"share": 50}, U),
        ((T, U, U, U), {"share": 20}, T),
        ((F, F), {"share": 1}, F),
        ((), {"share": 1}, F),
        ((), {"at_least": 1}, F),
    ],
)
def test_boxes_are_counted(
    answers: tuple[bool | None, ...],
    asked: dict[str, Any],
    expected: bool | None,  # noqa: FBT001 (expected)
) -> None:
    part = {"boxes": {"metric": "pm2_5", "operator": ">", "threshold": 25}, **asked}
    rule = compiled(single(part))
    values = {T: {"pm2_5": 30.0}, F: {"pm2_5": 1.0}, U: {}}
    members = {
        key: view_of(rule, [sample(0, **values[answer])], BoxFacts(key, f"box-{key}"))
        for key, answer in enumerate(answers, 1)
    }
    node = rule.levels[0].node
    assert isinstance(node, BoxQuorum)
    found = node.evaluate(SiteView(members), at(0))
    assert found == (expected, expected)
    cause = node.cause(SiteView(members), at(0))
    raising = tuple(key for key, answer in enumerate(answers, 1) if answer)
    assert cause.boxes == raising
    assert cause.path == ("levels/0/condition/boxes" if answers else "levels/0/condition")


def test_boxes_out_of_scope_are_not_counted() -> None:
    part = {"boxes": {"metric": "pm2_5", "operator": ">", "threshold": 25}, "share": 100}
    boxes = [BoxFacts(1, "box-1", kind="dust"), BoxFacts(2, "box-2", kind="noise")]

    def evaluate(definition: Definition) -> ConditionVerdict:
        rule = compiled(definition)
        things = {1: [sample(0, pm2_5=30)], 2: [sample(0, pm2_5=1)]}
        return rule.levels[0].node.evaluate(
            SiteView({box.key: view_of(rule, things[box.key], box) for box in boxes}), at(0)
        )

    assert evaluate(single(part)) == NOTHING
    assert evaluate(single({**part, "scope": {"kinds": ["dust"]}})) == RAISES
    # Left out: the boxes of the rule.
    assert evaluate(single(part, scope={"kinds": ["dust"]})) == RAISES
    assert evaluate(single({**part, "scope": {"kinds": ["noise"]}}, scope={"kinds": ["dust"]})) == NOTHING


def test_a_leaf_may_name_its_box() -> None:
    both = {"all": [{**DUST, "box": "box-1"}, {"not": {**DUST, "box": "box-2"}}]}
    rule = compiled(single(both))
    node = rule.levels[0].node
    first = view_of(rule, [sample(0, pm2_5=30)], BoxFacts(1, "box-1"))
    second = view_of(rule, [sample(0, pm2_5=1)], BoxFacts(2, "box-2"))
    site = SiteView({1: first, 2: second})
    assert node.evaluate(site, at(0)) == RAISES
    assert node.cause(site, at(0)).boxes == (1,)
    alone = SiteView({1: first})
    assert node.evaluate(alone, at(0)) == UNKNOWN_VERDICT
    assert rule.levels[0].node.due(alone, 0) is None
