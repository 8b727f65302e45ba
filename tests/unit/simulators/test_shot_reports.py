"""Shots: what comes to which box when."""

import random
from datetime import datetime

import pytest

from simulators.shot_reports import SimulatedShot, distance_m, pick_place, simulate_reports

BOXES = {"near": (1.4442, 43.6047), "far": (1.4542, 43.6047), "away": (1.5, 43.6047)}
TIME_US = 1_795_514_400_000_000


def chance(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311 (simulated)


def test_sound_takes_its_time_and_grows_fainter() -> None:
    shot = SimulatedShot((1.4442, 43.6047), TIME_US, echo=0.0, clock_ms=0.0, temperature_c=20.0)
    (near, first), (far, second) = simulate_reports(chance(1), shot, BOXES)
    assert (near, far) == ("near", "far")
    delay = datetime.fromisoformat(second["time"]) - datetime.fromisoformat(first["time"])
    # 343 m/s at 20 °C, to a millisecond or two of the detectors.
    assert delay.total_seconds() == pytest.approx(distance_m(BOXES["near"], BOXES["far"]) / 343.2, abs=0.004)
    assert first["level_db"] > second["level_db"] + 20


def test_rounds_come_to_each_box_and_echoes_are_events_too() -> None:
    shot = SimulatedShot((1.4445, 43.605), TIME_US, rounds=3, echo=1.0)
    reports = simulate_reports(chance(2), shot, BOXES)
    assert len([box for box, _ in reports if box == "near"]) == 6
    assert [event["time"] for _, event in reports] == sorted(event["time"] for _, event in reports)
    assert simulate_reports(chance(2), shot, BOXES) == reports


def test_a_place_of_chance_is_between_the_boxes() -> None:
    longitude, latitude = pick_place(chance(3), BOXES)
    assert 1.4442 <= longitude <= 1.5
    assert latitude == pytest.approx(43.6047)
