"""Rules on indices from period to period: by hysteresis and waits, with hours, however they are cut up."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from app.environmental_indices.index_results import IndexResult, NoValueReason, build_result
from app.environmental_indices.outdoor_air_indices import EAQI, EAQI_SCALES
from app.environmental_indices.period_selection import TimePeriod
from app.platform.kernel.instants import HOUR_US, format_us, parse_rfc3339
from app.rules.engine.alert_state_machine import AlertTransition
from app.rules.engine.box_and_site_views import BoxFacts
from app.rules.engine.rule_compiler import CompiledRule, compile_rule
from app.rules.index_rules.index_condition_evaluation import IndexView
from app.rules.index_rules.index_rule_evaluator import (
    IndexEvaluation,
    PeriodEnd,
    evaluate_index_rule,
    find_newest_period_end,
    list_period_ends,
    select_periods,
)
from app.rules.index_rules.index_selection import IndexQuery, SiteLocality
from tests.unit.rules.helpers import ids, single

START = parse_rfc3339("2026-03-02T00:00:00Z")
PARIS = SiteLocality("Europe/Paris", 43.6)
ASK = IndexQuery("eaqi", "hour")
BOX = BoxFacts(1, "box-1")
CONDITION = {"index": "eaqi", "operator": ">=", "threshold": 4, "clear": 2}
type Levels = Sequence[int | None]
LEVELS = st.lists(st.one_of(st.none(), st.integers(1, 6)), min_size=1, max_size=30)


def result(end_us: int, level: int | None) -> IndexResult:
    band = None if level is None else EAQI_SCALES["o3"].bands[level - 1]
    reason: NoValueReason | None = "no_data" if level is None else None
    period = TimePeriod(end_us - HOUR_US, end_us)
    return build_result(
        EAQI, period, None if level is None else float(level), 100.0, band=band, reason=reason
    )


def rule(condition: dict[str, Any], **more: Any) -> CompiledRule:  # noqa: ANN401 (as JSON)
    nobody = UUID(int=9)
    definition = single(condition, **more)
    return compile_rule(nobody, 1, nobody, nobody, "Air", definition, timezone="Europe/Paris")


def view(levels: Levels, facts: BoxFacts = BOX) -> IndexView:
    computed = {
        (ASK, START + (hour + 1) * HOUR_US): result(START + (hour + 1) * HOUR_US, level)
        for hour, level in enumerate(levels)
    }
    return IndexView.of(facts, [ASK], computed)


def play(
    found: CompiledRule,
    levels: Levels,
    cuts: Sequence[int] = (),
    new_id: Callable[[], UUID] | None = None,
    *,
    settled: bool = True,
) -> list[AlertTransition]:
    """Judge hour by hour, all at once or in parts."""
    told: list[AlertTransition] = []
    state: tuple[list[Any] | None, int] = (None, START)
    edges = sorted({0, *(cut for cut in cuts if cut < len(levels)), len(levels)})
    new_id = new_id or ids()
    for first, last in itertools.pairwise(edges):
        moments = [PeriodEnd(START + (hour + 1) * HOUR_US, settled) for hour in range(first, last)]
        done = evaluate_index_rule(
            found, {1: view(levels)}, 1, state, moments, START + last * HOUR_US, new_id
        )
        assert isinstance(done, IndexEvaluation)
        state = done.held, done.judged_us
        told += done.transitions
    return told


def hours(told: Sequence[AlertTransition]) -> list[tuple[str, float]]:
    return [(step.kind, (step.time_us - START) / HOUR_US) for step in told]


@given(levels=LEVELS)
def test_it_goes_by_the_newest_value_that_is_known(levels: Levels) -> None:
    firing, expected = False, []
    for hour, level in enumerate(levels, 1):
        if level is None:
            continue
        if firing and level <= 2:
            firing = False
            expected.append(("resolved", hour))
        elif not firing and level >= 4:
            firing = True
            expected.append(("firing", hour))
    assert hours(play(rule(CONDITION), levels)) == expected
    assert hours(play(rule(CONDITION), levels, settled=False)) == expected


WAITS = st.fixed_dictionaries(
    {
        "for": st.sampled_from(["PT0S", "PT1H", "PT3H"]),
        "repeat": st.integers(1, 3),
        "keep_firing_for": st.sampled_from(["PT0S", "PT2H"]),
    }
)
HOURS = st.sampled_from(
    [None, [{"from": "03:00", "to": "06:00"}], [{"days": ["tue"], "from": "00:00", "to": "00:00"}]]
)


@given(levels=LEVELS, waits=WAITS, active=HOURS, cuts=st.lists(st.integers(1, 29)))
def test_it_is_all_the_same_how_often_one_looks(
    levels: Levels, waits: dict[str, Any], active: list[dict[str, Any]] | None, cuts: list[int]
) -> None:
    found = rule(CONDITION | waits, active=active)
    assert play(found, levels, cuts, ids()) == play(found, levels, (), ids())


@given(levels=LEVELS, waits=WAITS, active=HOURS)
def test_what_is_told_is_in_order_and_never_twice(
    levels: Levels, waits: dict[str, Any], active: list[dict[str, Any]] | None
) -> None:
    told = play(rule(CONDITION | waits, active=active), levels)
    assert [step.kind for step in told] == ["firing", "resolved"] * (len(told) // 2) + ["firing"] * (
        len(told) % 2
    )
    times = [step.time_us for step in told]
    assert times == sorted(times)
    assert all(time_us % 1_000_000 == 0 for time_us in times)


def test_hours_hold_the_period_that_ends_with_them_and_not_the_one_before() -> None:
    # By UTC from 2 to 5.
    found = rule(CONDITION, active=[{"from": "03:00", "to": "06:00"}])
    told = play(found, [5] * 12)
    assert hours(told) == [("firing", 3), ("resolved", 5)]
    assert told[1].reason == "out_of_hours"
    assert hours(play(found, [1, 5, 1, 1, 5, 5])) == [("firing", 5), ("resolved", 5)]


def test_what_is_not_known_yet_is_left_for_later() -> None:
    levels: Levels = [5, None, None]
    moments = [PeriodEnd(START + (hour + 1) * HOUR_US, settled=hour == 0) for hour in range(3)]
    done = evaluate_index_rule(
        rule(CONDITION), {1: view(levels)}, 1, (None, START), moments, START + 3 * HOUR_US, ids()
    )
    assert done.judged_us == START + HOUR_US
    moments = moments[1:]
    later = evaluate_index_rule(
        rule(CONDITION),
        {1: view([5, 1, None])},
        1,
        (done.held, done.judged_us),
        moments,
        START + 3 * HOUR_US,
        ids(),
    )
    assert hours(later.transitions) == [("resolved", 2)]
    assert later.judged_us == START + 2 * HOUR_US


def test_a_site_counts_its_boxes_at_each_moment() -> None:
    other = BoxFacts(2, "box-2")
    views = {1: view([4, 4, 1, 1]), 2: view([1, 5, 5, None], other)}
    found = rule({"boxes": CONDITION, "share": 100})
    moments = [PeriodEnd(START + hour * HOUR_US) for hour in (1, 2, 3, 4)]
    done = evaluate_index_rule(found, views, None, (None, START), moments, START + 4 * HOUR_US, ids())
    assert hours(done.transitions) == [("firing", 2), ("resolved", 3)]
    cause = done.transitions[0].cause
    assert cause is not None
    assert cause.boxes == (1, 2)


def test_periods_of_several_lengths_are_looked_at_when_the_shortest_ends() -> None:
    day = IndexQuery("who-24h", "day", "pm2_5")
    begin = find_newest_period_end([ASK, day], START + HOUR_US // 2, PARIS)
    assert format_us(begin) == "2026-03-02T00:00:00Z"
    moments = list_period_ends([ASK, day], begin, START + 24 * HOUR_US, PARIS)
    assert len(moments) == 24
    wanted = select_periods([ASK, day], moments, PARIS)
    assert [format_us(slot.period.end_us) for slot in wanted[day]] == [
        "2026-03-01T23:00:00Z",
        "2026-03-02T23:00:00Z",
    ]
    assert len(wanted[ASK]) == 24


def test_days_have_the_hours_of_the_place() -> None:
    # The clocks go forward: 23 hours; weeks and months end with days.
    after, until = parse_rfc3339("2026-03-28T12:00:00Z"), parse_rfc3339("2026-04-01T12:00:00Z")
    days = [format_us(end) for end in list_period_ends([IndexQuery("atmo", "day")], after, until, PARIS)]
    assert days == [f"2026-03-{day}Z" for day in ("28T23:00:00", "29T22:00:00", "30T22:00:00", "31T22:00:00")]
    week = IndexQuery("leq", "week")
    assert list_period_ends([week], after, until, PARIS) == list_period_ends(
        [IndexQuery("atmo", "day")], after, until, PARIS
    )
    assert [slot.period.seconds / 3600 for slot in week.ends(after, until, PARIS)] == [168, 167, 167, 167]
    month = list_period_ends([IndexQuery("leq", "month")], after, until, PARIS)
    assert [format_us(end) for end in month] == ["2026-03-31T22:00:00Z"]
    noise = list_period_ends([IndexQuery("lden-day", "day")], after, until, PARIS)
    assert next(format_us(end) for end in noise) == "2026-03-29T04:00:00Z"
