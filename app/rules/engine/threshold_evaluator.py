"""Evaluates threshold rules on a box's samples; marks samples of a batch that may begin an alert. Pure.

Threshold rules compare plain values of one metric. A prefilter checks a whole batch by column. Only samples
that may begin an alert, and boxes with a rule that is not at rest, are evaluated one by one. Other rules need
`sequential_evaluator`. Both use `alert_state_machine`. The result depends on the arguments only, so that a
replay gives the same one.

A sample that is not newer than earlier ones of its metric is late, and changes nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any, Final
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from app.catalogue.metrics import COLUMNS
from app.rules.engine.alert_state_machine import (
    AlertTransition,
    RuleStates,
    advance_state,
    resolve_removed_rule,
)
from app.rules.engine.box_rule_set import BoxRuleSet, compile_box_rules
from app.rules.engine.condition_leaf_evaluation import ConditionCause
from app.rules.engine.rule_compiler import CompiledRule, compile_rule
from app.timeseries.storage.sample_column_encoding import round_to_float32

__all__ = [
    "AlertTransition",
    "BoxRuleSet",
    "CompiledRule",
    "ConditionCause",
    "RuleStates",
    "compile_box_rules",
    "compile_rule",
    "evaluate_box",
    "prefilter_samples",
]

TimedSamples = Sequence[tuple[int, tuple[float | None, ...]]]
"""(time in µs since the epoch, values in the order of COLUMNS) of one box."""

_BEFORE_ALL: Final = -1


def prefilter_samples(
    matrix: NDArray[np.float64],
    used: Sequence[int],
    rules: Sequence[BoxRuleSet],
    counts: NDArray[np.int64],
) -> NDArray[np.bool_]:
    """Mark the samples that may begin an alert: those with a value outside of its prefilter range.

    Args:
        matrix: one row per sample; NaN for a missing value.
        used: for each column of `matrix`, its index in COLUMNS.
        rules: the rule set of each box.
        counts: the number of consecutive samples of each box.
    """
    _, first, inverse = np.unique(list(map(id, rules)), return_index=True, return_inverse=True)
    distinct = [rules[index] for index in first.tolist()]
    if not any(distinct):
        return np.zeros(len(matrix), np.bool_)
    columns = list(used)
    low = np.stack([found.low[columns] for found in distinct])
    high = np.stack([found.high[columns] for found in distinct])
    if len(distinct) > 1:
        of_sample = np.repeat(inverse, counts)
        low, high = low[of_sample], high[of_sample]
    outside: NDArray[np.bool_] = ((matrix <= low) | (matrix >= high)).any(axis=1)
    return outside


def evaluate_box(  # noqa: PLR0917 (called for every box of every batch, where keywords cost time)
    site: BoxRuleSet,
    state: RuleStates,
    watermarks: Mapping[str, Sequence[Any]],
    samples: TimedSamples,
    box_key: int,
    new_alert_id: Callable[[], UUID],
) -> tuple[list[AlertTransition], bool]:
    """Apply the threshold rules of a box to its samples in order, and end rules that no longer apply.

    Args:
        site: the rules, of the same registry version as `state`.
        state: the states of rules on the box; changed in place.
        watermarks: metric → [value, time in µs] of the newest earlier sample.
        samples: in the order of arrival; late and duplicate ones are allowed.
        box_key: copied into the transitions.
        new_alert_id: called once for each alert that fires.

    Returns:
        The transitions, in the order of the samples, and whether `state` was changed.
    """
    found, changed = evaluate_box_indexed(site, state, watermarks, samples, box_key, new_alert_id)
    return [transition for _, transition in found], changed


def evaluate_box_indexed(  # noqa: PLR0917 (as above)
    site: BoxRuleSet,
    state: RuleStates,
    watermarks: Mapping[str, Sequence[Any]],
    samples: TimedSamples,
    box_key: int,
    new_alert_id: Callable[[], UUID],
) -> tuple[list[tuple[int, AlertTransition]], bool]:
    """Do as `evaluate_box`, and return each transition with the index of its sample.

    The index is -1 for a rule that no longer applies.

    Args:
        site: the rules, of the same registry version as `state`.
        state: the states of rules on the box; changed in place.
        watermarks: metric → [value, time in µs] of the newest earlier sample.
        samples: in the order of arrival.
        box_key: copied into the transitions.
        new_alert_id: called once for each alert that fires.
    """
    # This loop runs for every sample. It finds the columns that may raise a rule: mostly none.
    touched: set[int] = set()
    for _, values in samples:
        for column, low, high in site.prefilter_ranges:
            value = values[column]
            if value is not None and not low < value < high:
                touched.add(column)
    if not touched and not state:
        return [], False
    evaluation = _ThresholdEvaluation(site, state, new_alert_id, box_key)
    if samples:
        touched.update(evaluation.find_active_columns(samples[0][0]))
    for column in sorted(touched):
        known = watermarks.get(COLUMNS[column])
        evaluation.evaluate_column(column, _BEFORE_ALL if known is None else known[1], samples)
    evaluation.found.sort(key=itemgetter(0))  # stable: within a sample, by column and rule
    return evaluation.found, evaluation.changed


class _ThresholdEvaluation:
    """One evaluation of the threshold rules of a box."""

    def __init__(
        self, site: BoxRuleSet, state: RuleStates, new_alert_id: Callable[[], UUID], box_key: int
    ) -> None:
        self.site = site
        self.state = state
        self.new_alert_id = new_alert_id
        self.box_key = box_key
        self.found: list[tuple[int, AlertTransition]] = []
        self.changed = False

    def find_active_columns(self, time_us: int) -> set[int]:
        """Find the columns of threshold rules that are not at rest, and end rules that no longer apply."""
        columns: set[int] = set()
        for key in list(self.state):
            rule = self.site.by_key.get(key)
            if rule is None:
                # A change of the rule closes its alerts itself; this is for a box that moved to another site.
                self._record(
                    _BEFORE_ALL, key, None, resolve_removed_rule(key, self.state[key], time_us, self.box_key)
                )
            elif rule.column is not None:
                columns.add(rule.column)
        return columns

    def evaluate_column(self, column: int, mark: int, samples: TimedSamples) -> None:
        """Apply the rules of one column; `mark`: the time of the newest earlier sample of its metric."""
        rules = self.site.by_column[column]
        for index, (time_us, values) in enumerate(samples):
            raw = values[column]
            if raw is None or time_us <= mark:
                continue
            mark = time_us
            value = round_to_float32(column, raw)
            for rule in rules:
                self._apply(index, rule, time_us, value)

    def _apply(self, index: int, rule: CompiledRule, time_us: int, value: float) -> None:
        held = self.state.get(rule.key)
        verdicts = [limit.evaluate(value) for limit in rule.limits]
        if held is None and not any(raises for raises, _ in verdicts):
            return

        def cause(level: int) -> ConditionCause:
            limit, path = rule.limits[level], rule.levels[level].node.path
            metric = None if rule.column is None else COLUMNS[rule.column]
            return ConditionCause(metric, value, limit.threshold, limit.clear, None, None, path, None, ())

        after, transition = advance_state(
            rule, held, time_us, verdicts, cause, self.new_alert_id, self.box_key
        )
        if after is not held:
            self._record(index, rule.key, after, transition)

    def _record(
        self, index: int, key: str, after: list[Any] | None, transition: AlertTransition | None
    ) -> None:
        if after is None:
            self.state.pop(key, None)
        else:
            self.state[key] = after
        self.changed = True
        if transition is not None:
            self.found.append((index, transition))
