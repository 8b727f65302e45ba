"""The meaning of a condition, sample by sample."""

import json
from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

import pytest

from app.catalogue.metrics import COLUMNS, INDEX
from app.platform.kernel.rejection_codes import RejectedError
from app.rules.engine.threshold_evaluator import (
    AlertTransition,
    BoxRuleSet,
    CompiledRule,
    ConditionCause,
    RuleStates,
    compile_box_rules,
    compile_rule,
    evaluate_box,
)

MINUTE = 60_000_000
SITE = UUID(int=1)
OWNER = UUID(int=2)


def make_rule(number: int = 1, version: int = 1, *, wait: str = "PT0S", **condition: Any) -> CompiledRule:  # noqa: ANN401 (as JSON)
    given = {"metric": "pm2_5", "operator": ">", "threshold": 25, "for": wait, **condition}
    return compile_rule(
        id=UUID(int=1000 + number),
        version=version,
        organisation_id=OWNER,
        site_id=SITE,
        name=f"rule {number}",
        definition={"levels": [{"severity": "warning", "condition": given}]},
    )


def values(**given: float) -> tuple[float | None, ...]:
    row: list[float | None] = [None] * len(COLUMNS)
    for name, value in given.items():
        row[INDEX[name]] = value
    return tuple(row)


def ids() -> Callable[[], UUID]:
    count = iter(range(1, 1_000_000))
    return lambda: UUID(int=next(count))


def run(
    rules: Sequence[CompiledRule] | BoxRuleSet,
    samples: Sequence[tuple[float, float]],
    state: RuleStates | None = None,
    metric: str = "pm2_5",
    seen: float | None = None,
) -> tuple[list[tuple[str, float, float | None]], RuleStates]:
    """Give (minute, value) samples to the rules; return (kind, minute, value) and the state."""
    site = rules if isinstance(rules, BoxRuleSet) else compile_box_rules(rules)
    state = {} if state is None else state
    known = {} if seen is None else {metric: [0.0, round(seen * MINUTE)]}
    given = [(round(minute * MINUTE), values(**{metric: value})) for minute, value in samples]
    found, _ = evaluate_box(site, state, known, given, 7, ids())
    return [(step.kind, step.time_us / MINUTE, step.value) for step in found], state


def test_fires_at_the_first_sample_still_above_after_the_wait_and_resolves_at_clear() -> None:
    rule = make_rule(clear=20, wait="PT10M")
    found, state = run(
        [rule], [(1, 26), (5, 30), (10, 31), (12, 32), (13, 24), (14, 20.1), (15, 20), (16, 19)]
    )
    assert found == [("firing", 12, 32), ("resolved", 15, 20)]
    assert state == {}


def test_a_transition_says_all_that_an_alert_needs() -> None:
    rule = make_rule(version=3, wait="PT2M")
    state: RuleStates = {}
    given = [(minute * MINUTE, values(pm2_5=value)) for minute, value in ((1, 30.0), (3, 31.0), (4, 25.0))]
    found, changed = evaluate_box(compile_box_rules([rule]), state, {}, given, 7, ids())
    alert = UUID(int=1)
    high, low = (
        ConditionCause("pm2_5", value, 25.0, 25.0, None, None, "levels/0/condition", None, ())
        for value in (31.0, 25.0)
    )
    assert changed
    assert found == [
        AlertTransition(
            "firing", rule, rule.id, 7, 3 * MINUTE, "warning", high, MINUTE, alert, 1, "threshold"
        ),
        AlertTransition(
            "resolved", rule, rule.id, 7, 4 * MINUTE, "warning", low, MINUTE, alert, 2, "cleared"
        ),
    ]
    assert [step.value for step in found] == [31.0, 25.0]


def test_without_a_wait_it_fires_at_once() -> None:
    found, state = run([make_rule()], [(1, 25), (2, 25.1)])
    assert found == [("firing", 2, 25.1)]
    assert state == {
        str(make_rule().id): [
            1,
            [str(UUID(int=1)), 1, 2 * MINUTE, 2 * MINUTE, 0],
            [[1, 2 * MINUTE, None]],
        ]
    }


def test_a_sample_not_above_ends_the_wait() -> None:
    rule = make_rule(clear=20, wait="PT10M")
    # 25 is not above 25, although it is not at `clear` either: the wait begins again at minute 9.
    found, _ = run([rule], [(1, 26), (8, 25), (9, 26), (18.9, 26), (19, 26)])
    assert found == [("firing", 19, 26)]


