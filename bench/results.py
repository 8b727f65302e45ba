"""Holds the results of a run, and computes medians, ratios and percentiles. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Final

NAMES: Final[dict[str, str]] = {
    "a": "aiomqtt loop, acknowledged one by one, stores nothing",
    "b": "aiomqtt with a batched callback, stores nothing",
    "c": "the usual tutorial: json, an INSERT a reading, narrow table",
    "d": "binary COPY of decoded rows into the same table, no MQTT",
    "e": "**Vigie ingest**, 20 rules on each site",
    "f": "mq-bridge, the same table, COPY of 4,096",
}
"""The competitors, by letter."""

READINGS_PER_MESSAGE: Final = 10
SUBJECT: Final = "e"


@dataclass(frozen=True, slots=True)
class DrainResult:
    """The drain of a backlog by one competitor.

    Attributes:
        letter: which competitor.
        messages: how many there were.
        seconds: from its connection to the broker to its last commit.
        cpu: CPU seconds by process: consumer, postgres, mosquitto.
        peak: most memory by process (bytes).
        stored: rows in its table afterwards; None where it stores nothing.
        lost: messages that are not in it.
        twice: rows too many.
        disk: bytes of its table with its indexes.
        failure: a sentence when there is no result.
        steps: seconds by step of Vigie's pipeline.
    """

    letter: str
    messages: int
    seconds: float = 0.0
    cpu: Mapping[str, float] = field(default_factory=dict)
    peak: Mapping[str, int] = field(default_factory=dict)
    stored: int | None = None
    lost: int = 0
    twice: int = 0
    disk: int = 0
    failure: str | None = None
    steps: Mapping[str, float] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        """Messages a second; 0 where it failed."""
        return self.messages / self.seconds if self.seconds else 0.0

    def cpu_us(self, process: str) -> float:
        """CPU of a process for each message, in µs."""
        return self.cpu.get(process, 0.0) / self.messages * 1e6


def middle(drains: Sequence[DrainResult]) -> DrainResult:
    """The drain of the median rate among several of one competitor; of failures the first, if all failed."""
    good = sorted((drain for drain in drains if drain.failure is None), key=lambda drain: drain.rate)
    if not good:
        return drains[0]
    wanted = median(drain.rate for drain in good)
    return min(good, key=lambda drain: abs(drain.rate - wanted))


def ratios(drains: Iterable[DrainResult], subject: str = SUBJECT) -> dict[str, float]:
    """The subject's rate divided by each other's, by letter; without those that failed."""
    rates = {drain.letter: drain.rate for drain in drains if drain.failure is None and drain.rate}
    if subject not in rates:
        return {}
    return {letter: rates[subject] / rate for letter, rate in sorted(rates.items()) if letter != subject}


def percentile(values: Sequence[float], share: float) -> float:
    """The value that this share (0 to 1) of all does not exceed; of the sorted values the nearest.

    Raises:
        ValueError: there are no values.
    """
    if not values:
        raise ValueError("no values")
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, round(share * len(ordered)) - 1))]
