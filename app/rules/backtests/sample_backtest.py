"""Evaluates one rule on stored samples for a back-test and collects the alerts that it would have made.

The rule starts at rest at the beginning of the range, with full windows, as a rule does that is created then.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any, Final

from app.catalogue.metrics import COLUMNS, INDEX
from app.platform.kernel.instants import US_PER_S
from app.rules.backtests.backtest_alerts import AlertCollector
from app.rules.backtests.rule_simulator import RuleSimulator
from app.rules.backtests.sample_reader import BacktestSite, SampleRun
from app.rules.backtests.value_coverage import ValueCoverage
from app.rules.engine.box_and_site_views import BoxFacts
from app.rules.engine.condition_leaf_evaluation import SilenceLeaf, ValueLeaf, WindowLeaf
from app.rules.engine.rule_compiler import CompiledRule, compile_rule

_OTHER_UNITS: Final = frozenset({"count", "rate", "sum", "spread"})
"""Functions whose results do not compare with single values."""


class SampleBacktest:
    """One rule on samples in a back-test, and the alerts that it would have made.

    Args:
        row: the rule, as `compile_rule` takes it.
        site: the site and the boxes that it may be tried on.

    Attributes:
        found: the alerts that it would have made.
        thresholds: the numbers that values are compared with, by metric; none for counts and rates.
        coverage: the values that it was tried on; None for a rule on events alone.
        keys: the boxes in its scope.
        merged: whether samples of all boxes must arrive in time order, not box by box.
        columns, events: the metrics and event types that it reads.
        look_back_us: how long before the range samples matter to it (µs); silence may have begun earlier.
        silences: the columns on which it detects silence; None stands for any sample of a box.
        parts: the number of parts of its conditions.
    """

    def __init__(self, row: Mapping[str, Any], site: BacktestSite) -> None:
        self._row = row
        self._site = site
        self._compiled: dict[tuple[tuple[str, Any], ...], CompiledRule] = {}
        self._general = general = self._compile({})
        self.found = AlertCollector()
        self._simulator = RuleSimulator(self.compile, site.boxes)
        self.keys = self._known = frozenset(self._simulator.boxes)
        self.merged = self._simulator.merged
        self.columns = general.columns
        self.events = general.events
        self.look_back_us = general.look_back_us
        parts = list(chain.from_iterable(level.node.parts() for level in general.levels))
        self.silences = frozenset(part.column for part in parts if isinstance(part, SilenceLeaf))
        # The values of a metric whose silence is detected are not compared with anything.
        self.thresholds = _list_thresholds(parts)
        self._compared = sorted(INDEX[name] for name in self.thresholds)
        self.coverage = ValueCoverage() if self.columns else None
        self._intervals_us = {facts.key: facts.interval_s * US_PER_S for facts in site.boxes}
        self.parts = general.parts

    def compile(self, facts: BoxFacts) -> CompiledRule:
        """Compile the rule for a box. A rule on a whole site uses the site's attributes, as it does live."""
        general = self._general
        attributes = self._site.attributes if general.whole_site else facts.attributes
        return self._compile({name: attributes[name] for name in general.attributes if name in attributes})

    def _compile(self, attributes: Mapping[str, Any]) -> CompiledRule:
        """Compile the rule with these attributes; boxes with equal attributes share the result."""
        key = tuple(sorted(attributes.items()))
        found = self._compiled.get(key)
        if found is None:
            found = self._compiled[key] = compile_rule(
                **self._row, timezone=self._site.timezone, attributes=attributes
            )
        return found

    def begin(self, boxes: Sequence[BoxFacts]) -> None:
        """Reset the rule to its initial state, with these boxes."""
        self._simulator = RuleSimulator(self.compile, boxes)
        self._known = frozenset(self._simulator.boxes)

    def warm(self, runs: Sequence[SampleRun]) -> None:
        """Fill the windows with samples from before the range, without evaluating them."""
        for run in runs:
            if run.box_key not in self._known:
                continue
            if run.event is None:
                self._simulator.warm(run.box_key, run.times, run.values)
            else:
                self._simulator.warm_event(run.box_key, *run.event)

    def start(self, first_us: int) -> None:
        """Advance to the beginning of the range. An alert of a silence that still lasts starts there."""
        self.found.carry(self._simulator.finish(first_us - 1), first_us)

    def feed(self, runs: Sequence[SampleRun]) -> None:
        """Evaluate stored samples and events."""
        for run in runs:
            if run.box_key not in self._known:
                continue
            if run.event is None:
                self.found.take(self._simulator.feed(run.box_key, run.times, run.values))
                if self.coverage is not None:
                    self.coverage.take_samples(
                        run.box_key,
                        self._intervals_us[run.box_key],
                        (run.times, run.values),
                        self.columns,
                        self._compared,
                    )
            else:
                self.found.take(self._simulator.feed_event(run.box_key, *run.event))

    def finish(self, until_us: int) -> None:
        """Advance to the end of the range and close the open alerts there."""
        self.found.take(self._simulator.finish(until_us))
        self.found.settle(until_us)


def _list_thresholds(parts: Iterable[object]) -> dict[str, set[float]]:
    """List the metrics that are compared with something, and the thresholds of their values."""
    found: dict[str, set[float]] = {}
    for part in parts:
        if isinstance(part, ValueLeaf):
            column, is_value = part.column, True
        elif isinstance(part, WindowLeaf):
            column, is_value = part.span.column, part.function not in _OTHER_UNITS
        else:
            continue
        thresholds = found.setdefault(COLUMNS[column], set())
        if is_value and part.limit.threshold is not None:
            thresholds.add(part.limit.threshold)
    return found
