"""Injects faults of the field into samples: silence, spikes, duplicates, late batches, wrong clocks. Pure.

The same seed and box always affect the same samples.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from app.catalogue.metrics import METRICS_BY_NAME
from simulators.seeded_random import derive_key, draw_uniform
from simulators.synthetic_values import MetricValues

_RUN: Final = 20
"""Silence and lateness affect runs of this many samples, as a lost connection does."""

_SPIKE_FACTOR: Final = 8.0
_SPIKE_DB: Final = 30.0
_SPARED: Final = frozenset({"temperature", "humidity", "pressure", "battery", "rssi"})
_US_PER_S: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class FaultShares:
    """The share of a box's samples that each fault affects, 0 to 1.

    Attributes:
        silence: Samples that are never measured, in runs of twenty.
        spikes: Samples with one value far too high.
        duplicates: Samples that are sent twice.
        late: Samples that are sent as one batch after newer ones, in runs of twenty.
        clock_skew_s: Largest constant error of a box's clock, either way (seconds).
    """

    silence: float = 0.0
    spikes: float = 0.0
    duplicates: float = 0.0
    late: float = 0.0
    clock_skew_s: float = 0.0


@dataclass(frozen=True, slots=True)
class BoxSample:
    """A sample to send; `time_us` is the time of the box's clock."""

    seq: int
    time_us: int
    values: MetricValues


@dataclass(slots=True)
class FaultCounts:
    """Counts of affected samples; `measured` counts the sent ones, each once."""

    measured: int = 0
    silent: int = 0
    spiked: int = 0
    duplicated: int = 0
    late: int = 0


@dataclass(slots=True)
class FaultyBox:
    """Applies faults to a box's samples and yields messages in the order of sending."""

    seed: int
    box: str
    faults: FaultShares
    counts: FaultCounts = field(default_factory=FaultCounts)
    _held: list[BoxSample] = field(default_factory=list)
    _run_held: int = -1

    def skew_us(self) -> int:
        """Return the constant error of this box's clock (µs)."""
        share = 2 * draw_uniform(derive_key(self.seed, self.box, "skew")) - 1
        return round(share * self.faults.clock_skew_s * _US_PER_S)

    def is_silent(self, seq: int) -> bool:
        """Tell whether the sample with this number is not measured."""
        return self._in("silence", seq // _RUN, self.faults.silence)

    def apply_faults(self, seq: int, time_us: int, values: MetricValues) -> Iterator[list[BoxSample]]:
        """Take a sample that the box measured, and yield the messages to send now.

        Args:
            seq: Its number, from 0; silent samples are numbered too.
            time_us: The true time (µs).
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
            # Of two late runs in a row the first is sent before the second is held.
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
        """Yield the held samples as one batch; also needed after the last sample."""
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
