"""Finds further shots of a source after the first one, and separates shots from echoes. Pure.

A further round reaches every box after the same interval, whatever the distance: an interval that more than
half of the boxes share is a round. The interval of an echo depends on walls, and so differs between boxes.
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Final

from app.acoustics.candidate_event_groups import ROUND_GAP_S
from app.acoustics.localisation_inputs import LocalisationSettings
from app.acoustics.sound_event_types import SoundEvent
from app.platform.kernel.instants import US_PER_S

ECHO_S: Final = 0.4
"""The largest delay of an echo after its sound (s)."""

_SHORTEST_S: Final = 0.03
_BEYOND: Final = 3.0
_LEEWAY_S: Final = 0.002
_EXPECTED_S: Final = 0.012
_LIKE: Final = 0.15
_SEVERAL: Final = 3


def find_further_rounds(
    heard: Mapping[str, SoundEvent],
    expected: Mapping[str, int],
    pool: Sequence[SoundEvent],
    settings: LocalisationSettings,
) -> list[tuple[int, dict[str, SoundEvent]]]:
    """Find further rounds of a source, before and after the known one.

    Args:
        heard: the event of each box in the known round.
        expected: for boxes without an event, when they should have heard the known round (µs).
        pool: other events, in their order.
        settings: the assumed errors.

    Returns:
        The interval (µs) and the event of each box, in the order of intervals.
    """
    start = dict(expected) | {box: event.time_us for box, event in heard.items()}
    marks = sorted(
        (event.time_us - start[event.box], event.key, event, _width_us(event, heard, settings))
        for event in pool
        if event.box in start
    )
    known = [0]  # intervals of the rounds found, in no order
    found: list[tuple[int, dict[str, SoundEvent]]] = []
    while True:
        best = _best(marks, known, need=len(heard) // 2 + 1)
        if best is None:
            return sorted(found, key=lambda each: each[0])
        found.append(best)
        known.append(best[0])
        gone = {event.id for event in best[1].values()}
        marks = [mark for mark in marks if mark[2].id not in gone]


type _Mark = tuple[int, tuple[int, str, str], SoundEvent, float]


def _width_us(event: SoundEvent, heard: Mapping[str, SoundEvent], settings: LocalisationSettings) -> float:
    """Compute the tolerance of an interval of a box (µs)."""
    sigma = settings.sigma_s(event.clock_error_ms)
    leeway = _LEEWAY_S if event.box in heard else _EXPECTED_S
    return (_BEYOND * math.sqrt(2.0) * sigma + leeway) * US_PER_S


def _best(
    marks: Sequence[_Mark], known: Sequence[int], need: int
) -> tuple[int, dict[str, SoundEvent]] | None:
    """Find the interval that most boxes share, close enough to a known round."""
    best: tuple[tuple[int, float, int], dict[str, _Mark]] | None = None
    intervals = [mark[0] for mark in marks]
    widest = max((mark[3] for mark in marks), default=0.0)
    for after in intervals:
        nearest = min(abs(after - other) for other in known)
        if not _SHORTEST_S * US_PER_S <= nearest <= ROUND_GAP_S * US_PER_S:
            continue
        members: dict[str, _Mark] = {}
        for mark in marks[bisect_left(intervals, after - widest) : bisect_right(intervals, after + widest)]:
            off, box = abs(mark[0] - after), mark[2].box
            if off <= mark[3] and (box not in members or off < abs(members[box][0] - after)):
                members[box] = mark
        rank = (-len(members), sum(abs(each[0] - after) / each[3] for each in members.values()), after)
        if len(members) >= need and (best is None or rank < best[0]):
            best = (rank, members)
    if best is None:
        return None
    of_members = sorted(mark[0] for mark in best[1].values())
    return of_members[len(of_members) // 2], {box: mark[2] for box, mark in best[1].items()}


def split_rounds_and_echoes(events: Sequence[SoundEvent]) -> tuple[list[SoundEvent], list[SoundEvent]]:
    """Split the events that one box alone heard into rounds and echoes, in their order.

    Three or more events at similar intervals (within 15 %) are automatic fire. Otherwise an event within
    ECHO_S of a round is an echo.
    """
    steps = [b.time_us - a.time_us for a, b in pairwise(events)]
    if len(events) >= _SEVERAL:
        middle = sorted(steps)[len(steps) // 2]
        if middle >= _SHORTEST_S * US_PER_S and all(abs(step - middle) <= _LIKE * middle for step in steps):
            return list(events), []
    rounds, echoes = [events[0]], list[SoundEvent]()
    for event in events[1:]:
        (echoes if event.time_us - rounds[-1].time_us <= ECHO_S * US_PER_S else rounds).append(event)
    return rounds, echoes
