"""Defines the inputs of a sound localisation: box positions, arrival times, errors, speed of sound. Pure."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from app.acoustics.tangent_plane import TangentPlane
from app.platform.kernel.array_types import FloatArray
from app.platform.kernel.instants import US_PER_S

ABSOLUTE_ZERO_C: Final = -273.15
_SPEED_AT_0_C: Final = 331.3


def compute_speed_of_sound(temperature_c: float) -> float:
    """Compute the speed of sound in dry air (m/s): 331.3·√(1 + T/273.15), for an ideal gas.

    Humidity adds at most 0.6 % (40 °C, saturated), and 0.2 % at 20 °C, which is less than the effect of 1 °C.

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
        temperature_sigma_c: its standard error over the whole area, °C.
        wind_sigma_m_s: standard deviation of each component of an unknown, uniform wind, m/s; 0 assumes still
            air.
    """

    temperature_c: float = 15.0
    temperature_sigma_c: float = 2.0
    wind_sigma_m_s: float = 0.0

    @property
    def speed(self) -> float:
        """The speed of sound, m/s."""
        return compute_speed_of_sound(self.temperature_c)

    @property
    def slowness_sigma(self) -> float:
        """The relative standard error of travel times: s(T) / (2·(T + 273.15)), by the derivative."""
        return self.temperature_sigma_c / (2.0 * (self.temperature_c - ABSOLUTE_ZERO_C))


_MS: Final = 1e-3


@dataclass(frozen=True, slots=True)
class BoxPosition:
    """The position of a box.

    Attributes:
        id: of the box.
        lon: degrees.
        lat: degrees.
        height_m: above the surrounding ground; None if unknown, then the height of the source is assumed.
    """

    id: str
    lon: float
    lat: float
    height_m: float | None = None


@dataclass(frozen=True, slots=True)
class SoundArrival:
    """The arrival of a sound at a box.

    Attributes:
        box: its id.
        time_us: the onset, µs since 1970.
        clock_error_ms: the box's estimate of the standard error of its clock; its sign is ignored.
        level_db: the sound level (dB).
    """

    box: str
    time_us: int
    clock_error_ms: float | None = None
    level_db: float | None = None


@dataclass(frozen=True, slots=True)
class LocalisationSettings:
    """The assumed errors, and the limits of the search.

    Attributes:
        conditions: of the air.
        jitter_ms: standard error of the onset that a detector reports.
        unknown_clock_ms: standard error of a clock if the box reports none.
        position_sigma_m: standard error of the position of a box, along each axis.
        source_height_m: height of a source above the ground.
        range_m: hearing range: the largest distance of a source from a box that hears it.
        level_sigma_db: scatter of levels around 20·lg of the distance, by walls and detectors.
        late_share: probability that an onset is a reflection.
        latest_ms: the largest delay of a reflection; all delays up to it are equally probable.
        false_share: probability that an onset is unrelated to the sound.
        false_within_s: the time span in which an unrelated onset is still grouped with the sound.
        prior_weight: degrees of freedom that the assumed errors count for, against the residuals.
        level_of_test: probability that consistent arrivals fail the χ² test.
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
        """Compute the standard error of one arrival (s), without the shared error of the speed of sound."""
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
        levels: dB, NaN if not reported, shape (n,).
        settings: the assumed errors.
    """

    places: FloatArray
    heights: FloatArray
    times: FloatArray
    sigmas: FloatArray
    levels: FloatArray
    settings: LocalisationSettings

    def part(self, which: Sequence[int] | NDArray[np.intp]) -> "LocalisationProblem":
        """Select some of the arrivals."""
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
    """Convert arrivals to arrays; times count from the first arrival.

    Args:
        arrivals: the arrivals.
        boxes: the positions of the boxes, by id.
        frame: the plane of the positions.
        settings: the assumed errors.

    Raises:
        KeyError: a box is unknown.
    """
    found = [boxes[arrival.box] for arrival in arrivals]
    start = min(arrival.time_us for arrival in arrivals)
    heights = [0.0 if box.height_m is None else box.height_m - settings.source_height_m for box in found]
    levels = [math.nan if each.level_db is None else each.level_db for each in arrivals]
    return LocalisationProblem(
        np.array([frame.to_plane(box.lon, box.lat) for box in found]),
        np.array(heights),
        np.array([(arrival.time_us - start) / US_PER_S for arrival in arrivals]),
        np.array([settings.sigma_s(arrival.clock_error_ms) for arrival in arrivals]),
        np.array(levels),
        settings,
    )
