"""A site that is looked at once more though nothing came: its boxes or its rules may be others by now."""

from typing import Any

import pytest

from app.rules.engine.box_and_site_views import BoxFacts
from app.rules.engine.sequential_evaluator import SequentialEvaluator
from tests.unit.rules.helpers import ExpectedTransition, RuleStage, brief, single, told

PAIR = (BoxFacts(1, "box-1"), BoxFacts(2, "box-2"))
ABOVE = {"metric": "co2", "operator": ">", "threshold": 1000, "clear": 800}
SILENT = {"no_data": "PT5M"}


def look_again(stage: RuleStage) -> list[ExpectedTransition]:
    walk = SequentialEvaluator(stage.tracks, stage.site, stage.new_id)
    walk.reevaluate_site()
    return [told(transition) for _, transition in walk.found]


def after(*samples: tuple[float, int, float], of: dict[str, Any]) -> RuleStage:
    """These samples (minute, box, value), and then a rule."""
    stage = RuleStage({}, PAIR)
    for minute, box, value in samples:
        stage.sample(minute, box, co2=value)
    made = RuleStage({1: single(of)}, PAIR)
    made.stored = stage.stored
    made.open_views()
    return made


@pytest.mark.parametrize("waits", ["PT0S", "PT5M"])
def test_what_begins_with_samples_waits_for_the_next(waits: str) -> None:
    stage = after((0, 1, 1200), of={"boxes": ABOVE, "at_least": 1, "for": waits})
    assert look_again(stage) == []
    assert stage.site_state == {}
    # Not long enough since it is known, however long it has been so.
    assert brief(stage.sample(20, 1, co2=1200)) == ([("firing", 20)] if waits == "PT0S" else [])
    assert brief(stage.sample(25, 1, co2=1200)) == ([] if waits == "PT0S" else [("firing", 25)])


def test_a_silence_begins_without_a_sample() -> None:
    stage = after((0, 1, 400), (20, 2, 400), of={"boxes": SILENT, "at_least": 1})
    assert brief(look_again(stage)) == [("firing", 20)]


def test_what_has_begun_ends_where_its_box_has_left() -> None:
    stage = RuleStage({1: single({"boxes": ABOVE, "at_least": 1})}, PAIR)
    stage.sample(0, 1, co2=1200)
    assert brief(stage.sample(0, 2, co2=400)) == []
    stage.boxes = PAIR[1:]
    stage.open_views()
    assert brief(look_again(stage)) == [("resolved", 0)]
