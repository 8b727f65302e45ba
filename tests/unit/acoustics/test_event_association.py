"""Which events are one incident."""

import random
import time
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.acoustics.candidate_event_groups import compute_horizon_us
from app.acoustics.event_association import associate_events, match_incidents
from app.acoustics.localisation_inputs import BoxPosition
from app.acoustics.sound_event_types import SoundEvent, SoundIncident
from bench import acoustic
from bench.acoustic_world import SimulatedFaults
from tests.unit.acoustics.scene import PISTOL, SETTINGS, SPEED, START_US, boxes_at, events_of, heard

BOXES = boxes_at()
SHOT = (300.0, 500.0)


def told(events: list[SoundEvent]) -> tuple[SoundIncident, ...]:
    return associate_events(events, BOXES, SETTINGS)


def echo(event: SoundEvent, after_ms: float) -> SoundEvent:
    return replace(event, id=f"{event.id}-echo", time_us=event.time_us + round(after_ms * 1e3))


def burst(rounds: int, step_s: float) -> list[SoundEvent]:
    return [event for at in range(rounds) for event in events_of(heard(SHOT, after_s=at * step_s), f"r{at}")]


def test_one_shot_is_one_incident() -> None:
    (incident,) = told(events_of(heard(SHOT)))
    assert incident.location.evidence == "position"
    assert len(incident.rounds) == 1
    assert incident.boxes == tuple(sorted(BOXES))


@settings(max_examples=12, deadline=None)
@given(st.randoms(use_true_random=False))
def test_any_order_of_delivery_gives_the_same_incidents(chance: random.Random) -> None:
    events = [*burst(3, 0.1), *events_of(heard((700.0, 100.0), after_s=0.8), "other")]
    events += [echo(events[2], 130), echo(events[8], 250), SoundEvent("f", "b3", START_US + 900_000)]
    expected = told(events)
    shuffled = [*events, *chance.sample(events, 5)]
    chance.shuffle(shuffled)
    assert told(shuffled) == expected


def test_every_event_is_in_exactly_one_incident() -> None:
    events = [
        *burst(3, 0.1),
        SoundEvent("f", "b3", START_US + 900_000),
        SoundEvent("g", "b1", START_US + 60_000_000),
    ]
    ids = [event.id for incident in told(events) for event in incident.events]
    assert sorted(ids) == sorted(event.id for event in events)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from([0, 0.001, 40, 900, 30_000]), st.sampled_from([0, 300])),
        min_size=2,
        max_size=6,
    ),
    st.lists(
        st.tuples(
            st.integers(0, 5),
            st.integers(0, 300_000),
            st.sampled_from([None, 0.0, 1.0, -40.0, 86_400_000.0]),
            st.sampled_from([None, 0.0, 120.0]),
        ),
        min_size=1,
        max_size=12,
    ),
)
def test_whatever_boxes_report_becomes_incidents(
    places: list[tuple[float, float]], reports: list[tuple[int, int, float | None, float | None]]
) -> None:
    # Boxes in one place, on a line, or out of earshot; clocks that are a day off; events at one instant.
    events = [
        SoundEvent(str(at), f"b{box % len(places)}", START_US + after, PISTOL, level, clock)
        for at, (box, after, clock, level) in enumerate(reports)
    ]
    incidents = associate_events(events, boxes_at(places), SETTINGS)
    assert sorted(event.id for each in incidents for event in each.events) == sorted(e.id for e in events)


def test_two_shots_in_different_places_at_nearly_the_same_time_are_two() -> None:
    one, other = events_of(heard(SHOT), "one"), events_of(heard((720.0, 150.0), after_s=0.35), "other")
    incidents = told([*one, *other])
    assert [{event.id[:3] for event in each.events} for each in incidents] == [{"one"}, {"oth"}]


@pytest.mark.parametrize("step_s", [0.07, 0.1, 0.5])
def test_automatic_fire_is_one_incident_with_its_rounds(step_s: float) -> None:
    (incident,) = told(burst(6, step_s))
    assert len(incident.rounds) == 6
    steps = [round(each.after_us / 1e6 / step_s, 2) for each in incident.rounds]
    assert steps == pytest.approx(list(range(6)), abs=0.03)


def test_a_round_that_a_box_missed_is_a_round_all_the_same() -> None:
    events = [event for event in burst(4, 0.12) if event.id not in {"r0-b0", "r2-b4"}]
    (incident,) = told(events)
    assert [len(each.events) for each in incident.rounds] == [5, 6, 5, 6]


def test_echoes_make_no_rounds() -> None:
    shot = events_of(heard(SHOT))
    (incident,) = told([*shot, echo(shot[0], 90), echo(shot[1], 140), echo(shot[4], 260)])
    assert len(incident.rounds) == 1
    assert {event.id for event in incident.echoes} == {"e-b0-echo", "e-b1-echo", "e-b4-echo"}


