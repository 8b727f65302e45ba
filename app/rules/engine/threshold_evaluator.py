"""What a site's rules say of a box's samples. Pure, and the same on every replay.

Two ways lead through the same machine (`app.rules.engine.alert_state_machine`). Rules that compare plain
values of one metric are guarded by gates, which a whole batch passes in a few steps of arithmetic: only what
may begin something, and boxes where something has begun, are looked at one by one, here. All other rules
have to see every sample: `app.rules.engine.stateful_evaluator`. Must not read a clock (times are those of
the samples), a database or the network.

A sample that is not newer than those already seen of its metric is late, and changes nothing: the past is
not judged again.
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
from app.rules.engine.compiled_conditions import ConditionCause
from app.rules.engine.rule_compiler import CompiledRule, compile_rule
from app.timeseries.storage.sample_columns import round_to_float32

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
    """Tell for each sample whether anything may begin with it: whether a value is outside of its gate.

    Args:
        matrix: values, one row per sample, NaN where there is none.
        used: the column of COLUMNS that each column of `matrix` is.
        rules: those of one box after the other.
        counts: how many consecutive samples are of each box.
    """
    _, first, place = np.unique(list(map(id, rules)), return_index=True, return_inverse=True)
    distinct = [rules[index] for index in first.tolist()]
    if not any(distinct):
        return np.zeros(len(matrix), np.bool_)
    columns = list(used)
    low = np.stack([found.low[columns] for found in distinct])
    high = np.stack([found.high[columns] for found in distinct])
    if len(distinct) > 1:
        of_sample = np.repeat(place, counts)
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
    """Apply the gated rules of a box to samples of it, in the order given, and end those that are gone.

    Args:
        site: the rules, as new as `state`.
        state: the box's state, changed in place.
        watermarks: metric → [value, time in µs] of the newest sample known before these.
        samples: what came, in its order of arrival; late and repeated ones may be among them.
        box_key: goes into the transitions as it is.
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
    """As `evaluate_box`, each transition with the index of its sample (-1 for what was gone before)."""
    # The loop that every sample passes: it finds the columns where something may happen, mostly none.
    touched: set[int] = set()
    for _, values in samples:
        for column, low, high in site.prefilter_ranges:
            value = values[column]
            if value is not None and not low < value < high:
                touched.add(column)
    if not touched and not state:
        return [], False
    sift = _Sift(site, state, new_alert_id, box_key)
    if samples:
        touched.update(sift.held(samples[0][0]))
    for column in sorted(touched):
        known = watermarks.get(COLUMNS[column])
        sift.column(column, _BEFORE_ALL if known is None else known[1], samples)
    sift.found.sort(key=itemgetter(0))  # stable: within a sample, by column and rule
    return sift.found, sift.changed


class _Sift:
    """One call's way through the columns where something may happen."""

    def __init__(
        self, site: BoxRuleSet, state: RuleStates, new_alert_id: Callable[[], UUID], box_key: int
    ) -> None:
        self.site = site
        self.state = state
        self.new_alert_id = new_alert_id
        self.box_key = box_key
        self.found: list[tuple[int, AlertTransition]] = []
        self.changed = False

    def held(self, time_us: int) -> set[int]:
        """Give the columns of gated rules that are not at rest; end the state of rules that are gone."""
        columns: set[int] = set()
        for key in list(self.state):
            rule = self.site.by_key.get(key)
            if rule is None:
                # Its alerts are closed by whoever takes a rule away; a box that moved elsewhere ends up here.
                self._keep(
                    _BEFORE_ALL, key, None, resolve_removed_rule(key, self.state[key], time_us, self.box_key)
                )
            elif rule.column is not None:
                columns.add(rule.column)
        return columns

    def column(self, column: int, mark: int, samples: TimedSamples) -> None:
        """Apply one column's rules. `mark` is the time up to which its metric has been seen."""
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
            self._keep(index, rule.key, after, transition)

    def _keep(
        self, index: int, key: str, after: list[Any] | None, transition: AlertTransition | None
    ) -> None:
        if after is None:
            self.state.pop(key, None)
        else:
            self.state[key] = after
        self.changed = True
        if transition is not None:
            self.found.append((index, transition))
