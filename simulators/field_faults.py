"""What goes wrong in the field, on demand: silence, spikes, repetitions, late batches, wrong clocks. Pure.

Owns which samples are touched: always the same ones for the same seed and box. Must not send anything.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from app.catalogue.metrics import METRICS_BY_NAME
from simulators.seeded_random import derive_key, draw_uniform
from simulators.synthetic_values import MetricValues

_RUN: Final = 20
"""Silence and lateness come in runs of so many samples, as a lost connection does."""

_SPIKE_FACTOR: Final = 8.0
_SPIKE_DB: Final = 30.0
_SPARED: Final = frozenset({"temperature", "humidity", "pressure", "battery", "rssi"})
_US_PER_S: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class FaultShares:
    """How much goes wrong. Shares are of a box's samples, 0 to 1.

    Attributes:
        silence: Never measured nor sent, in runs of twenty.
        spikes: One of its values is far too high.
        duplicates: Sent a second time at once.
        late: Held back, in runs of twenty, and sent as one batch afterwards, after newer ones.
        clock_skew_s: Each box's clock is off by its own amount, at most this many seconds either way.
    """

    silence: float = 0.0
    spikes: float = 0.0
    duplicates: float = 0.0
    late: float = 0.0
    clock_skew_s: float = 0.0


@dataclass(frozen=True, slots=True)
class BoxSample:
    """One sample on its way: `time_us` as the box's clock says."""

    seq: int
    time_us: int
    values: MetricValues


@dataclass(slots=True)
class FaultCounts:
    """What was done to the samples; `measured` counts those that were sent, each once."""

    measured: int = 0
    silent: int = 0
    spiked: int = 0
    duplicated: int = 0
    late: int = 0


@dataclass(slots=True)
class FaultyBox:
    """Passes a box's samples on, faults included, in the order in which they are to be sent."""

    seed: int
    box: str
    faults: FaultShares
    counts: FaultCounts = field(default_factory=FaultCounts)
    _held: list[BoxSample] = field(default_factory=list)
    _run_held: int = -1

    def skew_us(self) -> int:
        """By how much this box's clock is off (µs), for good."""
        share = 2 * draw_uniform(derive_key(self.seed, self.box, "skew")) - 1
        return round(share * self.faults.clock_skew_s * _US_PER_S)

    def is_silent(self, seq: int) -> bool:
        """Whether nothing is measured at this place in the sequence."""
        return self._in("silence", seq // _RUN, self.faults.silence)

    def apply_faults(self, seq: int, time_us: int, values: MetricValues) -> Iterator[list[BoxSample]]:
        """Take a sample that the box measured, and yield the messages that are to leave now.

        Args:
            seq: Its number, counting up from 0 without a gap over the silent ones.
            time_us: The true time, µs.
            values: The true values.
        """
        if self.is_silent(seq):
            self.counts.silent += 1
            return
        self.counts.measured += 1
        reading = BoxSample(seq, time_us + self.skew_us(), self._spiked(seq, values))
        run = seq // _RUN
        if self._in("late", run, self.faults.late):
            self.counts.late += 1
            # Two late runs in a row: what is held of the first is due.
            if run != self._run_held:
                yield from self.release_held()
            self._run_held = run
            self._held.append(reading)
            return
        yield [reading]
        if self._in("duplicates", seq, self.faults.duplicates):
            self.counts.duplicated += 1
            yield [reading]
        yield from self.release_held()

    def release_held(self) -> Iterator[list[BoxSample]]:
        """Yield what is held back, as one batch; call it at the end."""
        if self._held:
            held, self._held = self._held, []
            yield held

    def _spiked(self, seq: int, values: MetricValues) -> MetricValues:
        if not self._in("spikes", seq, self.faults.spikes):
            return values
        able = sorted(values.keys() - _SPARED)
        metric = able[int(draw_uniform(derive_key(self.seed, self.box, "which"), seq) * len(able))]
        entry = METRICS_BY_NAME[metric]
        value = values[metric] + _SPIKE_DB if entry.kind == "level" else values[metric] * _SPIKE_FACTOR
        self.counts.spiked += 1
        return {**values, metric: round(min(value, entry.maximum), 1)}

    def _in(self, fault: str, position: int, share: float) -> bool:
        return share > 0 and draw_uniform(derive_key(self.seed, self.box, fault), position) < share
