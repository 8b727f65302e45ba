"""Divides sound events into time windows, each of which is clustered on its own. Pure.

A mark names a slot of ten seconds. Its window extends to the next silence that is longer than sound travels
between two boxes: events beyond it cannot be related. If a window would exceed a minute or
`MAX_WINDOW_EVENTS`, each slot is clustered separately, with at most `MAX_SLOT_EVENTS` events. So a flooding
box, or a night of fireworks, has a bounded cost. Windows depend on the events only, not on their arrival.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from app.platform.kernel.instants import US_PER_S

SLOT_US: Final = 10 * US_PER_S
"""The length of a slot; the trigger of migration 0025 uses the same."""

SILENCE_US: Final = 10 * US_PER_S
"""Longer than sound travels to any box at -40 °C plus the largest accepted clock error."""

MAX_WINDOW_US: Final = 60 * US_PER_S
"""The longest window; slots of longer ones are clustered separately."""

MAX_WINDOW_EVENTS: Final = 300
"""The most events of a window: about 0.6 s of one core in the worst case."""

MAX_SLOT_EVENTS: Final = 200
"""The most events of a slot that is clustered separately: 0.4 s in the worst case."""

SEARCH_MARGIN_US: Final = MAX_WINDOW_US + SILENCE_US
"""How far around a slot event times are needed."""

_MAX_RUN_SLOTS: Final = 12


@dataclass(frozen=True, slots=True, order=True)
class ClusteringWindow:
    """A time range of events, both ends included, µs since the epoch.

    Attributes:
        crowded: it is a single slot of a longer window.
    """

    first_us: int
    last_us: int
    crowded: bool = False


def slot_of(time_us: int) -> int:
    """Return the slot of an instant."""
    return time_us // SLOT_US


def find_first_run(slots: Iterable[int]) -> list[int]:
    """Return the first marked slots that are close to each other, at most twelve, to process together."""
    run: list[int] = []
    for slot in sorted(set(slots)):
        if run and (slot - run[-1] > SEARCH_MARGIN_US // SLOT_US or len(run) == _MAX_RUN_SLOTS):
            break
        run.append(slot)
    return run


def search_range_us(run: Sequence[int]) -> tuple[int, int]:
    """Return the time range in which event times are needed, µs; the end is excluded."""
    return run[0] * SLOT_US - SEARCH_MARGIN_US, (run[-1] + 1) * SLOT_US + SEARCH_MARGIN_US


def find_clustering_windows(times: Sequence[int], run: Sequence[int]) -> list[ClusteringWindow]:
    """Find the windows of marked slots.

    Args:
        times: the times of all events in `search_range_us`, ascending, µs.
        run: the marked slots, ascending.
    """
    found: set[ClusteringWindow] = set()
    for slot in run:
        at, end = bisect_left(times, slot * SLOT_US), bisect_left(times, (slot + 1) * SLOT_US)
        while at < end:
            first, last = _around(times, at)
            if times[last] - times[first] <= MAX_WINDOW_US and last - first < MAX_WINDOW_EVENTS:
                found.add(ClusteringWindow(times[first], times[last]))
            else:
                found.add(ClusteringWindow(slot * SLOT_US, (slot + 1) * SLOT_US - 1, crowded=True))
            at = last + 1
    return sorted(found)


def _around(times: Sequence[int], at: int) -> tuple[int, int]:
    """Return the indices of the first and the last event around one; stops beyond `MAX_WINDOW_US`."""
    first = last = at
    earliest, latest = times[at] - MAX_WINDOW_US, times[at] + MAX_WINDOW_US
    while first > 0 and times[first] - times[first - 1] <= SILENCE_US and times[first] >= earliest:
        first -= 1
    while last + 1 < len(times) and times[last + 1] - times[last] <= SILENCE_US and times[last] <= latest:
        last += 1
    return first, last


def thin_events[T](events: Sequence[T], box: Callable[[T], str], most: int = MAX_SLOT_EVENTS) -> list[T]:
    """Limit the number of events fairly: the first one of each box, then the second one of each, and so on.

    Args:
        events: the events, in their order.
        box: returns the box of an event.
        most: the limit.

    Returns:
        The selected events, in their order. A flooding box does not displace the events of others.
    """
    if len(events) <= most:
        return list(events)
    seen: dict[str, int] = defaultdict(int)
    ranked = []
    for index, event in enumerate(events):
        ranked.append((seen[box(event)], index))
        seen[box(event)] += 1
    return [events[index] for index in sorted(index for _, index in sorted(ranked)[:most])]
