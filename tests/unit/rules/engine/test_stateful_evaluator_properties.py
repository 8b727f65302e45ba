"""What holds for all rules and all that may come: above all, that a plain second evaluator says the same."""

from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from app.rules.definitions.severity import rank_severity
from app.rules.engine.value_windows import BoxEvent
from tests.unit.rules.helpers import (
    MINUTE,
    START,
    Definition,
    ExpectedTransition,
    RuleInput,
    RuleStage,
    by_rule,
    single,
)
from tests.unit.rules.reference import reference
from tests.unit.rules.strategies import (
    BOXES,
    SITE_ATTRIBUTES,
    across,
    comparison,
    definition,
    node,
    things,
)

SOME = settings(max_examples=25, deadline=None)
END = 150
ON_BOXES = st.lists(definition(), min_size=1, max_size=3)
ON_SITE = st.lists(definition(across()), min_size=1, max_size=2)
MIXED = st.builds(lambda first, second: [*first, *second], ON_BOXES, ON_SITE)


def stage_of(rules: list[Definition]) -> RuleStage:
    return RuleStage(dict(enumerate(rules, 1)), BOXES, site_attributes=SITE_ATTRIBUTES)


def play(rules: list[Definition], coming: list[RuleInput]) -> list[ExpectedTransition]:
    """One thing after the other, then a tick that lets all happen that is due."""
    stage = stage_of(rules)
    for thing in coming:
        stage.batch([thing])
    stage.tick(END)
    return by_rule(stage.told)


def slowly(rules: list[Definition], coming: list[RuleInput]) -> list[ExpectedTransition]:
    numbered = dict(enumerate(rules, 1))
    return by_rule(reference(numbered, BOXES, coming, END, site_attributes=SITE_ATTRIBUTES))


@SOME
@given(ON_BOXES, things())
def test_rules_on_boxes_do_what_the_slow_evaluator_says(
    rules: list[Definition], coming: list[RuleInput]
) -> None:
    assert play(rules, coming) == slowly(rules, coming)


@SOME
@given(ON_SITE, things())
def test_rules_on_a_site_do_what_the_slow_evaluator_says(
    rules: list[Definition], coming: list[RuleInput]
) -> None:
    assert play(rules, coming) == slowly(rules, coming)


@SOME
@given(MIXED, things(), st.data())
def test_batches_and_crashes_between_them_change_no_history(
    rules: list[Definition], coming: list[RuleInput], data: st.DataObject
) -> None:
    stage = stage_of(rules)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(coming)), max_size=8)))
    for start, end in pairwise([0, *cuts, len(coming)]):
        stage.batch(coming[start:end])
        stage.open_views()
    stage.tick(END)
    assert by_rule(stage.told) == play(rules, coming)


@SOME
@given(MIXED, things(ordered=True), st.data())
def test_ticks_that_are_not_ahead_of_samples_change_no_history(
    rules: list[Definition], coming: list[RuleInput], data: st.DataObject
) -> None:
    stage = stage_of(rules)
    crashing = data.draw(st.booleans())
    for thing, following in pairwise([*coming, RuleInput(0, START + END * MINUTE)]):
        stage.batch([thing])
        apart = (following.time_us - thing.time_us) // MINUTE
        for part in sorted(data.draw(st.lists(st.integers(0, 2 * apart - 1), max_size=2)) if apart else ()):
            # A half of a minute is a time at which nothing is due.
            minute = (thing.time_us - START) / MINUTE + part / 2
            stage.tick(minute)
            due = stage.due()
            assert due is None or due > minute
            if crashing:
                stage.open_views()
    stage.tick(END)
    assert by_rule(stage.told) == play(rules, coming)


@SOME
@given(MIXED, things())
def test_looking_whenever_something_is_due_misses_nothing(
    rules: list[Definition], coming: list[RuleInput]
) -> None:
    stage = stage_of(rules)
    stage.batch(coming)
    while (due := stage.due()) is not None and due <= END:
        stage.tick(due)
    assert by_rule(stage.told) == play(rules, coming)


