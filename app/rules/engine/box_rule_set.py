"""Groups the rules that apply to a box for fast evaluation of a batch. Pure."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Final

import numpy as np
from numpy.typing import NDArray

from app.catalogue.metrics import COLUMNS
from app.rules.engine.condition_leaf_evaluation import SilenceLeaf
from app.rules.engine.rule_compiler import CompiledRule, merge_lookbacks
from app.rules.engine.value_windows import RuleLookback

# The prefilter compares values before they are rounded to `real`: this tolerance makes it safe.
_TOLERANCE: Final = 1e-6
# Smaller values round to zero in a `real`.
_SMALLEST: Final = 1e-37


@dataclass(frozen=True, slots=True, eq=False)
class BoxRuleSet:
    """The rules of a site that apply to a box, indexed for evaluation.

    Attributes:
        by_key: rule key → rule, without rules on the whole site.
        by_column: column → the threshold rules on it, which the prefilter guards.
        prefilter_ranges: (column, low, high) for each of these columns. A value strictly between low and high
            raises none of its rules, so that no alert can begin with it.
        low, high: the same for every column of COLUMNS; infinite without a rule.
        stateful: the rules that must evaluate every sample.
        timed: the rules that may change without a sample, including rules with active hours.
        needs: the look-back of all rules, including rules on the whole site.
        across: the rules on the whole site.
        watched: the columns that the stateful evaluator reads; all columns if any rule depends on time.
        quiet: set if all stateful rules wait for silence: the shortest silence (µs) and its columns (None:
            any). No rule changes before that silence.
        effort: the number of parts of conditions that are evaluated for a sample.
        reach_us: the sum of the lengths of all windows (µs).
    """

    by_key: Mapping[str, CompiledRule]
    by_column: Mapping[int, tuple[CompiledRule, ...]]
    prefilter_ranges: tuple[tuple[int, float, float], ...]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    stateful: tuple[CompiledRule, ...] = ()
    timed: tuple[CompiledRule, ...] = ()
    needs: RuleLookback = field(default_factory=RuleLookback)
    across: tuple[CompiledRule, ...] = ()
    watched: tuple[int, ...] = ()
    quiet: tuple[int, frozenset[int | None]] | None = None
    effort: int = 0
    reach_us: int = 0

    def __bool__(self) -> bool:
        return bool(self.prefilter_ranges or self.stateful or self.across)


def compile_box_rules(rules: Sequence[CompiledRule]) -> BoxRuleSet:
    """Group the rules that apply to a box."""
    ordered = sorted(rules, key=lambda rule: (-1 if rule.column is None else rule.column, rule.key))
    of_box = [rule for rule in ordered if not rule.whole_site]
    by_column: dict[int, tuple[CompiledRule, ...]] = {}
    for rule in of_box:
        if rule.column is not None:
            by_column[rule.column] = (*by_column.get(rule.column, ()), rule)
    prefilter_ranges = tuple((column, *_prefilter_range(group)) for column, group in by_column.items())
    low, high = np.full(len(COLUMNS), -np.inf), np.full(len(COLUMNS), np.inf)
    for column, lowest, highest in prefilter_ranges:
        low[column], high[column] = lowest, highest
    stateful = tuple(rule for rule in of_box if rule.column is None)
    across = tuple(rule for rule in ordered if rule.whole_site)
    timed = tuple(rule for rule in of_box if rule.timed or rule.hours is not None)
    looked_at = (
        range(len(COLUMNS)) if timed or across else chain.from_iterable(rule.columns for rule in stateful)
    )
    needs = merge_lookbacks(rule.needs for rule in ordered)
    return BoxRuleSet(
        {rule.key: rule for rule in of_box},
        by_column,
        prefilter_ranges,
        low,
        high,
        stateful,
        timed,
        needs,
        across,
        tuple(sorted(set(looked_at))),
        None if across else _quiet(stateful),
        sum(rule.parts for rule in (*stateful, *across)),
        sum(span.window_us for span in needs.spans),
    )


def _quiet(stateful: Sequence[CompiledRule]) -> tuple[int, frozenset[int | None]] | None:
    leaves = []
    for level in chain.from_iterable(rule.levels for rule in stateful):
        if not isinstance(level.node, SilenceLeaf):
            return None
        leaves.append(level.node)
    if not leaves:
        return None
    return min(leaf.quiet_us for leaf in leaves), frozenset(leaf.column for leaf in leaves)


def _prefilter_range(rules: Sequence[CompiledRule]) -> tuple[float, float]:
    ranges = [limit.prefilter_range() for rule in rules for limit in rule.limits]
    low = max(low for low, _ in ranges)
    high = min(high for _, high in ranges)
    return (
        low + abs(low) * _TOLERANCE + _SMALLEST if math.isfinite(low) else low,
        high - abs(high) * _TOLERANCE - _SMALLEST if math.isfinite(high) else high,
    )
