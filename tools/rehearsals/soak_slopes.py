"""Computes robust slopes of the series of a soak, and compares them with their bounds. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

WARM_UP_SHARE: Final = 0.25
"""The share of a run that is left out, while caches fill and connections are opened."""
SHORTEST_JUDGED_S: Final = 1_200.0
"""The shortest run that is judged: a few minutes do not show the slope of an hour."""
BOUNDS: Final = {"memory": 12.0, "memory PostgreSQL": 32.0, "descriptors": 6.0, "connections": 3.0}
"""The steepest slope that passes (MiB or pieces an hour), by series or by the first word of its name."""
UNITS: Final = {
    "memory": "MiB",
    "descriptors": "",
    "connections": "",
    "WAL": "MiB/s",
    "disk": "MiB",
    "pending": "",
    "longest": "ms",
    "p95": "ms",
}

_HOUR_S: Final = 3_600.0
_POINTS: Final = 400


@dataclass(frozen=True, slots=True)
class SoakRecord:
    """The values of all series at one moment of a soak.

    Attributes:
        at_s: seconds since the beginning.
        values: by the name of their series: `memory api`, `descriptors api`, `connections`, `disk samples` …
    """

    at_s: float
    values: dict[str, float]


@dataclass(frozen=True, slots=True)
class SeriesSlope:
    """The slope of a series after the warm-up.

    Attributes:
        name: of the series.
        per_hour: growth an hour, in the unit of the series.
        level: the median.
        bound: the steepest slope that passes; None: data grow, so the series has none.
    """

    name: str
    per_hour: float
    level: float
    bound: float | None

    @property
    def unit(self) -> str:
        """The unit of the series."""
        return UNITS.get(self.name.partition(" ")[0], "")

    @property
    def is_too_steep(self) -> bool:
        """Whether it grows faster than its bound."""
        return self.bound is not None and self.per_hour > self.bound

    def __str__(self) -> str:
        text = (
            f"{self.name}: median {self.level:,.1f}, {self.per_hour:+,.2f} {self.unit}".rstrip() + " an hour"
        )
        return text if self.bound is None else f"{text} (bound {self.bound:g})"


def compute_slope(times_s: Sequence[float], values: Sequence[float]) -> float:
    """Return the Theil-Sen slope an hour: the median of the slopes between all pairs of points.

    A few outliers, such as a checkpoint, do not move it. Long series are thinned out.
    """
    step = max(1, len(times_s) // _POINTS)
    times, levels = times_s[::step], values[::step]
    slopes = [
        (levels[later] - levels[first]) / (times[later] - times[first])
        for first in range(len(times))
        for later in range(first + 1, len(times))
    ]
    return median(slopes) * _HOUR_S if slopes else 0.0


def compute_slopes(records: Sequence[SoakRecord]) -> list[SeriesSlope]:
    """Return the slope of each series after the warm-up."""
    if not records:
        return []
    warm = records[0].at_s + (records[-1].at_s - records[0].at_s) * WARM_UP_SHARE
    kept = [record for record in records if record.at_s >= warm]
    names = sorted({name for record in kept for name in record.values})
    found = []
    for name in names:
        points = [(record.at_s, record.values[name]) for record in kept if name in record.values]
        times, values = zip(*points, strict=True)
        bound = BOUNDS.get(name, BOUNDS.get(name.partition(" ")[0]))
        found.append(SeriesSlope(name, compute_slope(times, values), median(values), bound))
    return found


def find_worst(slopes: Sequence[SeriesSlope]) -> SeriesSlope:
    """Return the slope with the largest share of its bound."""
    return max((each for each in slopes if each.bound), key=lambda each: each.per_hour / (each.bound or 1.0))
