"""The simulated shots, and how what is found of them is counted."""

import math

import numpy as np

from bench import acoustic
from bench.acoustic_world import FRAME, GRIDS, SimulatedFaults, choose_source, make_fleet, simulate_shot

NOTHING = SimulatedFaults(0.0, reflected=0.0, false=0.0)


def test_the_same_seed_finds_the_same() -> None:
    one, other = (
        acoustic.measure_localisation(acoustic.simulate_one_shot, 4, SimulatedFaults(1.0), runs=4, seed=9)
        for _ in range(2)
    )
    assert (one.errors, one.covered, one.split) == (other.errors, other.covered, other.split)


def test_reflections_come_late_and_in_the_share_that_is_asked_for() -> None:
    chance = np.random.default_rng(1)
    every = SimulatedFaults(0.0, reflected=1.0, false=0.0)
    for _ in range(20):
        air, source = make_fleet(chance, 6, every), choose_source(chance)
        heard = simulate_shot(chance, air, source, at=10.0, shot=0, faults=every)
        (late,) = (each for each in heard if each.kind == "reflected")
        distance = math.dist(air.truth[late.box], source)
        # Earlier than the direct way by no more than the jitter.
        assert late.seconds - 10.0 - distance / air.speed > -0.006


def test_boxes_stand_about_where_they_are_said_to() -> None:
    chance = np.random.default_rng(2)
    for count in GRIDS:
        air = make_fleet(chance, count, NOTHING)
        assert len(air.boxes) == count
        for box, truth in zip(air.boxes, air.truth, strict=True):
            assert math.dist(FRAME.to_plane(box.lon, box.lat), truth[:2]) < 3.0


def test_what_has_no_position_is_counted_and_not_hidden() -> None:
    cell = acoustic.LocalisationTally(
        errors=[1.0, 2.0, math.inf, math.inf], covered=[True, False], axes=[3.0], runs=4
    )
    cell.incidents = 4
    row = dict(zip(acoustic.HEAD, acoustic.render_position_row("3", 1.0, cell), strict=True))
    assert row["within 15 m"] == "50.0%"
    assert row["96th percentile (m)"] == "-"
    assert row["no position"] == "2"
    assert row["in the ellipse"] == "50.0%"
