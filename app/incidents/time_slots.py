"""Which events are looked at together: stretches between silences, or slots where there are none. Pure.

A mark names a slot of ten seconds. Events around it are looked at up to the next silence that is longer than
any sound takes between two boxes: what lies beyond has nothing to do with them. Where it does not fall silent
within a minute, or where there are more events than can be looked at together, each slot is looked at by
itself, and of each no more than so many events: a box that floods, or a night of fireworks, costs what the
limit costs, and no more. Both follow from the events around alone: not from the order in which they came.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from app.platform.kernel.instants import US_PER_S

SLOT_US: Final = 10 * US_PER_S
"""As long is a slot; the trigger of migration 0025 has the same."""

SILENCE_US: Final = 10 * US_PER_S
"""Longer than sound takes, at -40 °C, to whatever box hears it, and than the worst clock that is believed."""

MAX_WINDOW_US: Final = 60 * US_PER_S
"""A stretch may be so long; else its slots are looked at one by one."""

MAX_WINDOW_EVENTS: Final = 300
"""Events of a stretch that are looked at together: about 0.6 s of one core, at the worst."""

MAX_SLOT_EVENTS: Final = 200
"""Events of a slot that are looked at, where slots are looked at one by one: 0.4 s at the worst."""

SEARCH_MARGIN_US: Final = MAX_WINDOW_US + SILENCE_US
"""As far around a slot it has to be known when there were events."""

_RUN: Final = 12


@dataclass(frozen=True, slots=True, order=True)
class ClusteringWindow:
    """Events from one instant to another, both included, µs since the epoch.

    Attributes:
        crowded: it is a slot that was cut out of more.
    """

    first_us: int
    last_us: int
    crowded: bool = False


def slot_of(time_us: int) -> int:
    """The slot of an instant."""
    return time_us // SLOT_US


def find_first_run(slots: Iterable[int]) -> list[int]:
    """The first of marked slots that are near to each other, twelve at most: they are looked at in one go."""
    run: list[int] = []
    for slot in sorted(set(slots)):
        if run and (slot - run[-1] > SEARCH_MARGIN_US // SLOT_US or len(run) == _RUN):
            break
        run.append(slot)
    return run


def search_range_us(run: Sequence[int]) -> tuple[int, int]:
    """Between which instants it has to be known when there were events, µs; the second one is excluded."""
    return run[0] * SLOT_US - SEARCH_MARGIN_US, (run[-1] + 1) * SLOT_US + SEARCH_MARGIN_US


def find_clustering_windows(times: Sequence[int], run: Sequence[int]) -> list[ClusteringWindow]:
    """What is to be looked at of marked slots.

    Args:
        times: of all events of the window, in order, µs.
        run: the marked slots, in order.
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
    """The places of the first and the last event of those around one, as far as anybody wants to know."""
    first = last = at
    earliest, latest = times[at] - MAX_WINDOW_US, times[at] + MAX_WINDOW_US
    while first > 0 and times[first] - times[first - 1] <= SILENCE_US and times[first] >= earliest:
        first -= 1
    while last + 1 < len(times) and times[last + 1] - times[last] <= SILENCE_US and times[last] <= latest:
        last += 1
    return first, last


def thin_events[T](events: Sequence[T], box: Callable[[T], str], most: int = MAX_SLOT_EVENTS) -> list[T]:
    """So many events at most: of each box the first, then of each the second, and so on.

    Args:
        events: in their order.
        box: whose an event is.
        most: how many are kept.

    Returns:
        Those that are kept, in their order. A box that floods takes none from the others.
    """
    if len(events) <= most:
        return list(events)
    seen: dict[str, int] = defaultdict(int)
    ranked = []
    for place, event in enumerate(events):
        ranked.append((seen[box(event)], place))
        seen[box(event)] += 1
    return [events[place] for place in sorted(place for _, place in sorted(ranked)[:most])]
