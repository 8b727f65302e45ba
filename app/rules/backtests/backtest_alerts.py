"""The alerts that a rule would have made, collected from what an evaluator says, and two such lists compared.

Pure: no database, no clock. Memory is bounded: past a limit alerts are counted, and not kept.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal
from uuid import UUID

from app.platform.kernel.instants import US_PER_S, format_us
from app.rules.definitions.severity import SEVERITIES, find_highest_severity
from app.rules.engine.alert_state_machine import AlertTransition

ALERTS_LIMIT: Final = 10_000
"""Alerts that a result lists."""

ComparedSide = Literal["both", "candidate", "present"]


@dataclass(slots=True)
class SimulatedAlert:
    """An alert that would have been.

    Attributes:
        box_key: the box; None where the rule is on the site as a whole.
        severity: the highest that it had.
        pending_since_us, started_us: when its condition began to hold, and when it fired; of one that goes
            on from before the first moment, that moment.
        resolved_us: when it resolved; None while it fires.
        value, threshold, metric: of the part of the condition that made it fire.
        found_in: which of two rules made it; None where one rule is tried alone.
    """

    box_key: int | None
    severity: str
    pending_since_us: int
    started_us: int
    resolved_us: int | None
    value: float | None
    threshold: float | None
    metric: str | None
    found_in: ComparedSide | None = None

    def lasted_us(self, until_us: int) -> int:
        """How long it fired; of one that still does, up to `until_us`."""
        return (until_us if self.resolved_us is None else self.resolved_us) - self.started_us

    def shown(self, names: Mapping[int, str], until_us: int) -> dict[str, Any]:
        """The alert as JSON; `names`: the boxes' ids by key."""
        return {
            "box": None if self.box_key is None else names[self.box_key],
            "severity": self.severity,
            "pending_since": format_us(self.pending_since_us),
            "started_at": format_us(self.started_us),
            "resolved_at": None if self.resolved_us is None else format_us(self.resolved_us),
            "duration_s": self.lasted_us(until_us) / US_PER_S,
            "value": self.value,
            "threshold": self.threshold,
            "metric": self.metric,
            "found_in": self.found_in,
        }


class AlertCollector:
    """Takes a rule's transitions as they come.

    Attributes:
        kept: the first alerts, in the order in which they fired (box by box where boxes are tried so).
        count: of all alerts.
    """

    def __init__(self, limit: int = ALERTS_LIMIT) -> None:
        self.kept: list[SimulatedAlert] = []
        self.count = 0
        self._limit = limit
        self._open: dict[UUID, SimulatedAlert] = {}
        self._firing_us = 0
        self._longest_us = 0

    def take(self, transitions: Iterable[AlertTransition]) -> None:
        """Go on with transitions, in their order."""
        for told in transitions:
            if told.kind == "firing":
                self._begin(told)
                continue
            trial = self._open[told.alert_id]
            if told.severity is not None:
                trial.severity = find_highest_severity((trial.severity, told.severity))
            if told.kind == "resolved":
                trial.resolved_us = told.time_us
                self._end(self._open.pop(told.alert_id), told.time_us)

    def carry(self, transitions: Sequence[AlertTransition], first_us: int) -> None:
        """Take what came about before the first moment: what goes on then counts from then on, the rest not.

        Args:
            transitions: in their order, from the very beginning of each alert.
            first_us: the first moment.
        """
        ended = {told.alert_id for told in transitions if told.kind == "resolved"}
        self.take(
            told._replace(time_us=max(told.time_us, first_us))
            for told in transitions
            if told.alert_id not in ended
        )

    def settle(self, until_us: int) -> None:
        """Leave what still fires as it is at a time: no more of it comes."""
        for trial in self._open.values():
            self._end(trial, until_us)
        self._open.clear()

    def summary(self) -> dict[str, Any]:
        """Counts and durations, of all alerts that have ended or were settled."""
        return {
            "alerts": self.count,
            "firing_s": self._firing_us / US_PER_S,
            "longest_s": self._longest_us / US_PER_S,
        }

    def _begin(self, told: AlertTransition) -> None:
        cause = told.cause
        trial = SimulatedAlert(
            told.box_key,
            told.severity or SEVERITIES[0],
            told.pending_since_us,
            told.time_us,
            None,
            None if cause is None else cause.value,
            None if cause is None else cause.threshold,
            None if cause is None else cause.metric,
        )
        self._open[told.alert_id] = trial
        self.count += 1
        if len(self.kept) < self._limit:
            self.kept.append(trial)

    def _end(self, trial: SimulatedAlert, until_us: int) -> None:
        lasted_us = trial.lasted_us(until_us)
        self._firing_us += lasted_us
        self._longest_us = max(self._longest_us, lasted_us)


def compare_alerts(
    candidate: Sequence[SimulatedAlert], present: Sequence[SimulatedAlert], until_us: int
) -> None:
    """Mark each alert of two rules by who made it: both, where those of one box overlap in time."""
    theirs: dict[int | None, list[SimulatedAlert]] = {}
    for trial in present:
        trial.found_in = "present"
        theirs.setdefault(trial.box_key, []).append(trial)
    ours: dict[int | None, list[SimulatedAlert]] = {}
    for trial in candidate:
        trial.found_in = "candidate"
        ours.setdefault(trial.box_key, []).append(trial)
    for key, trials in ours.items():
        _compare_box(trials, theirs.get(key, []), until_us)


def _compare_box(ours: list[SimulatedAlert], theirs: list[SimulatedAlert], until_us: int) -> None:
    """Alerts of one rule on one box never overlap: two lists in order are walked side by side."""
    for trials in (ours, theirs):
        trials.sort(key=lambda trial: trial.started_us)
    mine = other = 0
    while mine < len(ours) and other < len(theirs):
        one, two = ours[mine], theirs[other]
        one_ends, two_ends = (each.started_us + each.lasted_us(until_us) for each in (one, two))
        if one.started_us == two.started_us or (one.started_us < two_ends and two.started_us < one_ends):
            one.found_in = two.found_in = "both"
        if one_ends <= two_ends:
            mine += 1
        else:
            other += 1
