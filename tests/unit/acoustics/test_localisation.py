"""Where a sound was: exactly without noise, honestly with it, and nearly as well with a wrong arrival."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from app.acoustics.localisation import locate_sound
from app.acoustics.localisation_inputs import BoxPosition, SoundArrival
from app.acoustics.localisation_results import LocalisationResult, SourcePosition
from app.acoustics.tangent_plane import TangentPlane
from bench import acoustic
from bench.acoustic_world import SimulatedFaults
from tests.unit.acoustics.scene import (
    FRAME,
    PLACES,
    SETTINGS,
    SPEED,
    START_US,
    boxes_at,
    grid_search,
    heard,
)

BOXES = boxes_at()
INSIDE = st.tuples(st.floats(50, 750), st.floats(50, 750))


def found(location: LocalisationResult) -> SourcePosition:
    assert location.position is not None
    return location.position


def off(location: LocalisationResult, source: tuple[float, float]) -> float:
    position = found(location)
    return math.dist((position.east_m, position.north_m), source)


@settings(max_examples=20, deadline=None)
@given(INSIDE, st.integers(0, 3_600))
def test_without_noise_the_place_and_the_instant_are_exact(source: tuple[float, float], after: int) -> None:
    location = locate_sound(heard(source, after_s=after), BOXES, SETTINGS, FRAME)
    assert off(location, source) < 0.05
    position = found(location)
    assert abs(position.time_us - START_US - after * 1_000_000) < 200
    assert location.used == tuple(sorted(location.used, key=[r.box for r in location.residuals].index))
    assert len(location.used) == len(PLACES)
    assert position.verified


@settings(max_examples=10, deadline=None)
@given(INSIDE, st.permutations(range(len(PLACES))))
def test_the_order_of_arrivals_does_not_matter(source: tuple[float, float], order: list[int]) -> None:
    arrivals = heard(source, errors_s={1: 0.002, 3: -0.001, 4: 0.06})
    shuffled = [arrivals[at] for at in order]
    assert locate_sound(shuffled, BOXES, SETTINGS, FRAME) == locate_sound(arrivals, BOXES, SETTINGS, FRAME)


@settings(max_examples=10, deadline=None)
@given(INSIDE, st.floats(-math.pi, math.pi), st.floats(-2_000, 2_000), st.floats(-2_000, 2_000))
def test_a_turned_and_moved_array_finds_the_turned_and_moved_place(
    source: tuple[float, float], turn: float, east: float, north: float
) -> None:
    def moved(x: float, y: float) -> tuple[float, float]:
        c, s = math.cos(turn), math.sin(turn)
        return c * x - s * y + east, s * x + c * y + north

    errors = {0: 0.003, 2: -0.002, 5: 0.001}
    one = found(locate_sound(heard(source, errors_s=errors), BOXES, SETTINGS, FRAME))
    places = [moved(*place) for place in PLACES]
    arrivals = heard(moved(*source), places, errors_s=errors)
    other = found(locate_sound(arrivals, boxes_at(places), SETTINGS, FRAME))
    assert math.dist(moved(one.east_m, one.north_m), (other.east_m, other.north_m)) < 0.05
    assert other.ellipse.semi_major_m == pytest.approx(one.ellipse.semi_major_m, rel=0.05)
    assert other.ellipse.semi_minor_m == pytest.approx(one.ellipse.semi_minor_m, rel=0.05)


@pytest.mark.parametrize("seed", range(4))
def test_a_plain_search_of_the_grid_finds_the_same_place(seed: int) -> None:
    chance = np.random.default_rng(seed)
    source = (float(chance.uniform(100, 700)), float(chance.uniform(100, 700)))
    errors = {at: float(chance.normal(0, 0.001)) for at in range(len(PLACES))}
    arrivals = heard(source, errors_s=errors)
    # The search knows one speed of sound and no errors of boxes: the same is told to the program.
    exact = replace(SETTINGS, conditions=replace(SETTINGS.conditions, temperature_sigma_c=1e-6))
    position = found(locate_sound(arrivals, BOXES, exact, FRAME))
    expected = grid_search(arrivals, PLACES)
    assert math.dist((position.east_m, position.north_m), (float(expected[0]), float(expected[1]))) < 0.05


def explained(location: LocalisationResult, arrivals: Sequence[SoundArrival]) -> tuple[int, float, float]:
    """How many arrivals a place explains, how far off the worst of them is (s), and sound's speed by them.

    Times of emission and of travel are a straight line over the distance: its slope is 1 / speed.
    """
    position = found(location)
    used = [each for each in arrivals if each.box in location.used]
    away = [math.dist((position.east_m, position.north_m), PLACES[int(each.box[1:])]) for each in used]
    seconds = [(each.time_us - START_US) / 1e6 for each in used]
    slope, start = np.polyfit(away, seconds, 1)
    worst = max(abs(s - start - slope * m) for s, m in zip(seconds, away, strict=True))
    return len(used), float(worst), 1 / float(slope)


ERRORS = st.floats(0.01, 0.19) | st.floats(-1.5, -0.01)


@settings(max_examples=20, deadline=None)
@given(INSIDE, st.integers(0, len(PLACES) - 1), ERRORS)
# A box next to the source is early, or another one late by a reflection: five arrivals fit both.
@example((98.0, 78.0), 0, -0.2336)
@example((100.0, 50.0), 1, -0.859)
# Beside its ellipse, and no place at all: an error that is near what the air does.
@example((200.0, 50.0), 1, -0.0398)
@example((683.7826, 696.4296), 4, -0.013133)
def test_one_wrong_arrival_of_six_leaves_a_place_that_explains_all_others_but_one(
    source: tuple[float, float], box: int, error: float
) -> None:
    arrivals = heard(source, errors_s={box: error})
    location = locate_sound(arrivals, BOXES, SETTINGS, FRAME)
    if location.position is None:
        assert abs(error) < 0.05
        return
    count, worst, speed = explained(location, arrivals)
    assert count >= 4
    assert worst < 0.005
    assert speed == pytest.approx(SPEED, rel=0.02)
    if off(location, source) < 1.0 and abs(error) > 0.1:
        wrong = next(each for each in location.residuals if each.box == f"b{box}")
        assert wrong.verdict == ("late" if error > 0 else "early")
        assert wrong.residual_ms == pytest.approx(error * 1e3, abs=5)


def test_one_wrong_arrival_of_six_moves_the_place_little_but_for_one_in_a_hundred() -> None:
    """The shares that docs/acoustics.md tells are of more sources, and higher."""
    chance = np.random.default_rng(17)
    inside, near = [], []
    for _ in range(400):
        east, north = (float(value) for value in chance.uniform(50, 750, 2))
        error = float(chance.uniform(0.01, 0.19) if chance.random() < 0.4 else chance.uniform(-1.5, -0.01))
        errors = {int(chance.integers(len(PLACES))): error}
        location = locate_sound(heard((east, north), errors_s=errors), BOXES, SETTINGS, FRAME)
        moved = math.inf if location.position is None else off(location, (east, north))
        inside.append(moved < 1.0 + (location.position.ellipse.semi_major_m if location.position else 0.0))
        if abs(error) > 0.1:
            near.append(moved < 1.0)
    assert sum(inside) >= 0.99 * len(inside)
    assert sum(near) >= 0.99 * len(near)


def test_two_reflections_of_six_are_told() -> None:
    location = locate_sound(heard((300.0, 500.0), errors_s={0: 0.05, 3: 0.12}), BOXES, SETTINGS, FRAME)
    assert off(location, (300.0, 500.0)) < 1.0
    assert {each.box for each in location.residuals if each.verdict == "late"} == {"b0", "b3"}


def test_one_box_says_nothing_of_the_place() -> None:
    location = locate_sound(heard((10.0, 10.0))[:1], BOXES, SETTINGS)
    assert location.evidence == "unlocated"
    assert location.position is None
    assert location.branch is None


def test_two_boxes_leave_a_branch_that_holds_the_place() -> None:
    source = (250.0, 520.0)
    location = locate_sound(heard(source)[:2], BOXES, SETTINGS, FRAME)
    assert location.evidence == "branch"
    assert location.branch is not None
    line = [FRAME.to_plane(*point) for point in location.branch.line]
    difference = math.dist(source, PLACES[0]) - math.dist(source, PLACES[1])
    for point in line:
        assert math.dist(point, PLACES[0]) - math.dist(point, PLACES[1]) == pytest.approx(difference, abs=0.2)
        assert math.dist(point, PLACES[0]) <= SETTINGS.range_m + 1
    # The line runs past the place within the distance of its points.
    steps = [math.dist(a, b) for a, b in itertools.pairwise(line)]
    assert min(math.dist(point, source) for point in line) < max(steps)
    assert location.branch.geojson()["type"] == "LineString"


def test_what_sound_cannot_do_is_not_located() -> None:
    far = heard((0.0, 0.0))
    location = locate_sound([far[0], replace(far[1], time_us=far[1].time_us + 3_000_000)], BOXES, SETTINGS)
    assert location.evidence == "unlocated"
    assert {each.verdict for each in location.residuals} == {"inconsistent"}


def test_three_boxes_leave_two_places_and_both_are_told() -> None:
    places = PLACES[:3]
    # Behind a corner of the triangle, where both branches meet twice.
    source = (-150.0, -120.0)
    location = locate_sound(heard(source, places), boxes_at(places), SETTINGS, FRAME)
    told = [found(location), *([location.alternative] if location.alternative else [])]
    assert len(told) == 2
    assert min(math.dist((each.east_m, each.north_m), source) for each in told) < 2.0
    assert not any(each.verified for each in told)


def test_levels_decide_between_two_places() -> None:
    places = PLACES[:3]
    source = (-150.0, -120.0)
    without = locate_sound(heard(source, places), boxes_at(places), SETTINGS, FRAME)
    assert without.alternative is not None
    others = [(each.east_m, each.north_m) for each in (found(without), without.alternative)]
    for place in others:
        arrivals = [
            replace(each, level_db=160 - 20 * math.log10(math.dist(place, places[at]) + 0.1))
            for at, each in enumerate(heard(source, places))
        ]
        quiet = replace(SETTINGS, level_sigma_db=1.5)
        assert off(locate_sound(arrivals, boxes_at(places), quiet, FRAME), place) < 5.0


def test_boxes_on_a_line_do_not_fail() -> None:
    places = [(float(x), 0.0) for x in (0, 300, 600, 900)]
    location = locate_sound(heard((400.0, 350.0), places), boxes_at(places), SETTINGS, FRAME)
    position = found(location)
    # Above the line or below it: nothing tells.
    assert (abs(position.east_m - 400.0), abs(position.north_m)) == pytest.approx((0.0, 350.0), abs=2.0)


def test_heights_of_boxes_count() -> None:
    boxes = {name: replace(box, height_m=61.5) for name, box in BOXES.items()}
    slant = [math.hypot(math.dist((410, 400), place), 60.0) / SPEED for place in PLACES]
    arrivals = [SoundArrival(f"b{at}", START_US + round(s * 1e6), 0.1) for at, s in enumerate(slant)]
    assert off(locate_sound(arrivals, boxes, SETTINGS, FRAME), (410.0, 400.0)) < 0.1


def test_worse_clocks_and_unknown_wind_widen_the_ellipse() -> None:
    arrivals = heard((300.0, 300.0))
    plain = found(locate_sound(arrivals, BOXES, SETTINGS, FRAME)).ellipse
    worse = found(
        locate_sound([replace(a, clock_error_ms=5.0) for a in arrivals], BOXES, SETTINGS, FRAME)
    ).ellipse
    untold = found(
        locate_sound([replace(a, clock_error_ms=None) for a in arrivals], BOXES, SETTINGS, FRAME)
    ).ellipse
    windy = replace(SETTINGS, conditions=replace(SETTINGS.conditions, wind_sigma_m_s=3.0))
    blown = found(locate_sound(arrivals, BOXES, windy, FRAME)).ellipse
    assert plain.semi_major_m < min(worse.semi_major_m, blown.semi_major_m)
    assert worse == untold


def test_calls_that_make_no_sense_are_refused() -> None:
    arrival = heard((0.0, 0.0))[0]
    with pytest.raises(ValueError, match="one arrival of each box"):
        locate_sound([arrival, arrival], BOXES)
    with pytest.raises(ValueError, match="at least one"):
        locate_sound([], BOXES)
    with pytest.raises(KeyError):
        locate_sound([replace(arrival, box="nowhere")], BOXES)


@pytest.mark.parametrize(("boxes", "clock_ms", "runs"), [(6, 1.0, 150), (12, 0.1, 80)])
def test_the_ellipse_holds_what_it_says(boxes: int, clock_ms: float, runs: int) -> None:
    cell = acoustic.measure_localisation(
        acoustic.simulate_one_shot, boxes, SimulatedFaults(clock_ms), runs=runs, seed=7
    )
    share = sum(cell.covered) / len(cell.covered)
    # 95 % within three standard errors of a share of so many.
    assert abs(share - 0.95) < 3 * math.sqrt(0.95 * 0.05 / runs)
    assert sum(error <= 15 for error in cell.errors) / runs >= 0.96


def test_frames_do_not_move_the_place() -> None:
    arrivals = heard((300.0, 300.0), errors_s={2: 0.002})
    one = found(locate_sound(arrivals, BOXES, SETTINGS, FRAME))
    other = found(locate_sound(arrivals, BOXES, SETTINGS, TangentPlane(2.36, 48.87)))
    assert math.dist(FRAME.to_plane(one.lon, one.lat), FRAME.to_plane(other.lon, other.lat)) < 0.02


def test_boxes_of_unknown_height_stand_level_with_the_source() -> None:
    box = BoxPosition("b", 2.0, 48.0)
    assert box.height_m is None
