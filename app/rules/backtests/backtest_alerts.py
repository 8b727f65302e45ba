"""Collects the alerts of a simulated rule from its transitions, and compares the alerts of two rules.

Pure: no database, no clock. Memory is bounded: alerts beyond a limit are counted, but not stored.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal
from uuid import UUID

from app.platform.kernel.instants import US_PER_S, format_us
from app.rules.definitions.severity import SEVERITIES, find_highest_severity
from app.rules.engine.alert_state_machine import AlertTransition

ALERTS_LIMIT: Final = 10_000
"""The number of alerts that a result lists."""

ComparedSide = Literal["both", "candidate", "present"]


@dataclass(slots=True)
class SimulatedAlert:
    """An alert that a rule would have made.

    Attributes:
        box_key: the box; None for a rule on a whole site.
        severity: the highest severity that it reached.
        pending_since_us, started_us: when its condition began to hold, and when it fired. `started_us` is
            the beginning of the range for an alert that fired before.
        resolved_us: when it resolved; None while it fires.
        value, threshold, metric: of the part of the condition that made it fire.
        found_in: which of two compared rules made it; None without a comparison.
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
        """The duration for which it fired, up to `until_us` if it still fires."""
        return (until_us if self.resolved_us is None else self.resolved_us) - self.started_us

    def shown(self, names: Mapping[int, str], until_us: int) -> dict[str, Any]:
        """Render the alert as JSON; `names` maps box keys to box ids."""
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
    """Builds alerts from a rule's transitions, and sums up their number and duration.

    Attributes:
        alerts: the first alerts, in the order of processing: by time, or box by box.
        count: the number of all alerts.
    """

    def __init__(self, limit: int = ALERTS_LIMIT) -> None:
        self.alerts: list[SimulatedAlert] = []
        self.count = 0
        self._limit = limit
        self._open: dict[UUID, SimulatedAlert] = {}
        self._firing_us = 0
        self._longest_us = 0

    def take(self, transitions: Iterable[AlertTransition]) -> None:
        """Apply transitions, in their order."""
        for transition in transitions:
            if transition.kind == "firing":
                self._begin(transition)
                continue
            alert = self._open[transition.alert_id]
            if transition.severity is not None:
                alert.severity = find_highest_severity((alert.severity, transition.severity))
            if transition.kind == "resolved":
                alert.resolved_us = transition.time_us
                self._end(self._open.pop(transition.alert_id), transition.time_us)

    def carry(self, transitions: Sequence[AlertTransition], first_us: int) -> None:
        """Apply transitions from before the range: alerts that still fire start at `first_us`.

        Alerts that resolved before are dropped.

        Args:
            transitions: all transitions of these alerts, in their order.
            first_us: the beginning of the range (µs since the epoch).
        """
        ended = {transition.alert_id for transition in transitions if transition.kind == "resolved"}
        self.take(
            transition._replace(time_us=max(transition.time_us, first_us))
            for transition in transitions
            if transition.alert_id not in ended
        )

    def settle(self, until_us: int) -> None:
        """Count the alerts that still fire up to `until_us`. No more transitions may follow."""
        for alert in self._open.values():
            self._end(alert, until_us)
        self._open.clear()

    def summary(self) -> dict[str, Any]:
        """The number and durations of all alerts that resolved or were settled."""
        return {
            "alerts": self.count,
            "firing_s": self._firing_us / US_PER_S,
            "longest_s": self._longest_us / US_PER_S,
        }

    def _begin(self, transition: AlertTransition) -> None:
        cause = transition.cause
        alert = SimulatedAlert(
            transition.box_key,
            transition.severity or SEVERITIES[0],
            transition.pending_since_us,
            transition.time_us,
            None,
            None if cause is None else cause.value,
            None if cause is None else cause.threshold,
            None if cause is None else cause.metric,
        )
        self._open[transition.alert_id] = alert
        self.count += 1
        if len(self.alerts) < self._limit:
            self.alerts.append(alert)

    def _end(self, alert: SimulatedAlert, until_us: int) -> None:
        lasted_us = alert.lasted_us(until_us)
        self._firing_us += lasted_us
        self._longest_us = max(self._longest_us, lasted_us)


def compare_alerts(
    candidate: Sequence[SimulatedAlert], present: Sequence[SimulatedAlert], until_us: int
) -> None:
    """Set `found_in` of the alerts of two rules: `both` if they overlap in time on the same box."""
    theirs: dict[int | None, list[SimulatedAlert]] = {}
    for alert in present:
        alert.found_in = "present"
        theirs.setdefault(alert.box_key, []).append(alert)
    ours: dict[int | None, list[SimulatedAlert]] = {}
    for alert in candidate:
        alert.found_in = "candidate"
        ours.setdefault(alert.box_key, []).append(alert)
    for key, alerts in ours.items():
        _compare_box(alerts, theirs.get(key, []), until_us)


def _compare_box(ours: list[SimulatedAlert], theirs: list[SimulatedAlert], until_us: int) -> None:
    """Merge two lists in time order: alerts of one rule on one box never overlap."""
    for alerts in (ours, theirs):
        alerts.sort(key=lambda alert: alert.started_us)
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
