"""Boxes and sounds for the tests of acoustics, without any of the program's own mathematics."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from app.acoustics.classification_pooling import ClassCandidate
from app.acoustics.localisation_inputs import AirConditions, BoxPosition, LocalisationSettings, SoundArrival
from app.acoustics.sound_event_types import SoundEvent
from app.acoustics.tangent_plane import TangentPlane

FRAME = TangentPlane(2.35, 48.86)
PLACES = ((0.0, 0.0), (820.0, 60.0), (90.0, 760.0), (700.0, 830.0), (420.0, 390.0), (60.0, 410.0))
PISTOL = (ClassCandidate("pistol", 0.8, "glock-17"), ClassCandidate("firework", 0.1))
START_US = 1_790_000_000_000_000
# The speed that the requirement's formula gives at 15 °C.
SPEED = 331.3 * math.sqrt(1 + 15 / 273.15)
SETTINGS = LocalisationSettings(AirConditions(15.0))


def boxes_at(
    places: Sequence[tuple[float, float]] = PLACES, frame: TangentPlane = FRAME
) -> dict[str, BoxPosition]:
    return {f"b{at}": BoxPosition(f"b{at}", *frame.to_degrees(*place)) for at, place in enumerate(places)}


def heard(
    source: tuple[float, float],
    places: Sequence[tuple[float, float]] = PLACES,
    *,
    after_s: float = 0.0,
    errors_s: Mapping[int, float] | None = None,
    clock_ms: float = 0.1,
) -> list[SoundArrival]:
    out = []
    for at, place in enumerate(places):
        seconds = after_s + math.dist(source, place) / SPEED + (errors_s or {}).get(at, 0.0)
        out.append(SoundArrival(f"b{at}", START_US + round(seconds * 1e6), clock_ms))
    return out


def events_of(arrivals: Sequence[SoundArrival], name: str = "e") -> list[SoundEvent]:
    return [
        SoundEvent(f"{name}-{each.box}", each.box, each.time_us, PISTOL, each.level_db, each.clock_error_ms)
        for each in arrivals
    ]


def grid_search(
    arrivals: Sequence[SoundArrival], places: Sequence[tuple[float, float]]
) -> NDArray[np.float64]:
    """The place of least squares, by looking everywhere, ever more closely: slow, and nothing else."""
    times = np.array([(each.time_us - START_US) / 1e6 for each in arrivals])
    at = np.array(places)
    middle, width = at.mean(axis=0), 1_200.0
    for _ in range(9):
        offsets = np.linspace(-width, width, 81)
        nodes = middle + np.stack(np.meshgrid(offsets, offsets, indexing="ij"), axis=-1).reshape(-1, 2)
        emitted = times - np.linalg.norm(nodes[:, None] - at, axis=-1) / SPEED
        middle = nodes[np.argmin(emitted.var(axis=1))]
        width /= 8
    return np.asarray(middle)
