"""Which events are looked at together: the same whatever order they come in, and never too many."""

from hypothesis import given
from hypothesis import strategies as st

from app.platform.kernel.instants import US_PER_S
from app.sound_incidents.sound_event_windows import (
    MAX_SLOT_EVENTS,
    MAX_WINDOW_EVENTS,
    MAX_WINDOW_US,
    SEARCH_MARGIN_US,
    SLOT_US,
    ClusteringWindow,
    find_clustering_windows,
    find_first_run,
    search_range_us,
    slot_of,
    thin_events,
)

START = 1_795_514_400 * US_PER_S


def seconds(*values: float) -> list[int]:
    return [START + round(value * US_PER_S) for value in values]


def test_a_stretch_ends_where_it_is_silent() -> None:
    times = seconds(0, 4, 12, 40, 41)
    assert find_clustering_windows(times, [slot_of(START)]) == [ClusteringWindow(times[0], times[2])]
    both = [ClusteringWindow(times[0], times[2]), ClusteringWindow(times[3], times[4])]
    assert find_clustering_windows(times, [slot_of(time) for time in (times[1], times[4])]) == both


def test_what_never_falls_silent_is_looked_at_slot_by_slot() -> None:
    times = seconds(*range(0, 600, 5))
    found = find_clustering_windows(times, [slot_of(times[60])])
    first = slot_of(times[60]) * SLOT_US
    assert found == [ClusteringWindow(first, first + SLOT_US - 1, crowded=True)]


def test_too_many_at_once_are_looked_at_slot_by_slot() -> None:
    times = sorted(seconds(*(n / MAX_WINDOW_EVENTS for n in range(MAX_WINDOW_EVENTS + 1))))
    assert [each.crowded for each in find_clustering_windows(times, [slot_of(START)])] == [True]
    assert [each.crowded for each in find_clustering_windows(times[:-1], [slot_of(START)])] == [False]


@given(st.lists(st.integers(0, 300), min_size=1, max_size=60), st.integers(0, 30))
def test_each_event_of_a_slot_is_in_one_stretch_whatever_else_is_known(
    offsets: list[int], marked: int
) -> None:
    """The window is wide enough: with all that there is, and with what is in the window, it is the same."""
    times = sorted(seconds(*offsets))
    run = [slot_of(START) + marked]
    first, last = search_range_us(run)
    whole = find_clustering_windows(times, run)
    assert whole == find_clustering_windows([time for time in times if first <= time < last], run)
    for time in times:
        if slot_of(time) == run[0]:
            assert len([each for each in whole if each.first_us <= time <= each.last_us]) == 1
    assert all(each.last_us - each.first_us <= MAX_WINDOW_US for each in whole)


def test_a_run_is_of_slots_that_are_near_to_each_other_and_not_too_long() -> None:
    assert find_first_run([9, 3, 4, 4]) == [3, 4, 9]
    assert find_first_run([3, 4, 4 + SEARCH_MARGIN_US // SLOT_US + 1]) == [3, 4]
    assert len(find_first_run(range(100))) == 12


def test_a_box_that_floods_takes_no_other_ones_place() -> None:
    flood = [("loud", number) for number in range(5_000)]
    quiet = [(f"quiet-{number}", number * 1000) for number in range(5)]
    events = sorted([*flood, *quiet], key=lambda each: each[1])
    kept = thin_events(events, lambda each: each[0])
    assert len(kept) == MAX_SLOT_EVENTS
    assert set(quiet) <= set(kept)
    assert [each for each in kept if each[0] == "loud"] == flood[: MAX_SLOT_EVENTS - len(quiet)]
    assert kept == sorted(kept, key=lambda each: each[1])
