"""Simulated shots over a square kilometre, heard by boxes with faults. Pure but for the generator handed in.

Owns what is true. It knows nothing of how places are found: boxes stand half a metre from where they are
said to be, at heights known to half a metre; onsets are late by a skewed jitter with a heavy tail that
grows with the distance; the air is as warm as it is, and the temperature told is wrong; a reflection takes
the way over the image of the source in a wall near the box, however long that is.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from app.acoustics.localisation_inputs import BoxPosition
from app.acoustics.tangent_plane import TangentPlane
from app.platform.kernel.array_types import FloatArray

SIDE_M: Final = 1_000.0
FRAME: Final = TangentPlane(2.35, 48.86)
GRIDS: Final[Mapping[int, Sequence[tuple[float, float]]]] = {
    12: [((column + 0.5) / 4, (row + 0.5) / 3) for row in range(3) for column in range(4)],
    6: [((column + 0.5) / 3, (row + 0.5) / 2) for row in range(2) for column in range(3)],
    4: [(0.25, 0.25), (0.75, 0.25), (0.25, 0.75), (0.75, 0.75)],
    3: [(0.2, 0.25), (0.8, 0.25), (0.5, 0.8)],
}
"""Where boxes stand, in shares of the side, by how many there are; each up to 60 m off along each axis."""

_OFF_M: Final = 60.0
_SURVEY_M: Final = 0.5
_TEMPERATURE_SIGMA: Final = 2.0
_LEVEL_SIGMA_DB: Final = 4.0
_AIR_DB_PER_M: Final = 0.005


@dataclass(frozen=True, slots=True)
class SimulatedFaults:
    """The simulated faults of boxes and air.

    Attributes:
        clock_ms: standard error of each clock, which the boxes know.
        reflected: share of shots in which one box hears a reflection instead of the sound itself.
        each_reflected: the same for each box by itself.
        false: share of shots near which a box reports something else; half of these missed the shot.
        wind_m_s: standard deviation of each component of the wind, which nobody knows.
    """

    clock_ms: float
    reflected: float = 0.2
    each_reflected: float = 0.0
    false: float = 0.1
    wind_m_s: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class SimulatedFleet:
    """The boxes on the square, and the air of a day.

    Attributes:
        boxes: as they are said to be.
        truth: where they are: east, north, height, shape (n, 3).
        offsets: of their clocks, s.
        temperature_c: that is told.
        speed: of sound, truly.
        wind: east and north, m/s.
    """

    boxes: tuple[BoxPosition, ...]
    truth: FloatArray
    offsets: FloatArray
    temperature_c: float
    speed: float
    wind: FloatArray


@dataclass(frozen=True, slots=True)
class HeardEvent:
    """An event of a box.

    Attributes:
        box: the number of the box.
        seconds: when, by its clock.
        level_db: how loud.
        shot: the number of the shot; None for something else.
        kind: `direct`, `reflected` (instead of it), `echo` (after it), `false`.
    """

    box: int
    seconds: float
    level_db: float
    shot: int | None
    kind: str


def make_fleet(rng: np.random.Generator, count: int, faults: SimulatedFaults) -> SimulatedFleet:
    """Make a fleet of 12, 6, 4 or 3 boxes."""
    said = np.array(GRIDS[count]) * SIDE_M + rng.uniform(-_OFF_M, _OFF_M, (count, 2))
    heights = rng.uniform(3.0, 9.0, count)
    truth = np.column_stack([said, heights]) + rng.normal(0.0, _SURVEY_M, (count, 3))
    boxes = tuple(
        BoxPosition(f"box-{at:02d}", *FRAME.to_degrees(float(east), float(north)), float(height))
        for at, ((east, north), height) in enumerate(zip(said, heights, strict=True))
    )
    temperature = float(rng.uniform(-5.0, 32.0))
    # The ideal gas by its constants, not by the formula of the program.
    speed = math.sqrt(1.4 * 8.314_462 * (temperature + 273.15) / 0.028_964_5)
    told = temperature + float(rng.normal(0.0, _TEMPERATURE_SIGMA))
    offsets = rng.normal(0.0, faults.clock_ms * 1e-3, count)
    return SimulatedFleet(boxes, truth, offsets, told, speed, rng.normal(0.0, faults.wind_m_s or 1e-12, 2))


def choose_source(rng: np.random.Generator) -> FloatArray:
    """Choose a random place on the square: east, north, height."""
    return np.array([*rng.uniform(0.0, SIDE_M, 2), rng.uniform(1.0, 2.0)])


def simulate_shot(
    rng: np.random.Generator,
    air: SimulatedFleet,
    source: FloatArray,
    *,
    at: float,
    shot: int,
    faults: SimulatedFaults,
) -> list[HeardEvent]:
    """Simulate the events that boxes report of one shot, in no order."""
    count = len(air.boxes)
    reflected = rng.random(count) < faults.each_reflected
    if rng.random() < faults.reflected:
        reflected[rng.integers(count)] = True
    strength = float(rng.uniform(150.0, 165.0))
    heard = []
    for box in range(count):
        way = air.truth[box] - source
        distance = float(np.linalg.norm(way))
        if reflected[box]:
            distance += _detour(rng, way)
        kind = "reflected" if reflected[box] else "direct"
        heard.append(_heard(rng, air, box, distance, way, at, strength, shot, kind))
        if rng.random() < 0.15:  # noqa: PLR2004 (an echo after the sound itself, as streets have them)
            late = distance + _detour(rng, way) + 15.0
            heard.append(_heard(rng, air, box, late, way, at, strength - 6.0, shot, "echo"))
    if rng.random() < faults.false:
        box = int(rng.integers(count))
        if rng.random() < 0.5:  # noqa: PLR2004 (half)
            heard = [each for each in heard if each.box != box]
        wrong = HeardEvent(
            box, at + float(rng.uniform(-1.0, 3.0)), float(rng.uniform(80, 110)), None, "false"
        )
        heard.append(wrong)
    return heard


def _heard(  # noqa: PLR0917
    rng: np.random.Generator,
    air: SimulatedFleet,
    box: int,
    distance: float,
    way: FloatArray,
    at: float,
    strength: float,
    shot: int,
    kind: str,
) -> HeardEvent:
    along = float(air.wind @ way[:2]) / float(np.linalg.norm(way))
    jitter = 0.4e-3 * float(rng.standard_t(5)) + float(rng.exponential(0.4e-3 * distance / SIDE_M))
    seconds = at + distance / (air.speed + along) + jitter + float(air.offsets[box])
    level = strength - 20.0 * math.log10(distance) - _AIR_DB_PER_M * distance
    return HeardEvent(box, seconds, level + float(rng.normal(0.0, _LEVEL_SIGMA_DB)), shot, kind)


def _detour(rng: np.random.Generator, way: FloatArray) -> float:
    """Compute the additional path by a wall near the box, to the image of the source behind it, m."""
    turn = rng.uniform(0.0, 2.0 * math.pi)
    normal = np.array([math.cos(turn), math.sin(turn)])
    if float(way[:2] @ normal) < 0:
        normal = -normal
    # The wall stands behind the box, as seen from the source.
    behind = float(rng.uniform(3.0, 40.0))
    image = way[:2] + 2.0 * behind * normal
    direct = float(np.linalg.norm(way))
    return math.hypot(float(np.linalg.norm(image)), float(way[2])) - direct
