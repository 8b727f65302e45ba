"""What a rule says about a box's samples: pending, firing, resolved. Pure, and the same on every replay.

Owns the meaning of a condition and the state that it needs between samples. Must not read a clock (times are
those of the samples), a database or the network: state, samples and the maker of ids are arguments.

A rule on one box is at rest, pending or firing. The first sample above the threshold makes it pending; a
sample not above ends that; the first sample that is still above it once `for` has passed, in measurement
time, fires it; then only a sample at or below `clear` resolves it. A sample that is not newer than those
already seen of its metric is late, and changes nothing: the past is not judged again.

State is kept by rule key, as JSON, and only where a rule is not at rest:

    ["pending", since_us, version]
    ["firing", pending_since_us, version, alert_id, sequence, started_us]

`version` is the one of the rule when the state was entered. A later one means a new name or severity, and
the state goes on; whoever changes a condition removes the state of its rule first.
"""

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, Literal, NamedTuple
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from app.core.instants import US_PER_S, parse_iso_duration
from app.sites.catalogue import COLUMNS, INDEX

Compare = Callable[[float, float], bool]
Samples = Sequence[tuple[int, tuple[float | None, ...]]]
"""(time in µs since the epoch, values in the order of COLUMNS) of one box."""
State = dict[str, list[Any]]
"""Rule key → state, as above."""

