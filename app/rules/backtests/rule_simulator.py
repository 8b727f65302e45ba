"""Stored samples, judged again: the same evaluator, fed from the table instead of the broker. Pure."""

from collections.abc import Callable, Sequence
from uuid import uuid4

from app.catalogue.metrics import COLUMNS
from app.rules.engine.alert_state_machine import AlertTransition
from app.rules.engine.box_rule_set import compile_box_rules
from app.rules.engine.rule_compiler import CompiledRule
from app.rules.engine.snapshot import BoxFacts, BoxView, SiteView
from app.rules.engine.stateful_evaluator import (
    BoxEvaluation,
    EvaluatorInput,
    SiteEvaluation,
    StatefulEvaluator,
)
from app.rules.engine.threshold_evaluator import evaluate_box_indexed
from app.rules.engine.value_windows import BoxEvent, BoxHistory

type SampleValues = tuple[float | None, ...]
"""A value or None for each of COLUMNS."""

type CompileForBox = Callable[[BoxFacts], CompiledRule]
"""The rule as it applies to a box: with that one's attributes."""


class RuleSimulator:
    """Tries one rule on stored samples, as if they came in now.

    Args:
        rule: gives the rule for a box; for one on the site as a whole it is asked with the first box.
        boxes: the boxes of the site; those out of the scope of a rule on each box are left out.
    """

    def __init__(self, rule: CompileForBox, boxes: Sequence[BoxFacts]) -> None:
        self._boxes: dict[int, BoxEvaluation] = {}
        self._site: SiteEvaluation | None = None
        for facts in boxes:
            compiled = rule(facts)
            if not compiled.whole_site and compiled.scope is not None and not compiled.scope.takes(facts):
                continue
            rules = compile_box_rules([compiled])
            view = BoxView(facts, {}, BoxHistory(rules.needs), rules.needs)
            self._boxes[facts.key] = BoxEvaluation(view, rules, {})
            if compiled.whole_site and self._site is None:
                self._site = SiteEvaluation(SiteView({}), (compiled,), {})
        if self._site is not None:
            members = {key: self._boxes[key].view for key in sorted(self._boxes)}
            self._site.view = SiteView(members)
        self._walk = StatefulEvaluator(self._boxes, self._site, uuid4)

    @property
    def boxes(self) -> Sequence[int]:
        """Keys of the boxes that the rule applies to."""
        return list(self._boxes)

    @property
    def merged(self) -> bool:
        """Whether samples of all boxes have to come in the order of their times, not box by box."""
        return self._site is not None

    def warm(self, box_key: int, times: Sequence[int], values: Sequence[SampleValues]) -> None:
        """Take samples of before the first moment: they are in the windows by then, and are not judged."""
        view = self._boxes[box_key].view
        for time_us, row in zip(times, values, strict=True):
            view.take(time_us, row)

    def warm_event(self, box_key: int, kind: str, event: BoxEvent) -> None:
        """The same with an event."""
        self._boxes[box_key].view.take_event(kind, event)

    def feed(
        self, box_key: int, times: Sequence[int], values: Sequence[SampleValues]
    ) -> list[AlertTransition]:
        """Go on with samples of one box.

        Args:
            box_key: one of `boxes`.
            times: µs since the epoch, ascending, newer than all before of the box.
            values: of each, in the order of COLUMNS; a late value is None.
        """
        track = self._boxes[box_key]
        if self._site is None and not track.rules.walked:
            return self._feed_gated(track, list(zip(times, values, strict=True)))
        for time_us, row in zip(times, values, strict=True):
            self._walk.take(EvaluatorInput(0, box_key, time_us, row))
        return self._found(self._walk)

    def feed_event(self, box_key: int, kind: str, event: BoxEvent) -> list[AlertTransition]:
        """Go on with an event of a box, in its place among the samples."""
        self._walk.take(EvaluatorInput(0, box_key, event.time_us, event=(kind, event)))
        return self._found(self._walk)

    def finish(self, until_us: int) -> list[AlertTransition]:
        """Let happen what silence, events and hours bring about up to a time."""
        self._walk.catch_up(until_us)
        return self._found(self._walk)

    def _feed_gated(
        self, track: BoxEvaluation, samples: Sequence[tuple[int, SampleValues]]
    ) -> list[AlertTransition]:
        marks = {COLUMNS[column]: known for column, known in track.view.values.items()}
        found, _ = evaluate_box_indexed(track.rules, track.state, marks, samples, track.view.facts.key, uuid4)
        # Of what has passed only the newest values matter.
        for column in track.rules.by_column:
            newest = next((seen for seen in reversed(samples) if seen[1][column] is not None), None)
            if newest is not None:
                track.view.take(*newest, (column,))
        return [transition for _, transition in found]

    @staticmethod
    def _found(walk: StatefulEvaluator) -> list[AlertTransition]:
        found, walk.found = walk.found, []
        return [transition for _, transition in found]
