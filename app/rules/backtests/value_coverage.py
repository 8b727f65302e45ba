"""Measures the data of a back-test: the time with values, and the extremes of each metric. Pure."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final

from app.catalogue.metrics import COLUMNS
from app.platform.kernel.instants import US_PER_S
from app.rules.backtests.rule_simulator import SampleValues

_MISSED_INTERVALS: Final = 2
"""A gap up to this many sampling intervals counts as covered: one sample was late or lost."""


@dataclass(slots=True)
class _Extremes:
    values: int
    lowest: float
    highest: float


@dataclass(slots=True)
class ValueCoverage:
    """The values that a rule was tried on.

    Attributes:
        covered_us: the time with values by box (µs); a box without a value is missing.
        extremes: the metrics and indices that had values.
    """

    covered_us: dict[int, int] = field(default_factory=dict)
    extremes: dict[str, _Extremes] = field(default_factory=dict)
    _newest_us: dict[int, int] = field(default_factory=dict)

    def take_samples(
        self,
        box_key: int,
        interval_us: int,
        samples: tuple[Sequence[int], Sequence[SampleValues]],
        columns: Collection[int],
        compared: Collection[int],
    ) -> None:
        """Add consecutive samples of a box.

        Args:
            box_key: the box.
            interval_us: its sampling interval (µs).
            samples: their times and values.
            columns: a sample counts if it has a value in one of these.
            compared: the columns whose lowest and highest values are sought.
        """
        times, rows = samples
        for column in compared:
            self._widen(COLUMNS[column], [value for row in rows if (value := row[column]) is not None])
        if len(columns) == len(COLUMNS):
            known = times
        elif len(columns) == 1:
            (only,) = columns
            known = [at for at, row in zip(times, rows, strict=True) if row[only] is not None]
        else:
            known = [
                at
                for at, row in zip(times, rows, strict=True)
                if any(row[column] is not None for column in columns)
            ]
        self._cover(box_key, interval_us, known)

    def take_period(self, box_key: int, name: str, value: float, length_us: int) -> None:
        """Add the value of an index in a period."""
        self._widen(name, [value])
        self.covered_us[box_key] = self.covered_us.get(box_key, 0) + length_us

    def _cover(self, box_key: int, interval_us: int, known: Sequence[int]) -> None:
        if not known:
            return
        most = _MISSED_INTERVALS * interval_us
        newest = self._newest_us.get(box_key)
        # Each value lasts until the next one; the last one for an interval.
        covered = self.covered_us.get(box_key, 0) + interval_us
        if newest is not None:
            covered += min(known[0] - newest, most) - interval_us
        covered += sum(min(later - earlier, most) for earlier, later in pairwise(known))
        self.covered_us[box_key] = covered
        self._newest_us[box_key] = known[-1]

    def _widen(self, name: str, values: Sequence[float]) -> None:
        if not values:
            return
        lowest, highest = min(values), max(values)
        present = self.extremes.get(name)
        if present is None:
            self.extremes[name] = _Extremes(len(values), lowest, highest)
            return
        present.values += len(values)
        present.lowest = min(present.lowest, lowest)
        present.highest = max(present.highest, highest)

    def render(
        self, boxes: Iterable[int], range_us: int, thresholds: Mapping[str, Collection[float]]
    ) -> Mapping[str, Any]:
        """Return the coverage as JSON.

        Args:
            boxes: the boxes that the rule applies to.
            range_us: the length of the range (µs).
            thresholds: what values are compared with, by metric.
        """
        covered = [min(self.covered_us.get(key, 0), range_us) for key in boxes]
        return {
            "boxes": len(covered),
            "boxes_with_values": sum(each > 0 for each in covered),
            "longest_s": round(max(covered, default=0) / US_PER_S, 3),
            "share": round(sum(covered) / max(1, range_us * len(covered)), 6),
            "measured": [
                {
                    "name": name,
                    "values": found.values,
                    "lowest": found.lowest,
                    "highest": found.highest,
                    "thresholds": sorted(thresholds.get(name, ())),
                }
                for name, found in sorted(self.extremes.items())
            ],
        }