def test_a_box_that_heard_the_reflection_alone_belongs_to_the_incident() -> None:
    (incident,) = told(events_of(heard(SHOT, errors_s={1: 0.11})))
    assert [event.box for event in incident.echoes] == ["b1"]
    assert [each.verdict for each in incident.location.residuals if each.box == "b1"] == ["late"]


def test_shots_far_apart_in_time_are_two_incidents() -> None:
    assert len(told([*events_of(heard(SHOT), "a"), *events_of(heard(SHOT, after_s=30), "b")])) == 2


def test_a_box_alone_and_two_boxes() -> None:
    shot = events_of(heard(SHOT))
    (alone,) = told(shot[:1])
    assert alone.location.evidence == "unlocated"
    (pair,) = told(shot[:2])
    assert pair.location.evidence == "branch"
    rounds = [replace(shot[0], id=f"a{at}", time_us=shot[0].time_us + at * 95_000) for at in range(5)]
    (automatic,) = told(rounds)
    assert len(automatic.rounds) == 5
    (echoed,) = told([shot[0], echo(shot[0], 130)])
    assert (len(echoed.rounds), len(echoed.echoes)) == (1, 1)


def test_two_boxes_hear_rounds_too() -> None:
    (incident,) = told([event for event in burst(4, 0.11) if event.box in {"b0", "b4"}])
    assert incident.location.evidence == "branch"
    assert len(incident.rounds) == 4


def test_a_late_event_refines_the_incident_it_belongs_to() -> None:
    shot = events_of(heard(SHOT))
    other = events_of(heard((100.0, 100.0), after_s=60), "x")
    before = told([*shot[:4], *other])
    after = told([*shot, *other])
    assert match_incidents(before, after) == {0: 0, 1: 1}
    old, new = before[0].location.position, after[0].location.position
    assert old is not None
    assert new is not None
    assert new.freedom == old.freedom + 2


def test_the_horizon_is_how_long_sound_takes_across_the_hearing_range() -> None:
    assert compute_horizon_us(SETTINGS) > SETTINGS.range_m / SPEED * 1e6
    assert compute_horizon_us(replace(SETTINGS, range_m=100.0)) == 2_000_000
    assert compute_horizon_us(SETTINGS, clock_error_ms=1_000.0) > compute_horizon_us(SETTINGS) + 4_000_000


def test_an_earlier_late_event_moves_no_incident_to_another() -> None:
    shots = [*events_of(heard(SHOT), "a"), *events_of(heard(SHOT, after_s=30), "b")]
    before = told(shots)
    first = replace(shots[0], id="new", time_us=shots[0].time_us - 20_000_000)
    after = told([first, *shots])
    assert match_incidents(before, after) == {1: 0, 2: 1}


def test_what_it_was_is_told_with_it() -> None:
    (incident,) = told(events_of(heard(SHOT)))
    assert incident.classification.kinds[0][0] == PISTOL[0].kind
    assert incident.classification.models[0][0] == "glock-17"
    assert incident.classification.gunshot + incident.classification.not_gunshot == 1.0


def test_a_box_that_is_not_known_is_refused() -> None:
    with pytest.raises(KeyError):
        told([SoundEvent("e", "nowhere", START_US), SoundEvent("f", "b0", START_US)])


def test_simulated_shots_that_overlap_are_told_apart() -> None:
    pairs = acoustic.measure_localisation(
        acoustic.simulate_two_shots, 12, SimulatedFaults(1.0), runs=12, seed=3
    )
    bursts = acoustic.measure_localisation(
        acoustic.simulate_automatic_fire, 6, SimulatedFaults(1.0), runs=12, seed=3
    )
    assert pairs.merged + pairs.split <= 1
    assert bursts.rounds >= 11


@pytest.mark.parametrize("spread_us", [1, 1_000_000])
def test_many_boxes_with_bad_clocks_do_not_keep_the_worker_busy(spread_us: int) -> None:
    # Each can be of one sound with each: 50 arrivals, of which 1,225 pairs could be wrong, took minutes.
    draw = random.Random(3)  # noqa: S311 (a simulation)
    boxes = {
        f"b{at:02}": BoxPosition(f"b{at:02}", 1.44 + 0.003 * (at % 8), 43.6 + 0.003 * (at // 8))
        for at in range(50)
    }
    events = [
        SoundEvent(f"e{at:03}", f"b{at % 50:02}", START_US + draw.randrange(spread_us), (), None, 250.0)
        for at in range(100)
    ]

    def count_seconds() -> float:
        began = time.process_time()
        found = associate_events(events, boxes, SETTINGS)
        assert sum(len(each.events) for each in found) == len(events)
        return time.process_time() - began

    # A pause of a virtual machine may be counted as time of the processor: not twice.
    assert any(count_seconds() < 5 for _ in range(2))
