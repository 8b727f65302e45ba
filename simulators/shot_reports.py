"""Simulates how the boxes of a site report a shot: each with its own delay, clock error and echoes.

Candidates of an event come from `simulators.sound_events`, and are as invented as there. The module is pure,
but for `publish_reports` and `simulate_shots`.
"""

import asyncio
import json
import math
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from simulators.mqtt_link import MqttLink, box_topic
from simulators.sound_events import GUN_CLASSES, SOUND_CLASSES, EventPayload, make_sound_event

type LonLat = tuple[float, float]
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
class SimulatedShot:
    """A shot, or a similar sound.

    Attributes:
        place: Where it is fired.
        time_us: When the first round is fired (µs since 1970).
        source: A class of `simulators.sound_events`: `pistol`, `rifle`, `firework` …
        rounds: Number of rounds.
        interval_s: Time between two rounds (seconds).
        temperature_c: Air temperature (°C).
        clock_ms: Standard deviation of the clocks' errors (ms), which the boxes report correctly.
        echo: Probability that a box hears a round twice.
    """

    place: LonLat
    time_us: int
    source: str = "pistol"
    rounds: int = 1
    interval_s: float = 0.6
    temperature_c: float = 15.0
    clock_ms: float = 1.0
    echo: float = 0.15


def simulate_reports(
    chance: random.Random, shot: SimulatedShot, boxes: Mapping[str, LonLat]
) -> list[tuple[str, EventPayload]]:
    """Compute the boxes' reports of a shot, in the order of arrival.

    Args:
        chance: The random generator.
        shot: The shot.
        boxes: The boxes' locations, by id.
    """
    speed = _SPEED_AT_0_C * math.sqrt(1.0 + shot.temperature_c / 273.15)
    arrivals = []
    for box, place in sorted(boxes.items()):
        distance = distance_m(shot.place, place)
        if distance > _RANGE_M:
            continue
        clock_us = chance.gauss(0.0, shot.clock_ms) * 1e3
        level = _SOURCE_DB - 20.0 * math.log10(max(distance, 1.0)) + chance.gauss(0.0, 3.0)
        for number in range(shot.rounds):
            after = number * shot.interval_s + distance / speed + chance.gauss(0.0, _JITTER_S)
            time_us = shot.time_us + round(after * _US + clock_us)
            arrivals.append((time_us, box, level))
            if chance.random() < shot.echo:
                late = round(chance.uniform(*_ECHO_S) * _US)
                arrivals.append((time_us + late, box, level - chance.uniform(*_ECHO_DB)))
    return [(box, _report(chance, shot, time_us, level)) for time_us, box, level in sorted(arrivals)]


def _report(chance: random.Random, shot: SimulatedShot, time_us: int, level: float) -> EventPayload:
    event = make_sound_event(chance, time_us // 1_000, time_us, shot.source)
    event["level_db"] = round(min(max(level, 60.0), 160.0), 1)
    event["clock_error_ms"] = round(shot.clock_ms, 2)
    return event


def distance_m(one: LonLat, other: LonLat) -> float:
    """Compute the distance of two places of a town (m), on a plane tangent to the earth."""
    middle = math.radians((one[1] + other[1]) / 2.0)
    east = (one[0] - other[0]) * _METRES_PER_DEGREE * math.cos(middle)
    return math.hypot(east, (one[1] - other[1]) * _METRES_PER_DEGREE)


async def publish_reports(
    links: Mapping[str, MqttLink], chance: random.Random, shot: SimulatedShot, boxes: Mapping[str, LonLat]
) -> int:
    """Publish the boxes' reports of a shot, each at its arrival, and return their number.

    Args:
        links: For each box, a connection that may publish for it.
        chance: The random generator.
        shot: The shot, about now.
        boxes: The boxes' locations, by id.
    """
    reports = simulate_reports(chance, shot, boxes)
    for box, event in reports:
        wait_s = event["seq"] / 1e3 - time.time()
        if wait_s > 0:
            await asyncio.sleep(wait_s)
        await links[box].publish(box_topic(box, "event"), json.dumps(event).encode())
    return len(reports)


def pick_place(chance: random.Random, boxes: Mapping[str, LonLat]) -> LonLat:
    """Pick a place between the boxes: their mean with random weights."""
    weights = {box: chance.random() for box in sorted(boxes)}
    total = sum(weights.values())
    longitude = sum(boxes[box][0] * weight for box, weight in weights.items()) / total
    return longitude, sum(boxes[box][1] * weight for box, weight in weights.items()) / total


async def simulate_shots(
    links: Mapping[str, MqttLink],
    boxes: Mapping[str, LonLat],
    *,
    every_s: float,
    count: int | None = None,
    seed: int | None = None,
    place: LonLat | None = None,
    source: str | None = None,
    rounds: int | None = None,
) -> int:
    """Simulate shots at random intervals, and publish the boxes' reports.

    Args:
        links: For each box, a connection that may publish for it.
        boxes: The boxes' locations, by id.
        every_s: Mean time between two shots (seconds); the first one is at once.
        count: Number of shots; None until cancelled.
        seed: Makes places and sources repeatable.
        place: Where they are fired; None for a random place between the boxes.
        source: The class of sound; None for a random one, mostly no firearm.
        rounds: Rounds per shot; None for one to three.

    Returns:
        The number of shots.
    """
    chance = random.Random(seed)
    done = 0
    while count is None or done < count:
        if done:
            await asyncio.sleep(chance.expovariate(1 / every_s) if every_s > 0 else 0.0)
        what = source or chance.choice(list(SOUND_CLASSES))
        shot = SimulatedShot(
            place or pick_place(chance, boxes),
            time.time_ns() // 1_000,
            what,
            rounds or (chance.randint(1, 3) if what in GUN_CLASSES else 1),
        )
        reports = await publish_reports(links, chance, shot, boxes)
        done += 1
        where = f"{shot.place[0]:.5f},{shot.place[1]:.5f}"
        print(f"{what} at {where}, rounds: {shot.rounds}, reports: {reports}", flush=True)
    return done
