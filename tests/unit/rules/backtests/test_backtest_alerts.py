"""What a back-test makes of transitions, and how two lists of alerts are compared."""

from itertools import pairwise
from typing import Literal
from uuid import UUID, uuid4

from hypothesis import given
from hypothesis import strategies as st

from app.rules.backtests.backtest_alerts import AlertCollector, SimulatedAlert, compare_alerts
from app.rules.engine.alert_state_machine import AlertTransition
from app.rules.engine.condition_leaf_evaluation import ConditionCause

RULE = UUID(int=7)
CAUSE = ConditionCause("pm2_5", 31.0, 25.0, 20.0, None, None, "levels/0/condition", None, ())
SECOND = 1_000_000


def told(
    kind: Literal["firing", "changed", "resolved"],
    alert: UUID,
    at_s: int,
    severity: str = "warning",
    box: int | None = 1,
) -> AlertTransition:
    return AlertTransition(
        kind,
        None,
        RULE,
        box,
        at_s * SECOND,
        severity,
        CAUSE if kind == "firing" else None,
        (at_s - 10) * SECOND,
        alert,
        1,
        "threshold",
    )


def trial(box: int | None, start: int, end: int | None) -> SimulatedAlert:
    return SimulatedAlert(box, "warning", start, start, end, None, None, None)


def test_what_goes_on_from_before_counts_from_the_first_moment_and_what_had_ended_not_at_all() -> None:
    found, over, goes_on = AlertCollector(), uuid4(), uuid4()
    found.carry(
        [
            told("firing", over, 100),
            told("resolved", over, 150),
            told("firing", goes_on, 200),
            told("changed", goes_on, 250, "critical"),
        ],
        300 * SECOND,
    )
    found.take([told("resolved", goes_on, 340)])
    assert found.summary() == {"alerts": 1, "firing_s": 40.0, "longest_s": 40.0}
    (kept,) = found.alerts
    assert (kept.pending_since_us, kept.started_us) == (190 * SECOND, 300 * SECOND)
    assert kept.severity == "critical"


def test_an_alert_from_its_beginning_to_its_end() -> None:
    found, alert = AlertCollector(), uuid4()
    found.take(
        [told("firing", alert, 100), told("changed", alert, 130, "critical"), told("changed", alert, 140)]
    )
    found.take([told("resolved", alert, 160)])
    found.settle(1_000 * SECOND)
    assert found.summary() == {"alerts": 1, "firing_s": 60.0, "longest_s": 60.0}
    assert found.alerts[0].shown({1: "box-1"}, 1_000 * SECOND) == {
        "box": "box-1",
        "severity": "critical",
        "pending_since": "1970-01-01T00:01:30Z",
        "started_at": "1970-01-01T00:01:40Z",
        "resolved_at": "1970-01-01T00:02:40Z",
        "duration_s": 60.0,
        "value": 31.0,
        "threshold": 25.0,
        "metric": "pm2_5",
        "found_in": None,
    }


def test_what_fires_still_counts_up_to_the_end() -> None:
    found = AlertCollector()
    found.take([told("firing", uuid4(), 100, box=None)])
    found.settle(400 * SECOND)
    assert found.summary() == {"alerts": 1, "firing_s": 300.0, "longest_s": 300.0}
    shown = found.alerts[0].shown({}, 400 * SECOND)
    assert (shown["box"], shown["resolved_at"], shown["duration_s"]) == (None, None, 300.0)


def test_past_the_limit_alerts_are_counted_and_not_kept() -> None:
    found = AlertCollector(limit=3)
    for number in range(10):
        alert = uuid4()
        found.take([told("firing", alert, 100 * number), told("resolved", alert, 100 * number + 10)])
    assert (found.count, len(found.alerts)) == (10, 3)
    assert found.summary()["firing_s"] == 100.0


def test_alerts_of_one_box_that_overlap_are_both_rules() -> None:
    ours = [trial(1, 0, 10), trial(1, 20, 30), trial(2, 0, 10), trial(None, 0, 5)]
    theirs = [trial(1, 5, 8), trial(1, 30, 40), trial(2, 10, None), trial(None, 4, None)]
    compare_alerts(ours, theirs, 100)
    assert [each.found_in for each in ours] == ["both", "candidate", "candidate", "both"]
    assert [each.found_in for each in theirs] == ["both", "present", "present", "both"]


def timeline(points: list[int]) -> list[tuple[int, int | None]]:
    """Alerts that do not overlap each other; the last one may go on."""
    pairs = list(pairwise(sorted(points)))[::2]
    return [*pairs, (max(points) + 5, None)] if len(points) % 3 == 0 else list(pairs)


POINTS = st.lists(st.integers(0, 60), min_size=2, max_size=14, unique=True).map(timeline)


@given(st.dictionaries(st.integers(1, 3), POINTS), st.dictionaries(st.integers(1, 3), POINTS))
def test_the_comparison_is_what_looking_at_every_pair_gives(
    mine: dict[int, list[tuple[int, int | None]]], other: dict[int, list[tuple[int, int | None]]]
) -> None:
    until = 100
    ours = [trial(box, *span) for box, spans in mine.items() for span in spans]
    theirs = [trial(box, *span) for box, spans in other.items() for span in spans]
    compare_alerts(ours, theirs, until)

    def overlap(one: SimulatedAlert, two: SimulatedAlert) -> bool:
        ends = [until if each.resolved_us is None else each.resolved_us for each in (one, two)]
        return one.box_key == two.box_key and one.started_us < ends[1] and two.started_us < ends[0]

    for these, those, alone in ((ours, theirs, "candidate"), (theirs, ours, "present")):
        for each in these:
            expected = "both" if any(overlap(each, another) for another in those) else alone
            assert each.found_in == expected