def test_the_state_of_a_wait_is_small() -> None:
    _, state = run([make_rule(wait="PT10M")], [(1, 26), (2, 27)])
    assert state == {str(make_rule().id): [1, None, [[0, MINUTE, 1]]]}


def test_firing_neither_fires_nor_waits_again_within_its_band() -> None:
    rule = make_rule(clear=20, wait="PT2M")
    band = [(10 + step, 20.5 + (step * 7) % 20) for step in range(40)]
    found, state = run([rule], [(1, 30), (3, 30), *band])
    assert found == [("firing", 3, 30)]
    assert state[rule.key][1] is not None


@pytest.mark.parametrize(
    ("operator", "above", "not_above", "still_firing", "resolving"),
    [
        (">", 25.1, 25, 20.1, 20),
        (">=", 25, 24.9, 20.1, 20),
        ("<", 4.9, 5, 9.9, 10),
        ("<=", 5, 5.1, 9.9, 10),
    ],
)
def test_each_operator_and_its_mirror_image(
    operator: str, above: float, not_above: float, still_firing: float, resolving: float
) -> None:
    upward = operator in {">", ">="}
    rule = make_rule(operator=operator, threshold=25 if upward else 5, clear=20 if upward else 10)
    assert run([rule], [(1, not_above)])[0] == []
    found, _ = run([rule], [(1, above), (2, still_firing), (3, resolving)])
    assert found == [("firing", 1, above), ("resolved", 3, resolving)]


@pytest.mark.parametrize(("operator", "beyond"), [(">=", 24.9), ("<=", 25.1)])
def test_with_clear_at_the_threshold_a_value_that_fires_does_not_resolve(
    operator: str, beyond: float
) -> None:
    rule = make_rule(operator=operator, clear=25)
    found, _ = run([rule], [(1, 25), (2, 25), (3, beyond)])
    assert found == [("firing", 1, 25), ("resolved", 3, beyond)]


def test_late_and_repeated_samples_change_nothing() -> None:
    rule = make_rule()
    assert run([rule], [(5, 30)], seen=5) == ([], {})
    assert run([rule], [(4, 30)], seen=5) == ([], {})
    found, _ = run([rule], [(6, 30), (6, 10), (5, 10), (7, 30)], seen=5)
    assert found == [("firing", 6, 30)]


def test_late_is_said_of_each_metric_alone() -> None:
    """Two sensors of a box that alternate do not make each other late."""
    rules = [make_rule(1), make_rule(2, metric="laeq", threshold=70)]
    given = [
        (10 * MINUTE, values(pm2_5=30.0)),
        (9 * MINUTE, values(laeq=80.0)),
        (8 * MINUTE, values(pm2_5=1.0)),
    ]
    found, _ = evaluate_box(compile_box_rules(rules), {}, {"pm2_5": [1.0, 9 * MINUTE]}, given, 7, ids())
    assert [(step.rule_id, step.time_us) for step in found] == [
        (rules[0].id, 10 * MINUTE),
        (rules[1].id, 9 * MINUTE),
    ]


def test_metrics_that_are_absent_are_passed_over() -> None:
    rule = make_rule()
    _, state = run([rule], [(1, 30)])
    found, changed = evaluate_box(
        compile_box_rules([rule]), state, {}, [(2 * MINUTE, values(pm10=1.0))], 7, ids()
    )
    assert (found, changed) == ([], False)


def test_may_fire_resolve_and_fire_again_in_one_batch() -> None:
    found, _ = run([make_rule()], [(1, 30), (2, 20), (3, 30)])
    assert [kind for kind, _, _ in found] == ["firing", "resolved", "firing"]


def test_transitions_come_in_the_order_of_the_samples() -> None:
    rules = [
        make_rule(1, metric="rssi", operator="<", threshold=-90),
        make_rule(2),
        make_rule(3, threshold=28),
    ]
    given = [
        (MINUTE, values(rssi=-100.0)),
        (2 * MINUTE, values(pm2_5=30.0)),
        (3 * MINUTE, values(rssi=-50.0)),
    ]
    found, _ = evaluate_box(compile_box_rules(rules), {}, {}, given, 7, ids())
    assert [(step.kind, step.rule_id.int - 1000) for step in found] == [
        ("firing", 1),
        ("firing", 2),
        ("firing", 3),
        ("resolved", 1),
    ]


