"""Computes the alerts that must fire from the samples that the boxes of a drill made, and compares. Pure.

It evaluates the rules in a way of its own, with nothing of Vigie's.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from tools.clusters.box_load import ALARM, BoxLedger, find_temperature, is_alarm

STOP_RULE: Final = "Stopped"
STOP_AFTER_S: Final = 15
SILENCE_RULE: Final = "A box is silent"
SILENCE_AFTER_S: Final = 60
SITE_RULE: Final = "A humid site"
_HEAT: Final = {"metric": "temperature", "operator": ">", "threshold": 30, "clear": 25}
RULES: Final[Mapping[str, Mapping[str, Any]]] = {
    "Dust": {"condition": {"metric": "pm2_5", "operator": ">", "threshold": 25, "clear": 20}},
    "Lasting heat": {"condition": {**_HEAT, "for": "PT2S"}},
    "Repeated heat": {"condition": {**_HEAT, "repeat": 20}},
    "Levels of heat": {
        "levels": [
            {"severity": "info", "condition": _HEAT},
            {"severity": "critical", "condition": {**_HEAT, "threshold": 34, "clear": 33}},
        ]
    },
    "Heat of a box that sends": {"condition": {"all": [_HEAT, {"not": {"no_data": "PT10M"}}]}},
    SITE_RULE: {
        "condition": {
            "boxes": {"metric": "humidity", "operator": ">", "threshold": 90, "clear": 80},
            "at_least": 3,
        }
    },
    STOP_RULE: {"condition": {"no_data": f"PT{STOP_AFTER_S}S"}},
    SILENCE_RULE: {"condition": {"no_data": f"PT{SILENCE_AFTER_S}S"}},
    # Never true.
    "Mean temperature": {
        "condition": {
            "metric": "temperature",
            "function": "mean",
            "window": "PT1M",
            "operator": ">",
            "threshold": 60,
        }
    },
}
"""The rules of each site. That on boxes that stop is limited to these by its scope."""

_THRESHOLD: Final = 30.0
_CLEAR: Final = 25.0


class DueAlert(NamedTuple):
    """An alert that must fire once.

    Attributes:
        rule: The name of its rule.
        box: Its box; None for a rule on a whole site.
        sites: The site; two if the box was moved while the sample was on its way.
        earliest_ms, latest_ms: The time at which it must have fired: one instant for a rule on a box.
        value: Its value; None if that is not determined.
        resolved_ms: When it must have ended; None if that is not determined.
    """

    rule: str
    box: str | None
    sites: AbstractSet[str]
    earliest_ms: int
    latest_ms: int
    value: float | None = None
    resolved_ms: int | None = None


class FiredAlert(NamedTuple):
    """An alert of the database, with the same fields."""

    id: str
    rule: str
    box: str | None
    site: str
    started_ms: int
    value: float | None
    resolved_ms: int | None


class HumidTime(NamedTuple):
    """A time in which all sites were humid (ms since the epoch), until the last box had left it."""

    begin_ms: int
    end_ms: int


@dataclass
class AlertVerdict:
    """The comparison of a case.

    Attributes:
        due: The alerts that had to fire.
        unfired: Of these, those that did not.
        spurious: Alerts that fired and were not due: also again, with another value, or at another site.
        fired: The alerts that were due and fired.
    """

    due: list[DueAlert] = field(default_factory=list)
    unfired: list[DueAlert] = field(default_factory=list)
    spurious: list[FiredAlert] = field(default_factory=list)
    fired: list[FiredAlert] = field(default_factory=list)


def find_firings(
    samples: Iterable[tuple[int, float]], *, for_ms: int = 0, repeat: int = 1
) -> Iterator[tuple[int, float]]:
    """Yield time and value of the samples with which a rule on heat fires."""
    is_firing, since_ms, count = False, 0, 0
    for time_ms, value in samples:
        if is_firing:
            is_firing = value > _CLEAR
            count = 0
        elif value > _THRESHOLD:
            since_ms, count = (time_ms, 1) if not count else (since_ms, count + 1)
            if time_ms - since_ms >= for_ms and count >= repeat:
                is_firing = True
                yield time_ms, value
        else:
            count = 0


def list_due_of_box(ledger: BoxLedger) -> Iterator[DueAlert]:
    """List the alerts on values of a box."""
    numbers = {time_ms: seq for seq, time_ms in enumerate(ledger.times_ms)}

    def make_due(rule: str, time_ms: int, value: float | None) -> DueAlert:
        return DueAlert(rule, ledger.box, ledger.find_sites(numbers[time_ms]), time_ms, time_ms, value)

    for seq, time_ms in enumerate(ledger.times_ms):
        if is_alarm(ledger.index, seq):
            yield make_due("Dust", time_ms, ALARM)
    if ledger.is_mobile:
        return
    samples = [(time_ms, find_temperature(ledger.index, seq)) for seq, time_ms in enumerate(ledger.times_ms)]
    for time_ms, value in find_firings(samples, for_ms=2000):
        yield make_due("Lasting heat", time_ms, value)
    for time_ms, value in find_firings(samples, repeat=20):
        yield make_due("Repeated heat", time_ms, value)
    for time_ms, value in find_firings(samples):
        # The alert has the value of its last change: the higher level follows.
        yield make_due("Levels of heat", time_ms, None)
        yield make_due("Heat of a box that sends", time_ms, value)


def list_due_silences(ledger: BoxLedger) -> Iterator[DueAlert]:
    """List the silences of a box that have ended. Measured time decides, so they are exact."""
    rules = {SILENCE_RULE: SILENCE_AFTER_S} | ({STOP_RULE: STOP_AFTER_S} if ledger.stops else {})
    for seq in range(1, ledger.sent):
        before, after = ledger.times_ms[seq - 1], ledger.times_ms[seq]
        for rule, after_s in rules.items():
            due_ms = before + after_s * 1000
            if after > due_ms:
                sites = ledger.find_sites(seq - 1) | ledger.find_sites(seq)
                yield DueAlert(rule, ledger.box, sites, due_ms, due_ms, None, after)


def _is_open_silence(alert: FiredAlert, ledgers: Mapping[str, BoxLedger]) -> bool:
    """Return whether a silence has begun after the last sample of a box: it is compared once it has ended."""
    ledger = ledgers.get(alert.box or "")
    if alert.rule not in {STOP_RULE, SILENCE_RULE} or ledger is None or not ledger.times_ms:
        return False
    return alert.started_ms > ledger.times_ms[-1] and alert.resolved_ms is None


class AlertComparison:
    """Compares all alerts that fired with those that were due; each is judged in one case.

    Args:
        ledgers: The boxes.
        sites: The sites that have whole boxes, by id.
    """

    def __init__(self, ledgers: Sequence[BoxLedger], sites: Iterable[str]) -> None:
        self._ledgers = {ledger.box: ledger for ledger in ledgers}
        self._sites = list(sites)
        self._judged_due: set[DueAlert] = set()
        self._judged: set[str] = set()
        self.humid: list[HumidTime] = []

    def list_due(self) -> list[DueAlert]:
        """List all alerts that had to fire so far."""
        of_sites = [
            DueAlert(SITE_RULE, None, frozenset({site}), each.begin_ms, each.end_ms)
            for each in self.humid
            for site in self._sites
        ]
        of_boxes = (
            alert
            for ledger in self._ledgers.values()
            for alerts in (list_due_of_box(ledger), list_due_silences(ledger))
            for alert in alerts
        )
        return [*of_sites, *of_boxes]

    def compare(self, fired: Iterable[FiredAlert]) -> AlertVerdict:
        """Judge what was due and what fired since the last comparison."""
        verdict = AlertVerdict(due=[each for each in self.list_due() if each not in self._judged_due])
        self._judged_due |= set(verdict.due)
        by_key: dict[tuple[str, str | None], list[FiredAlert]] = {}
        for alert in fired:
            if alert.id not in self._judged and not _is_open_silence(alert, self._ledgers):
                by_key.setdefault((alert.rule, alert.box or alert.site), []).append(alert)
                self._judged.add(alert.id)
        for due in verdict.due:
            candidates = by_key.get((due.rule, due.box or next(iter(due.sites))), [])
            found = next((each for each in candidates if is_match(due, each)), None)
            if found is None:
                verdict.unfired.append(due)
            else:
                candidates.remove(found)
                verdict.fired.append(found)
        verdict.spurious = [alert for candidates in by_key.values() for alert in candidates]
        return verdict


def is_match(due: DueAlert, fired: FiredAlert) -> bool:
    """Return whether an alert is the one that was due."""
    return (
        due.earliest_ms <= fired.started_ms <= due.latest_ms
        and fired.site in due.sites
        and due.value in {None, fired.value}
        and due.resolved_ms in {None, fired.resolved_ms}
    )
