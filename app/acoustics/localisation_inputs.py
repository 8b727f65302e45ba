"""What is handed in: boxes, arrivals, and what is assumed of their errors. Pure.

How fast sound is, and how far that is uncertain. Pure.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from app.acoustics.local_plane import TangentPlane

ABSOLUTE_ZERO_C: Final = -273.15
_SPEED_AT_0_C: Final = 331.3


def compute_speed_of_sound(temperature_c: float) -> float:
    """The speed of sound in dry air, m/s: 331.3·√(1 + T/273.15), of an ideal gas.

    Humidity adds at most 0.6 % (40 °C, saturated), 0.2 % at 20 °C: less than 1 °C of temperature does there.

    Raises:
        ValueError: the temperature is not above absolute zero.
    """
    if not temperature_c > ABSOLUTE_ZERO_C:
        raise ValueError("a temperature is above -273.15 °C")
    return _SPEED_AT_0_C * math.sqrt(1.0 + temperature_c / -ABSOLUTE_ZERO_C)


@dataclass(frozen=True, slots=True)
class AirConditions:
    """The air between source and boxes.

    Attributes:
        temperature_c: of the air, °C.
        temperature_sigma_c: standard error of that over the whole area, °C.
        wind_sigma_m_s: standard deviation of each component of a wind that is the same everywhere and not
            known, m/s; 0 takes the air for still.
    """

    temperature_c: float = 15.0
    temperature_sigma_c: float = 2.0
    wind_sigma_m_s: float = 0.0

    @property
    def speed(self) -> float:
        """Of sound, m/s."""
        return compute_speed_of_sound(self.temperature_c)

    @property
    def slowness_sigma(self) -> float:
        """Relative standard error of travel times: s(T) / (2·(T + 273.15)), the formula's derivative."""
        return self.temperature_sigma_c / (2.0 * (self.temperature_c - ABSOLUTE_ZERO_C))


type FloatArray = NDArray[np.float64]

US_PER_SECOND: Final = 1_000_000
_MS: Final = 1e-3


@dataclass(frozen=True, slots=True)
class BoxPosition:
    """Where a box is.

    Attributes:
        id: of the box.
        lon: degrees.
        lat: degrees.
        height_m: above the ground around; None where it is not known, and taken for the source's own.
    """

    id: str
    lon: float
    lat: float
    height_m: float | None = None


@dataclass(frozen=True, slots=True)
class SoundArrival:
    """When a box heard something.

    Attributes:
        box: its id.
        time_us: the onset, µs since 1970.
        clock_error_ms: the box's estimate of its clock's standard error; its sign says nothing.
        level_db: how loud it was.
    """

    box: str
    time_us: int
    clock_error_ms: float | None = None
    level_db: float | None = None


@dataclass(frozen=True, slots=True)
class LocalisationSettings:
    """What is assumed, and how far the search goes.

    Attributes:
        conditions: of the air.
        jitter_ms: standard error with which a detector places an onset.
        unknown_clock_ms: standard error of a clock whose box tells nothing of it.
        position_sigma_m: standard error of a box's position, along each axis.
        source_height_m: of a source above the ground.
        range_m: how far a source may be from a box that hears it.
        level_sigma_db: how far levels scatter around 20·lg of the distance, by walls and by the detectors.
        late_share: how probable it is that a box's onset is a reflection.
        latest_ms: how late a reflection may be; any delay up to it is as probable.
        false_share: how probable it is that a box's onset is something else.
        false_within_s: how far apart in time such a thing is still taken together with the sound.
        prior_weight: how many degrees of freedom the assumed errors count against the residuals seen.
        level_of_test: how rarely a sound set of arrivals may fail the χ² test.
    """

    conditions: AirConditions = field(default_factory=AirConditions)
    jitter_ms: float = 0.7
    unknown_clock_ms: float = 5.0
    position_sigma_m: float = 0.5
    source_height_m: float = 1.5
    range_m: float = 2_000.0
    level_sigma_db: float = 6.0
    late_share: float = 0.05
    latest_ms: float = 200.0
    false_share: float = 0.02
    false_within_s: float = 4.0
    prior_weight: float = 40.0
    level_of_test: float = 0.002

    def sigma_s(self, clock_error_ms: float | None) -> float:
        """Standard error of one arrival, without what all arrivals share (the speed of sound), s."""
        clock = self.unknown_clock_ms if clock_error_ms is None else abs(clock_error_ms)
        by_place = self.position_sigma_m / self.conditions.speed
        return math.hypot(clock * _MS, self.jitter_ms * _MS, by_place)


@dataclass(frozen=True, slots=True, eq=False)
class LocalisationProblem:
    """Arrivals as arrays, in metres and seconds.

    Attributes:
        places: of the boxes, east and north, shape (n, 2).
        heights: of the boxes above the source, shape (n,).
        times: of the arrivals after the first one, shape (n,).
        sigmas: their standard errors, shape (n,).
        levels: dB, NaN where not told, shape (n,).
        settings: what is assumed.
    """

    places: FloatArray
    heights: FloatArray
    times: FloatArray
    sigmas: FloatArray
    levels: FloatArray
    settings: LocalisationSettings

    def part(self, which: Sequence[int] | NDArray[np.intp]) -> "LocalisationProblem":
        """Some of the arrivals."""
        at = np.asarray(which, dtype=np.intp)
        return LocalisationProblem(
            self.places[at],
            self.heights[at],
            self.times[at],
            self.sigmas[at],
            self.levels[at],
            self.settings,
        )


def build_problem(
    arrivals: Sequence[SoundArrival],
    boxes: Mapping[str, BoxPosition],
    frame: TangentPlane,
    settings: LocalisationSettings,
) -> LocalisationProblem:
    """Arrivals as arrays; times count from the first of them.

    Raises:
        KeyError: a box is not known.
    """
    found = [boxes[arrival.box] for arrival in arrivals]
    start = min(arrival.time_us for arrival in arrivals)
    heights = [0.0 if box.height_m is None else box.height_m - settings.source_height_m for box in found]
    levels = [math.nan if each.level_db is None else each.level_db for each in arrivals]
    return LocalisationProblem(
        np.array([frame.to_plane(box.lon, box.lat) for box in found]),
        np.array(heights),
        np.array([(arrival.time_us - start) / US_PER_SECOND for arrival in arrivals]),
        np.array([settings.sigma_s(arrival.clock_error_ms) for arrival in arrivals]),
        np.array(levels),
        settings,
    )
