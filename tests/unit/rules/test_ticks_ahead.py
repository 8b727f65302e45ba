"""Samples that were measured before a tick and come after it: nothing is told twice."""

import pytest

from app.rules.engine.box_and_site_views import BoxFacts
from tests.unit.rules.helpers import RuleStage, brief, single

PAIR = (BoxFacts(1, "box-1"), BoxFacts(2, "box-2"))
FIVE = "PT5M"
PAIR_ONLY = {"boxes": ["box-1", "box-2"]}


def test_a_sample_of_another_box_does_not_end_the_silence_of_a_site() -> None:
    stage = RuleStage({1: single({"boxes": {"no_data": FIVE}, "at_least": 1})}, PAIR)
    stage.sample(0, 2, co2=400)
    for minute in (1, 2, 3, 4):
        stage.sample(minute, 1, co2=400)
    assert brief(stage.tick(5.01)) == [("firing", 5)]
    # Measured just before the silence was long enough, and a moment on its way.
    assert stage.sample(4.99, 1, co2=400) == []
    assert stage.tick(5.02) == []
    assert brief(stage.sample(5.5, 2, co2=400)) == [("resolved", 5.5)]


def test_a_late_sample_of_one_box_does_not_end_the_silence_of_another() -> None:
    levels = [
        {"severity": "info", "condition": {"metric": "co2", "operator": ">", "threshold": 0, "box": "box-1"}},
        {"severity": "warning", "condition": {"boxes": {"no_data": FIVE}, "at_least": 1, "scope": PAIR_ONLY}},
    ]
    stage = RuleStage({1: {"levels": levels}}, (*PAIR, BoxFacts(3, "box-3")))
    assert brief(stage.sample(0, 1, co2=400)) == [("firing", 0)]
    stage.sample(1, 2, co2=400)
    # Both boxes were silent for long enough when the third one, which the rule does not read, sent.
    assert brief(stage.sample(8, 3, co2=400)) == [("changed", 5)]
    assert stage.sample(5, 1, co2=400) == []
    assert stage.tick(9) == []


def test_a_sample_of_another_metric_does_not_end_a_silence() -> None:
    parts = [{"no_data": FIVE, "metric": metric} for metric in ("co2", "laeq")]
    stage = RuleStage({1: single({"any": parts})})
    stage.sample(0, co2=400)
    stage.sample(1, laeq=50)
    assert brief(stage.tick(5.01)) == [("firing", 5)]
    assert stage.sample(4.99, laeq=50) == []
    assert stage.tick(5.02) == []


def test_an_event_that_has_left_its_window_does_not_fire_again() -> None:
    parts = [{"no_data": FIVE}, {"event": "gunshot", "window": "PT1M"}]
    stage = RuleStage({1: single({"any": parts})})
    stage.sample(1, co2=400)
    assert brief(stage.event(1.5)) == [("firing", 1.5)]
    assert brief(stage.tick(2.6)) == [("resolved", 2.5)]
    assert stage.sample(2.49, co2=400) == []


@pytest.mark.parametrize("waits", ["PT0S", "PT3M"])
def test_a_sample_of_the_box_that_was_silent_ends_it(waits: str) -> None:
    stage = RuleStage({1: single({"no_data": FIVE, "for": waits})})
    stage.sample(0, co2=400)
    ((_, fired),) = brief(stage.tick(60))
    assert brief(stage.sample(1, co2=400)) == [("resolved", fired)]


def test_an_alert_does_not_begin_before_the_last_one_ended() -> None:
    """A timer ends an alert for silence; then a sample arrives that was measured before."""
    stage = RuleStage({1: single({"not": {"no_data": "PT3M", "metric": "pm2_5"}})})
    assert brief(stage.sample(39, pm2_5=0)) == [("firing", 39)]
    assert brief(stage.sample(44, co2=400)) == [("resolved", 42)]
    assert brief(stage.sample(41, pm2_5=0)) == [("firing", 42)]
    assert brief(stage.tick(60)) == [("resolved", 44)]
