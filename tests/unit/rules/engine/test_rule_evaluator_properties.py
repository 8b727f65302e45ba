"""What holds for all samples: batching, repeats, hysteresis, waiting, JSON."""

import json
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from app.catalogue.metrics import COLUMNS
from app.rules.engine.threshold_evaluator import (
    AlertTransition,
    BoxRuleSet,
    CompiledRule,
    RuleStates,
    compile_box_rules,
    compile_rule,
    evaluate_box,
    prefilter_samples,
)
from app.timeseries.storage.sample_column_encoding import round_to_float32
from tests.unit.rules import helpers

METRICS = ("pm2_5", "laeq", "temperature")
PLACES = tuple(COLUMNS.index(metric) for metric in METRICS)
Sample = tuple[int, tuple[float | None, ...]]
# Few different numbers: thresholds, `clear` and samples meet often.
NUMBERS = st.integers(-4, 4).map(float)


class Told(NamedTuple):
    """A transition without its random parts."""

    kind: str
    rule_id: UUID
    time_us: int
    value: float | None
    pending_since_us: int


@st.composite
def site_rules(draw: st.DrawFn) -> BoxRuleSet:
    rules = []
    for number in range(draw(st.integers(1, 5))):
        operator = draw(st.sampled_from([">", ">=", "<", "<="]))
        threshold = draw(NUMBERS)
        distance = draw(st.integers(0, 3))
        rules.append(
            compile_rule(
                id=UUID(int=number + 1),
                version=1,
                organisation_id=UUID(int=0),
                site_id=UUID(int=0),
                name=operator,
                definition={
                    "levels": [
                        {
                            "severity": "info",
                            "condition": {
                                "metric": draw(st.sampled_from(METRICS)),
                                "operator": operator,
                                "threshold": threshold,
                                "clear": threshold - distance if ">" in operator else threshold + distance,
                                "for": f"PT{draw(st.integers(0, 5)) / 1_000_000:.6f}S",
                            },
                        }
                    ]
                },
            )
        )
    return compile_box_rules(rules)


@st.composite
def sample(draw: st.DrawFn, times: st.SearchStrategy[int]) -> Sample:
    row: list[float | None] = [None] * len(COLUMNS)
    for place in PLACES:
        row[place] = draw(st.none() | NUMBERS)
    return draw(times), tuple(row)


ANY_ORDER = st.lists(sample(st.integers(1, 30)), max_size=40)


def in_order(samples: Sequence[Sample]) -> list[Sample]:
    return sorted({time: (time, row) for time, row in samples}.values())


def play(
    site: BoxRuleSet, batches: Sequence[Sequence[Sample]], *, through_json: bool = False
) -> list[AlertTransition]:
    """Give batches one after the other, as the pipeline does, and return all transitions."""
    state: RuleStates = {}
    latest: dict[str, list[float]] = {}
    found: list[AlertTransition] = []
    count = iter(range(1, 100_000))
    new_id: Callable[[], UUID] = lambda: UUID(int=next(count))  # noqa: E731 (an argument with a name)
    for batch in batches:
        before = json.dumps(state)
        told, changed = evaluate_box(site, state, latest, batch, 1, new_id)
        assert changed or json.dumps(state) == before
        found += told
        for time, row in batch:
            for place in PLACES:
                value = row[place]
                known = latest.get(COLUMNS[place])
                if value is not None and (known is None or known[1] < time):
                    latest[COLUMNS[place]] = [value, time]
        if through_json:
            state = json.loads(json.dumps(state))
    return found


def told(steps: Sequence[AlertTransition]) -> list[Told]:
    return [Told(step.kind, step.rule_id, step.time_us, step.value, step.pending_since_us) for step in steps]


def asks(rule: CompiledRule) -> tuple[float, bool, float, float]:
    """(sign, inclusive, threshold, clear) of a rule, the last two as in the mirror of `>`."""
    (limit,) = rule.limits
    sign = 1.0 if ">" in rule.name else -1.0
    assert limit.threshold is not None
    assert limit.clear is not None
    return sign, rule.name.endswith("="), sign * limit.threshold, sign * limit.clear


