"""Computes odour episodes above a concentration, and the share of odour hours. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from app.environmental_indices.index_results import (
    IndexMethod,
    IndexResult,
    MethodCitation,
    ResultComponent,
    build_result,
)
from app.environmental_indices.input_types import (
    HOUR_COVERAGE,
    SampleSeries,
    compute_percent,
    find_no_value_reason,
)
from app.environmental_indices.period_selection import TimePeriod
from app.platform.kernel.array_types import FloatArray
from app.platform.kernel.instants import HOUR_US, US_PER_S
from app.presentation.translation import translated

COVERAGE: Final = 75.0
UNIT: Final = "ou/m³"
DETECTION_THRESHOLD: Final = 1.0
ODOUR_HOUR_SHARE: Final = 10.0
ODOUR_HOUR_LIMITS: Final[Mapping[str, float]] = {"residential": 10.0, "commercial": 15.0, "village": 15.0}
"""The highest share of odour hours in a year, percent, by the use of the area."""
_SECONDS_AN_HOUR: Final = 3_600.0

EPISODES: Final = IndexMethod(
    "odour-episodes",
    1,
    translated("Odour episodes"),
    MethodCitation(
        "EN 13725: odour concentration, of which 1 ou/m³ is the detection threshold",
        None,
        "verified",
        "The unit and its definition read in the standard's abstract. Where an episode begins and ends is "
        "the caller's; how episodes are made is ours.",
    ),
    "any",
    ("odour",),
    "1",
    "75 % of the period.",
    (translated("A sensor's figure in odour units is as good as its calibration with a panel of noses."),),
)
ODOUR_HOURS: Final = IndexMethod(
    "odour-hours",
    1,
    translated("Odour hours"),
    MethodCitation(
        "TA Luft 2021 (Germany), Anhang 7 (formerly GIRL), table 22",
        None,
        "verified",
        "An odour hour (it smells in a tenth of the hour) and the limits of 10 and 15 % read in texts on the "
        "rule, not in itself. The rule of coverage is ours.",
    ),
    "any",
    ("odour",),
    "%",
    "75 % of the hours of the period, each with 75 % of the hour.",
    (
        translated(
            "The limits are of a year, and of odours that noses recognise on the spot: an instrument that "
            "sees 1 ou/m³ tells what can be detected, not what it is."
        ),
    ),
)


@dataclass(frozen=True, slots=True)
class EpisodeCriteria:
    """The criteria of an episode.

    Attributes:
        begin: an episode begins with a sample above this concentration, ou/m³.
        clear: it ends with a sample at or below this one, ou/m³; not above `begin`.
        least_s: shorter episodes are dropped, s.
        gap_s: episodes with at most this pause between them are merged, s. A longer gap in the data ends an
            episode.
    """

    begin: float
    clear: float
    least_s: float = 600.0
    gap_s: float = 600.0

    def __post_init__(self) -> None:
        if not self.clear <= self.begin:
            raise ValueError("an episode clears at or below where it begins")
        if self.least_s < 0 or self.gap_s < 0:
            raise ValueError("durations are not negative")


@dataclass(frozen=True, slots=True)
class OdourEpisode:
    """An odour episode.

    Attributes:
        start_us: the start of the first sample above `begin`.
        end_us: the start of the sample that cleared it, or the end of the last one before a gap.
        peak: the highest concentration, ou/m³.
        peak_us: the time of the peak.
        mean: the time-weighted mean of its samples, ou/m³.
        dose: concentration times time of its samples, ou·h/m³.
        measured_s: the measured time, s.
        cleared: whether a sample cleared it; False if the data ended or a gap began.
    """

    start_us: int
    end_us: int
    peak: float
    peak_us: int
    mean: float
    dose: float
    measured_s: float
    cleared: bool

    @property
    def seconds(self) -> float:
        """Its duration, s."""
        return (self.end_us - self.start_us) / US_PER_S


def find_odour_episodes(samples: SampleSeries, rules: EpisodeCriteria) -> tuple[OdourEpisode, ...]:
    """Find the episodes of a series with hysteresis, merge close ones, and drop short ones."""
    spans = list(_joined(_spans(samples, rules), round(rules.gap_s * US_PER_S)))
    episodes = (_episode(samples, start, end, cleared=cleared) for start, end, cleared in spans)
    return tuple(episode for episode in episodes if episode.seconds >= rules.least_s)


def summarise_odour_episodes(
    samples: SampleSeries, rules: EpisodeCriteria, period: TimePeriod
) -> tuple[IndexResult, tuple[OdourEpisode, ...]]:
    """Count the episodes of a period.

    Returns:
        The number of episodes, and the episodes. Components: their total duration (`duration`, s), the
        highest concentration (`peak`) and the dose (`dose`, ou·h/m³).
    """
    part = _within(samples, period)
    covered = compute_percent(float(_seconds(part, period).sum()), period.seconds)
    reason = find_no_value_reason(len(part.times), covered, COVERAGE)
    if reason is not None:
        return build_result(EPISODES, period, None, covered, reason=reason), ()
    episodes = find_odour_episodes(part, rules)
    components = (
        ResultComponent("duration", sum(episode.seconds for episode in episodes), "s", covered),
        ResultComponent("peak", float(part.values.max()), UNIT, covered),
        ResultComponent("dose", sum(episode.dose for episode in episodes), "ou·h/m³", covered),
    )
    return build_result(EPISODES, period, float(len(episodes)), covered, components=components), episodes


def compute_odour_hours(
    samples: SampleSeries,
    period: TimePeriod,
    *,
    threshold: float = DETECTION_THRESHOLD,
    area: str = "residential",
) -> IndexResult:
    """Compute the share of odour hours: hours above the threshold for at least a tenth of the time.

    Args:
        samples: concentrations, ou/m³.
        period: the period; its whole hours of UTC count.
        threshold: the odour threshold, ou/m³.
        area: a key of `ODOUR_HOUR_LIMITS`.

    Returns:
        The share among hours with sufficient coverage, percent. Components: the number of those hours
        (`hours`), and of odour hours (`odour_hours`).
    """
    limit = ODOUR_HOUR_LIMITS[area]
    hours = period.hours()
    valid = smelling = 0
    for start in hours:
        hour = TimePeriod(start, start + HOUR_US)
        part = _within(samples, hour)
        seconds = _seconds(part, hour)
        measured = float(seconds.sum())
        if compute_percent(measured, _SECONDS_AN_HOUR) < HOUR_COVERAGE:
            continue
        valid += 1
        smelling += (
            compute_percent(float(seconds[part.values > threshold].sum()), measured) >= ODOUR_HOUR_SHARE
        )
    covered = compute_percent(valid, len(hours))
    reason = find_no_value_reason(len(_within(samples, period).times), covered, COVERAGE)
    share = None if reason is not None else 100.0 * smelling / valid
    components = (
        ResultComponent("hours", float(valid), "h", covered),
        ResultComponent("odour_hours", float(smelling), "h", covered),
    )
    return build_result(
        ODOUR_HOURS, period, share, covered, limit=limit, components=components, reason=reason
    )


def _spans(samples: SampleSeries, rules: EpisodeCriteria) -> Iterator[tuple[int, int, bool]]:
    """Yield the spans from a sample above `begin` to the one that clears, or to a gap in the data."""
    longest = round(rules.gap_s * US_PER_S)
    start: int | None = None
    last_end = 0
    rows = zip(samples.times.tolist(), samples.ends.tolist(), samples.values.tolist(), strict=True)
    for time, end, value in rows:
        if start is not None and time - last_end > longest:
            yield start, last_end, False
            start = None
        if start is None and value > rules.begin:
            start = time
        elif start is not None and value <= rules.clear:
            yield start, time, True
            start = None
        last_end = end
    if start is not None:
        yield start, last_end, False


def _joined(spans: Iterator[tuple[int, int, bool]], gap_us: int) -> Iterator[tuple[int, int, bool]]:
    current: tuple[int, int, bool] | None = None
    for span in spans:
        if current is None:
            current = span
        elif span[0] - current[1] <= gap_us:
            current = (current[0], span[1], span[2])
        else:
            yield current
            current = span
    if current is not None:
        yield current


def _episode(samples: SampleSeries, start_us: int, end_us: int, *, cleared: bool) -> OdourEpisode:
    period = TimePeriod(start_us, end_us)
    part = _within(samples, period)
    seconds = _seconds(part, period)
    measured = float(seconds.sum())
    dose = float((part.values * seconds).sum())
    top = int(part.values.argmax())
    return OdourEpisode(
        start_us,
        end_us,
        float(part.values[top]),
        int(part.times[top]),
        dose / measured,
        dose / _SECONDS_AN_HOUR,
        measured,
        cleared,
    )


def _within(samples: SampleSeries, period: TimePeriod) -> SampleSeries:
    """Return the samples that begin in a period."""
    low, high = np.searchsorted(samples.times, [period.start_us, period.end_us])
    return SampleSeries(samples.times[low:high], samples.values[low:high], samples.interval_s)


def _seconds(samples: SampleSeries, period: TimePeriod) -> FloatArray:
    """Return the length of each sample's interval within a period, s, shape (n,)."""
    return (np.minimum(samples.ends, period.end_us) - samples.times) / US_PER_S


METHODS: Final = (EPISODES, ODOUR_HOURS)