@SOME
@given(MIXED, things(), st.data())
def test_repeats_and_late_things_change_no_history(
    rules: list[Definition], coming: list[RuleInput], data: st.DataObject
) -> None:
    noisy: list[RuleInput] = []
    for place, thing in enumerate(coming):
        noisy.append(thing)
        earlier = data.draw(st.lists(st.sampled_from(coming[: place + 1]), max_size=2))
        noisy += [_again(one, back=data.draw(st.sampled_from([0, 0, 3])) * MINUTE) for one in earlier]
    assert play(rules, noisy) == play(rules, coming)


def _again(thing: RuleInput, back: int) -> RuleInput:
    """A thing of a box, metric or type of which that one was known: with other values, or an older time."""
    row = None if thing.values is None else tuple(None if value is None else 9.0 for value in thing.values)
    event = thing.event
    if event is not None:
        event = (event[0], BoxEvent(thing.time_us - back, [{"confidence": 1.0, "class": "a"}]))
    return RuleInput(thing.box, thing.time_us - back, row, event)


@SOME
@given(MIXED, things(), st.data())
def test_alerts_go_through_their_lives_in_order(
    rules: list[Definition], coming: list[RuleInput], data: st.DataObject
) -> None:
    """Even where ticks run ahead of samples."""
    stage = stage_of(rules)
    for thing in coming:
        stage.batch([thing])
        if data.draw(st.booleans()):
            stage.tick((thing.time_us - START) / MINUTE + data.draw(st.integers(0, 9)))
    open_alerts: dict[Any, Any] = {}
    for step in stage.transitions:
        subject = (step.rule_id, step.box_key)
        assert step.rule is not None
        before = open_alerts.get(subject)
        if step.kind == "firing":
            assert before is None
            assert (step.sequence, step.reason) == (1, "threshold")
            assert step.pending_since_us <= step.time_us
            open_alerts[subject] = step
            continue
        assert before is not None
        assert before.severity is not None
        assert (step.alert_id, step.sequence) == (before.alert_id, before.sequence + 1)
        assert step.pending_since_us == before.pending_since_us
        assert step.time_us >= before.time_us
        assert step.severity is not None
        if step.kind == "resolved":
            assert step.severity == before.severity
            assert step.reason in {"cleared", "out_of_hours"}
            del open_alerts[subject]
        else:
            higher = rank_severity(step.severity) > rank_severity(before.severity)
            assert step.severity != before.severity
            assert step.reason == ("escalated" if higher else "deescalated")
            open_alerts[subject] = step
    assert len({step.alert_id for step in stage.transitions}) == sum(
        step.kind == "firing" for step in stage.transitions
    )


@SOME
@given(comparison(windowed=False), things(BOXES[:1]), st.integers(0, 5), st.booleans(), st.booleans())
def test_a_rule_behind_a_gate_and_the_same_rule_on_a_walk_fire_alike(
    leaf: dict[str, Any],
    coming: list[RuleInput],
    wait: int,
    kept: bool,  # noqa: FBT001 (drawn)
    hours: bool,  # noqa: FBT001 (drawn)
) -> None:
    timing = {"for": f"PT{wait}M", "keep_firing_for": "PT2M" if kept else "PT0S"}
    active = [{"from": "22:05", "to": "22:15"}, {"from": "22:20", "to": "23:00"}] if hours else None
    gated = single({**leaf, **timing}, active=active)
    walked = single({"all": [leaf], **timing}, active=active)
    assert play([gated], coming) == play([walked], coming)


@SOME
@given(definition(node(comparison(), 1)), things(BOXES[:1]))
def test_nothing_fires_before_its_time(rule: Definition, coming: list[RuleInput]) -> None:
    shortest = min(float(level["condition"]["for"][2:-1]) / 60 for level in rule["levels"])
    for step in stage_of([rule]).batch(coming):
        assert step.kind != "firing" or step.minute - step.since >= shortest