_ABOVE: Final[Mapping[str, Compare]] = MappingProxyType(
    {">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le}
)
_BACK: Final[Mapping[str, Compare]] = MappingProxyType(
    {">": operator.le, ">=": operator.le, "<": operator.ge, "<=": operator.ge}
)
OPERATORS: Final = tuple(_ABOVE)
UPWARD: Final = frozenset({">", ">="})
"""The operators whose alarming side is above the threshold; for the others it is below, as in a mirror."""

_PENDING: Final = "pending"
_FIRING: Final = "firing"


@dataclass(frozen=True, slots=True)
class CompiledRule:
    """A rule, ready to be evaluated.

    Attributes:
        id: the rule.
        key: its id as text, the key of its state.
        version: counts up with each change of the rule.
        organisation_id: whose it is.
        site_id: the site to whose boxes it applies.
        name: for people.
        severity: info, warning or critical.
        metric: the metric's name.
        column: its index in COLUMNS.
        operator: one of `>` `>=` `<` `<=`.
        threshold: in the metric's unit.
        clear: what a sample has to come back to, in the metric's unit.
        for_us: how long it has to last, in microseconds of measurement time.
    """

    id: UUID
    key: str
    version: int
    organisation_id: UUID
    site_id: UUID
    name: str
    severity: str
    metric: str
    column: int
    operator: str
    threshold: float
    clear: float
    for_us: int

    def above(self, value: float) -> bool:
        """Tell whether a value is on the alarming side of the threshold."""
        return _ABOVE[self.operator](value, self.threshold)

    def cleared(self, value: float) -> bool:
        """Tell whether a value resolves: at or beyond `clear`, and not above.

        The second half matters for `>=` and `<=` alone, where `clear` may be the threshold itself.
        """
        return _BACK[self.operator](value, self.clear) and not self.above(value)


class Transition(NamedTuple):
    """A rule fired or resolved on a box.

    Attributes:
        kind: which of the two.
        rule: the rule; None where it no longer applies to the box (`rule_gone`).
        rule_id: the rule's id, in every case.
        box_key: the box, as the caller names it.
        time_us: time of the sample that did it.
        value: its value; None for `rule_gone`.
        pending_since_us: time of the first sample above the threshold.
        alert_id: the alert, the same when it resolves.
        sequence: 1 when it fires; counts up (what the database holds is ahead if it was acknowledged).
        reason: `threshold`, `cleared` or `rule_gone`.
    """

    kind: Literal["firing", "resolved"]
    rule: CompiledRule | None
    rule_id: UUID
    box_key: int
    time_us: int
    value: float | None
    pending_since_us: int
    alert_id: UUID
    sequence: int
    reason: Literal["threshold", "cleared", "rule_gone"]


@dataclass(frozen=True, slots=True)
class SiteRules:
    """A site's rules, with what makes their evaluation quick.

    Attributes:
        by_key: rule key → rule.
        by_column: column → its rules.
        gates: (column, low, high) for each column with rules. A value strictly between low and high is above
            the threshold of no rule, so nothing can begin with it.
        low, high: the same for every column of COLUMNS, infinite where there is no rule.
    """

    by_key: Mapping[str, CompiledRule]
    by_column: Mapping[int, tuple[CompiledRule, ...]]
    gates: tuple[tuple[int, float, float], ...]
    low: NDArray[np.float64] = field(compare=False)
    high: NDArray[np.float64] = field(compare=False)

    def __bool__(self) -> bool:
        return bool(self.gates)


def compile_rule(  # noqa: PLR0917 (the columns of a row, given by name)
    id: UUID,  # noqa: A002 (the column's name)
    version: int,
    organisation_id: UUID,
    site_id: UUID,
    name: str,
    severity: str,
    condition: Mapping[str, Any],
) -> CompiledRule:
    """Compile a stored rule. `condition` is that of the API: `clear` and `for` may be missing.

    Raises:
        KeyError: an unknown metric or operator, or a missing field: it was not validated.
        RejectedError: `invalid_duration`.
    """
    threshold = float(condition["threshold"])
    sign = condition["operator"]
    if sign not in _ABOVE:
        raise KeyError(sign)
    return CompiledRule(
        id=id,
        key=str(id),
        version=version,
        organisation_id=organisation_id,
        site_id=site_id,
        name=name,
        severity=severity,
        metric=condition["metric"],
        column=INDEX[condition["metric"]],
        operator=sign,
        threshold=threshold,
        clear=float(condition.get("clear", threshold)),
        for_us=round(parse_iso_duration(condition.get("for", "PT0S")) * US_PER_S),
    )


def compile_site(rules: Sequence[CompiledRule]) -> SiteRules:
    """Put a site's rules together by column."""
    by_column: dict[int, tuple[CompiledRule, ...]] = {}
    for rule in sorted(rules, key=lambda rule: (rule.column, rule.key)):
        by_column[rule.column] = (*by_column.get(rule.column, ()), rule)
    gates = tuple(
        (
            column,
            max((rule.threshold for rule in group if rule.operator not in UPWARD), default=-math.inf),
            min((rule.threshold for rule in group if rule.operator in UPWARD), default=math.inf),
        )
        for column, group in by_column.items()
    )
    low, high = np.full(len(COLUMNS), -np.inf), np.full(len(COLUMNS), np.inf)
    for column, lowest, highest in gates:
        low[column], high[column] = lowest, highest
    return SiteRules({rule.key: rule for rule in rules}, by_column, gates, low, high)


def may_begin(
    matrix: NDArray[np.float64],
    used: Sequence[int],
    rules: Sequence[SiteRules],
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
    site: SiteRules,
    state: State,
    watermarks: Mapping[str, Sequence[Any]],
    samples: Samples,
    box_key: int,
    new_alert_id: Callable[[], UUID],
) -> tuple[list[Transition], bool]:
    """Apply a site's rules to samples of one of its boxes, in the order given.

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
    # The loop that every sample passes: it finds the columns where something may happen, mostly none.
    touched: set[int] = set()
    for _, values in samples:
        for column, low, high in site.gates:
            value = values[column]
            if value is not None and not low < value < high:
                touched.add(column)
    if not touched and not state:
        return [], False
    walk = _Walk(site, state, new_alert_id, box_key)
    if samples:
        touched.update(walk.held(samples[0][0]))
    for column in sorted(touched):
        known = watermarks.get(COLUMNS[column])
        walk.column(column, -1 if known is None else known[1], samples)
    walk.found.sort(key=operator.itemgetter(0))  # stable: within a sample, by column and rule
    return [transition for _, transition in walk.found], walk.changed


class _Walk:
    """One call's way through the columns where something may happen."""

    def __init__(self, site: SiteRules, state: State, new_alert_id: Callable[[], UUID], box_key: int) -> None:
        self.site = site
        self.state = state
        self.new_alert_id = new_alert_id
        self.box_key = box_key
        self.found: list[tuple[int, Transition]] = []
        self.changed = False

    def held(self, time_us: int) -> set[int]:
        """Give the columns of rules that are not at rest; end the state of rules that are gone."""
        columns: set[int] = set()
        for key in list(self.state):
            rule = self.site.by_key.get(key)
            if rule is not None:
                columns.add(rule.column)
                continue
            # Its alerts are closed by whoever takes a rule away; a box that moved elsewhere ends up here.
            held = self.state.pop(key)
            self.changed = True
            if held[0] == _FIRING:
                self._end(-1, None, held, rule_id=UUID(key), time_us=max(time_us, held[5]), value=None)
        return columns

    def column(self, column: int, mark: int, samples: Samples) -> None:
        """Apply one column's rules. `mark` is the time up to which its metric has been seen."""
        rules = self.site.by_column[column]
        for index, (time_us, values) in enumerate(samples):
            value = values[column]
            if value is None or time_us <= mark:
                continue
            mark = time_us
            for rule in rules:
                self._apply(index, rule, time_us, value)

    def _apply(self, index: int, rule: CompiledRule, time_us: int, value: float) -> None:
        held = self.state.get(rule.key)
        if held is not None and held[0] == _FIRING:
            if rule.cleared(value):
                del self.state[rule.key]
                self.changed = True
                self._end(index, rule, held, rule_id=rule.id, time_us=time_us, value=value)
            return
        if not rule.above(value):
            if held is not None:
                del self.state[rule.key]
                self.changed = True
            return
        since: int = time_us if held is None else held[1]
        if time_us - since >= rule.for_us:
            alert_id = self.new_alert_id()
            self.state[rule.key] = [_FIRING, since, rule.version, str(alert_id), 1, time_us]
            self.changed = True
            self.found.append(
                (
                    index,
                    Transition(
                        "firing", rule, rule.id, self.box_key, time_us, value, since, alert_id, 1, "threshold"
                    ),
                )
            )
        elif held is None:
            self.state[rule.key] = [_PENDING, time_us, rule.version]
            self.changed = True

    def _end(
        self,
        index: int,
        rule: CompiledRule | None,
        held: list[Any],
        *,
        rule_id: UUID,
        time_us: int,
        value: float | None,
    ) -> None:
        reason: Literal["cleared", "rule_gone"] = "rule_gone" if rule is None else "cleared"
        _, since, _, alert_id, sequence, _ = held
        self.found.append(
            (
                index,
                Transition(
                    "resolved",
                    rule,
                    rule_id,
                    self.box_key,
                    time_us,
                    value,
                    since,
                    UUID(alert_id),
                    sequence + 1,
                    reason,
                ),
            )
        )
