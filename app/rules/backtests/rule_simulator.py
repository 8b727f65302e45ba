"""Simulates a rule on stored samples with the live evaluator. Pure."""

from collections.abc import Callable, Sequence
from uuid import uuid4

from app.catalogue.metrics import COLUMNS
from app.rules.engine.alert_state_machine import AlertTransition
from app.rules.engine.box_and_site_views import BoxFacts, BoxView, SiteView
from app.rules.engine.box_rule_set import compile_box_rules
from app.rules.engine.rule_compiler import CompiledRule
from app.rules.engine.sequential_evaluator import (
    BoxEvaluation,
    EvaluatorInput,
    SequentialEvaluator,
    SiteEvaluation,
)
from app.rules.engine.threshold_evaluator import evaluate_box_indexed
from app.rules.engine.value_windows import BoxEvent, BoxHistory

type SampleValues = tuple[float | None, ...]
"""A value or None for each of COLUMNS."""

type CompileForBox = Callable[[BoxFacts], CompiledRule]
"""Compiles the rule for a box, with the attributes of that box."""


class RuleSimulator:
    """Feeds stored samples of a site to one rule, as if they arrived now.

    Args:
        rule: compiles the rule for a box; a rule on a whole site is compiled for the first box.
        boxes: the boxes of the site; a rule on single boxes ignores those outside of its scope.
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
        self._evaluator = SequentialEvaluator(self._boxes, self._site, uuid4)

    @property
    def boxes(self) -> Sequence[int]:
        """The keys of the boxes that the rule applies to."""
        return list(self._boxes)

    @property
    def merged(self) -> bool:
        """Whether samples of all boxes must be fed in time order, not box by box."""
        return self._site is not None

    def warm(self, box_key: int, times: Sequence[int], values: Sequence[SampleValues]) -> None:
        """Fill the windows with samples from before the range, without evaluating them."""
        view = self._boxes[box_key].view
        for time_us, row in zip(times, values, strict=True):
            view.take(time_us, row)

    def warm_event(self, box_key: int, kind: str, event: BoxEvent) -> None:
        """Fill the event windows with an event from before the range."""
        self._boxes[box_key].view.take_event(kind, event)

    def feed(
        self, box_key: int, times: Sequence[int], values: Sequence[SampleValues]
    ) -> list[AlertTransition]:
        """Evaluate samples of one box.

        Args:
            box_key: one of `boxes`.
            times: µs since the epoch, ascending, newer than all earlier ones of the box.
            values: the values of each sample in the order of COLUMNS; a late value is None.
        """
        track = self._boxes[box_key]
        if self._site is None and not track.rules.stateful:
            return self._feed_thresholds(track, list(zip(times, values, strict=True)))
        for time_us, row in zip(times, values, strict=True):
            self._evaluator.take(EvaluatorInput(0, box_key, time_us, row))
        return self._drain(self._evaluator)

    def feed_event(self, box_key: int, kind: str, event: BoxEvent) -> list[AlertTransition]:
        """Evaluate an event of a box, in time order with its samples."""
        self._evaluator.take(EvaluatorInput(0, box_key, event.time_us, event=(kind, event)))
        return self._drain(self._evaluator)

    def finish(self, until_us: int) -> list[AlertTransition]:
        """Run the timers of silence, events and active hours up to a time."""
        self._evaluator.catch_up(until_us)
        return self._drain(self._evaluator)

    def _feed_thresholds(
        self, track: BoxEvaluation, samples: Sequence[tuple[int, SampleValues]]
    ) -> list[AlertTransition]:
        marks = {COLUMNS[column]: known for column, known in track.view.values.items()}
        found, _ = evaluate_box_indexed(track.rules, track.state, marks, samples, track.view.facts.key, uuid4)
        # Threshold rules need no history: storing the newest value of each column is enough.
        for column in track.rules.by_column:
            newest = next((seen for seen in reversed(samples) if seen[1][column] is not None), None)
            if newest is not None:
                track.view.take(*newest, (column,))
        return [transition for _, transition in found]

    @staticmethod
    def _drain(evaluator: SequentialEvaluator) -> list[AlertTransition]:
        found, evaluator.found = evaluator.found, []
        return [transition for _, transition in found]