def above(rule: CompiledRule, value: float) -> bool:
    """Whether a value is on the alarming side."""
    sign, inclusive, threshold, _ = asks(rule)
    return sign * value > threshold or (inclusive and sign * value == threshold)


def reference(site: BoxRuleSet, samples: Sequence[Sample]) -> list[Told]:
    """The sentences of the contract, one rule and one sample at a time, on samples in order."""
    found: list[tuple[int, int, Told]] = []
    for rule in site.by_key.values():
        sign, _, _, clear = asks(rule)
        assert rule.column is not None
        since: int | None = None
        firing = False
        for time, row in samples:
            raw = row[rule.column]
            if raw is None:
                continue
            if firing:
                if sign * raw <= clear and not above(rule, raw):
                    assert since is not None
                    found.append((time, rule.column, Told("resolved", rule.id, time, raw, since)))
                    firing, since = False, None
            elif not above(rule, raw):
                since = None
            else:
                since = time if since is None else since
                if time - since >= rule.levels[0].for_us:
                    firing = True
                    found.append((time, rule.column, Told("firing", rule.id, time, raw, since)))
    return [
        step for _, _, step in sorted(found, key=lambda entry: (entry[0], entry[1], str(entry[2].rule_id)))
    ]


@given(site_rules(), ANY_ORDER)
def test_samples_in_order_give_what_the_contract_says(site: BoxRuleSet, samples: list[Sample]) -> None:
    ordered = in_order(samples)
    assert told(play(site, [ordered])) == reference(site, ordered)


@given(site_rules(), ANY_ORDER, st.data())
def test_any_batching_gives_the_same_transitions(
    site: BoxRuleSet, samples: list[Sample], data: st.DataObject
) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(samples)), max_size=6)))
    batches = [samples[start:end] for start, end in zip([0, *cuts], [*cuts, len(samples)], strict=True)]
    whole = told(play(site, [samples]))
    assert told(play(site, batches)) == whole
    assert told(play(site, [[one] for one in samples])) == whole


@given(site_rules(), ANY_ORDER)
def test_state_that_went_through_json_is_the_same(site: BoxRuleSet, samples: list[Sample]) -> None:
    singles = [[one] for one in samples]
    assert play(site, singles, through_json=True) == play(site, singles)


@given(site_rules(), ANY_ORDER, st.data())
def test_repeats_and_late_samples_do_not_change_history(
    site: BoxRuleSet, samples: list[Sample], data: st.DataObject
) -> None:
    ordered = in_order(samples)
    # Each sample again, somewhere after itself: exact repeats, and late ones with other values.
    noisy: list[Sample] = []
    for place, one in enumerate(ordered):
        noisy.append(one)
        for earlier in data.draw(st.lists(st.sampled_from(ordered[: place + 1]), max_size=2)):
            replaced = data.draw(st.booleans())
            row = tuple((9.0 if replaced else value) if value is not None else None for value in earlier[1])
            noisy.append((earlier[0], row))
    assert told(play(site, [noisy])) == told(play(site, [ordered]))
    assert told(play(site, [ordered, ordered])) == told(play(site, [ordered]))


@given(site_rules(), ANY_ORDER)
def test_each_rule_fires_and_resolves_in_turn_and_never_inside_its_band(
    site: BoxRuleSet, samples: list[Sample]
) -> None:
    open_alerts: dict[UUID, UUID] = {}
    for step in play(site, [samples]):
        assert step.rule is not None
        assert step.value is not None
        if step.kind == "firing":
            assert step.rule_id not in open_alerts
            assert above(step.rule, step.value)
            open_alerts[step.rule_id] = step.alert_id
        else:
            assert open_alerts.pop(step.rule_id) == step.alert_id
            sign, _, _, clear = asks(step.rule)
            assert sign * step.value <= clear