def test_state_goes_on_under_a_later_version() -> None:
    old = make_rule(version=1, clear=20, wait="PT10M")
    new = make_rule(version=2, clear=20, wait="PT10M")
    _, state = run([old], [(1, 30)])
    found, state = run([new], [(11, 30)], state, seen=1)
    assert found == [("firing", 11, 30)]
    found, _ = run([make_rule(version=3, clear=20)], [(12, 20)], state, seen=11)
    assert found == [("resolved", 12, 20)]


def test_what_a_rule_left_behind_ends_when_it_no_longer_applies() -> None:
    gone = make_rule(1)
    waiting = make_rule(2, wait="PT1H")
    _, state = run([gone, waiting], [(5, 30)])
    found, changed = evaluate_box(
        compile_box_rules([]), state, {}, [(4 * MINUTE, values(pm2_5=30.0))], 7, ids()
    )
    assert changed
    assert state == {}
    (step,) = found
    assert (step.kind, step.reason, step.rule, step.rule_id) == ("resolved", "rule_gone", None, gone.id)
    assert (step.alert_id, step.value, step.sequence) == (UUID(int=1), None, 2)
    assert (step.severity, step.cause) == (None, None)
    # Not before it began, even where the sample that shows it is older.
    assert step.time_us == 5 * MINUTE


def test_without_samples_nothing_is_done() -> None:
    _, state = run([make_rule()], [(5, 30)])
    before = json.dumps(state)
    assert evaluate_box(compile_box_rules([]), state, {}, [], 7, ids()) == ([], False)
    assert json.dumps(state) == before


def test_a_site_without_rules_is_false() -> None:
    assert not compile_box_rules([])
    assert compile_box_rules([make_rule()])


def test_compiling_refuses_what_was_not_validated() -> None:
    with pytest.raises(KeyError):
        make_rule(metric="dust")
    with pytest.raises(KeyError):
        make_rule(operator="==")
    with pytest.raises(RejectedError):
        make_rule(wait="10 minutes")
    rule = make_rule(wait="PT0.000001S")
    assert (rule.levels[0].for_us, rule.limits[0].clear, rule.key) == (1, 25.0, str(rule.id))


def test_a_rule_sees_the_value_that_is_stored() -> None:
    """24.99999999 comes back as 25 from a `real`: live, and when it is judged again."""
    rule = make_rule(operator=">=")
    assert run([rule], [(1, 24.99999999)])[0] == [("firing", 1, 25.0)]
    assert run([rule], [(1, 24.9999)])[0] == []


def test_a_ladder_behind_a_gate_is_one_alert() -> None:
    rule = compile_rule(
        id=UUID(int=1001),
        version=1,
        organisation_id=OWNER,
        site_id=SITE,
        name="ladder",
        definition={
            "levels": [
                {
                    "severity": severity,
                    "condition": {"metric": "pm2_5", "operator": ">", "threshold": threshold},
                }
                for severity, threshold in (("info", 10), ("critical", 50))
            ]
        },
    )
    site = compile_box_rules([rule])
    ((column, low, high),) = site.prefilter_ranges
    assert (column, low) == (INDEX["pm2_5"], float("-inf"))
    assert high == pytest.approx(10)
    given = [
        (minute * MINUTE, values(pm2_5=float(value))) for minute, value in ((1, 20), (2, 60), (3, 30), (4, 5))
    ]
    found, _ = evaluate_box(site, {}, {}, given, 7, ids())
    assert [(step.kind, step.severity, step.reason, step.sequence) for step in found] == [
        ("firing", "info", "threshold", 1),
        ("changed", "critical", "escalated", 2),
        ("changed", "info", "deescalated", 3),
        ("resolved", "info", "cleared", 4),
    ]
    assert {step.alert_id for step in found} == {UUID(int=1)}


def test_walked_rules_are_left_to_the_walk() -> None:
    walked = compile_rule(
        id=UUID(int=1001),
        version=1,
        organisation_id=OWNER,
        site_id=SITE,
        name="walked",
        definition={
            "levels": [
                {
                    "severity": "info",
                    "condition": {"all": [{"metric": "pm2_5", "operator": ">", "threshold": 25}]},
                }
            ]
        },
    )
    state: RuleStates = {walked.key: [1, None, [[0, MINUTE, 1]]]}
    assert run(compile_box_rules([walked]), [(2, 30), (3, 10)], state) == ([], state)
    assert state == {walked.key: [1, None, [[0, MINUTE, 1]]]}
