"""A shot at a place, as the boxes of a site report it: each at its own time, with its own clock. Pure.

Sound takes its time to each box; clocks are off by what boxes tell of them; now and then a wall sends the
sound a second time. What boxes take it for comes from `simulators.events`, and is as invented as there.
"""

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from simulators.events import Event, make_event

type Place = tuple[float, float]
"""Longitude and latitude, degrees."""

_US: Final = 1_000_000
_METRES_PER_DEGREE: Final = 111_320.0
_SPEED_AT_0_C: Final = 331.3
_JITTER_S: Final = 0.0005
_SOURCE_DB: Final = 158.0
_ECHO_S: Final = (0.05, 0.3)
_ECHO_DB: Final = (6.0, 15.0)
_RANGE_M: Final = 2_000.0


@dataclass(frozen=True, slots=True)
class Shot:
    """What happens.

    Attributes:
        place: where.
        time_us: when the first round is fired, µs since 1970.
        source: a class of `simulators.events`: `pistol`, `rifle`, `firework` …
        rounds: how many.
        interval_s: between two rounds.
        temperature_c: of the air.
        clock_ms: standard deviation of the clocks' errors, which the boxes tell rightly.
        echo: how probable it is that a box hears a round twice.
    """

    place: Place
    time_us: int
    source: str = "pistol"
    rounds: int = 1
    interval_s: float = 0.6
    temperature_c: float = 15.0
    clock_ms: float = 1.0
    echo: float = 0.15


def heard(chance: random.Random, shot: Shot, boxes: Mapping[str, Place]) -> list[tuple[str, Event]]:
    """What each box reports of a shot, in the order in which the sound comes to them.

    Args:
        chance: where the choices come from.
        shot: what happens.
        boxes: where they stand, by id.
    """
    speed = _SPEED_AT_0_C * math.sqrt(1.0 + shot.temperature_c / 273.15)
    told = []
    for box, place in sorted(boxes.items()):
        distance = apart_m(shot.place, place)
        if distance > _RANGE_M:
            continue
        clock_us = chance.gauss(0.0, shot.clock_ms) * 1e3
        level = _SOURCE_DB - 20.0 * math.log10(max(distance, 1.0)) + chance.gauss(0.0, 3.0)
        for number in range(shot.rounds):
            after = number * shot.interval_s + distance / speed + chance.gauss(0.0, _JITTER_S)
            time_us = shot.time_us + round(after * _US + clock_us)
            told.append((time_us, box, level))
            if chance.random() < shot.echo:
                late = round(chance.uniform(*_ECHO_S) * _US)
                told.append((time_us + late, box, level - chance.uniform(*_ECHO_DB)))
    return [(box, _report(chance, shot, time_us, level)) for time_us, box, level in sorted(told)]


def _report(chance: random.Random, shot: Shot, time_us: int, level: float) -> Event:
    event = make_event(chance, time_us // 1_000, time_us, shot.source)
    event["level_db"] = round(min(max(level, 60.0), 160.0), 1)
    event["clock_error_ms"] = round(shot.clock_ms, 2)
    return event


def apart_m(one: Place, other: Place) -> float:
    """How far two places of a town are apart, m: on a plane that touches the earth there."""
    middle = math.radians((one[1] + other[1]) / 2.0)
    east = (one[0] - other[0]) * _METRES_PER_DEGREE * math.cos(middle)
    return math.hypot(east, (one[1] - other[1]) * _METRES_PER_DEGREE)