@given(site_rules(), ANY_ORDER)
def test_never_fires_before_its_time(site: BoxRuleSet, samples: list[Sample]) -> None:
    for step in play(site, [samples]):
        if step.kind == "firing":
            assert step.rule is not None
            assert step.time_us - step.pending_since_us >= step.rule.levels[0].for_us


@given(
    st.lists(
        st.tuples(site_rules(), st.lists(sample(st.integers(1, 20)), min_size=1, max_size=5)), min_size=1
    )
)
def test_a_sample_with_which_nothing_may_begin_begins_nothing(
    boxes: list[tuple[BoxRuleSet, list[Sample]]],
) -> None:
    every = [values for _, samples in boxes for _, values in samples]
    matrix = np.array(
        [[np.nan if values[place] is None else values[place] for place in PLACES] for values in every]
    )
    counts = np.array([len(samples) for _, samples in boxes])
    may = prefilter_samples(matrix, PLACES, [rules for rules, _ in boxes], counts).tolist()
    for rules, samples in boxes:
        for single in samples:
            state: RuleStates = {}
            evaluate_box(rules, state, {}, [single], 1, uuid4)
            assert bool(state) <= may.pop(0)


# Numbers that a `real` rounds onto a threshold, or off it, and some that it takes for nothing.
HAIRS = st.sampled_from([0.0, 1e-8, -1e-8, 4e-8, -4e-8, 1e-7, -1e-7, 1e-3, -1e-3])
BOUNDS = st.sampled_from([0.0, 0.1, 25.0, -25.0, 24.3, 1013.25, 19_999.9])


@st.composite
def any_limit(draw: st.DrawFn) -> dict[str, Any]:
    operator = draw(st.sampled_from([">", ">=", "<", "<=", "inside", "outside"]))
    if operator in {"inside", "outside"}:
        low, high = sorted((draw(BOUNDS), draw(BOUNDS)))
        return {"operator": operator, "low": low, "high": high}
    return {"operator": operator, "threshold": draw(BOUNDS)}


@given(
    st.lists(
        st.lists(
            st.tuples(st.sampled_from(METRICS), st.lists(any_limit(), min_size=1, max_size=2)), max_size=3
        ),
        min_size=1,
        max_size=3,
    ),
    st.lists(st.tuples(st.sampled_from(METRICS), BOUNDS, HAIRS), min_size=1, max_size=5),
)
def test_no_gate_misses_a_beginning_by_a_hair(
    boxes: list[list[tuple[str, list[dict[str, Any]]]]], near: list[tuple[str, float, float]]
) -> None:
    severities = ("info", "critical")
    sites = [
        compile_box_rules(
            [
                helpers.compiled(
                    {
                        "levels": [
                            {"severity": severity, "condition": {"metric": metric, **limit}}
                            for severity, limit in zip(severities, limits, strict=False)
                        ]
                    },
                    number,
                )
                for number, (metric, limits) in enumerate(rules, 1)
            ]
        )
        for rules in boxes
    ]
    rows = [helpers.row(**{metric: bound * (1 + hair) + hair * 1e-38}) for metric, bound, hair in near]
    matrix = np.array(
        [[np.nan if one[place] is None else one[place] for place in PLACES] for one in rows * len(sites)]
    )
    may = prefilter_samples(matrix, PLACES, sites, np.full(len(sites), len(rows))).tolist()
    for site in sites:
        for one in rows:
            state: RuleStates = {}
            evaluate_box(site, state, {}, [(1, one)], 1, uuid4)
            assert bool(state) <= may.pop(0)
            # The same without its gate: nothing begins there either that did not begin here.
            raised = {
                rule.key
                for rule in site.by_key.values()
                for limit in rule.limits
                if rule.column is not None
                and (value := one[rule.column]) is not None
                and limit.evaluate(round_to_float32(rule.column, value))[0]
            }
            assert set(state) == raised
