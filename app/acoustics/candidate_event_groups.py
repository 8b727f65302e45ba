"""Groups sound events that may have one cause, by time and by distance between boxes. Pure.

Two boxes hear one sound at most as far apart in time as sound needs from one to the other, or to cross the
hearing range if that is less. One box hears rounds and echoes within seconds. Events that are linked directly
or through others are evaluated together; other events never need to be.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Final

from app.acoustics.great_circle_distance import compute_distance_m
from app.acoustics.localisation_inputs import BoxPosition, LocalisationSettings
from app.acoustics.sound_event_types import SoundEvent
from app.platform.kernel.instants import US_PER_S

ROUND_GAP_S: Final = 2.0
"""The largest interval between rounds of one incident (s)."""

_BEYOND: Final = 4.0
_LEEWAY_S: Final = 0.01
_FLATTENING: Final = 1.006


def compute_max_distance_m(one: BoxPosition, other: BoxPosition) -> float:
    """Compute an upper bound of the distance of two boxes (m): haversine, enlarged for the ellipsoid."""
    return _FLATTENING * compute_distance_m(one.lat, one.lon, other.lat, other.lon)


def compute_min_sound_speed(settings: LocalisationSettings) -> float:
    """Compute the lowest speed at which sound may travel (m/s)."""
    conditions = settings.conditions
    return conditions.speed * (1.0 - 3.0 * conditions.slowness_sigma) - 3.0 * conditions.wind_sigma_m_s


def may_share_sound(
    one: SoundEvent, other: SoundEvent, boxes: Mapping[str, BoxPosition], settings: LocalisationSettings
) -> bool:
    """Return whether two events of different boxes can be of one sound, up to four standard errors.

    Args:
        one: an event.
        other: an event of another box.
        boxes: the positions of the boxes, by id.
        settings: the assumed errors.
    """
    apart = compute_max_distance_m(boxes[one.box], boxes[other.box])
    if apart > 2.0 * settings.range_m:
        return False
    own = math.hypot(settings.sigma_s(one.clock_error_ms), settings.sigma_s(other.clock_error_ms))
    longest = min(apart, settings.range_m) / compute_min_sound_speed(settings) + _BEYOND * own + _LEEWAY_S
    return abs(one.time_us - other.time_us) <= longest * US_PER_S


def compute_horizon_us(settings: LocalisationSettings, clock_error_ms: float | None = None) -> int:
    """Compute how long after an event another one may belong to its incident (µs), with this clock error."""
    sigma = settings.sigma_s(clock_error_ms)
    longest = (
        settings.range_m / compute_min_sound_speed(settings) + _BEYOND * math.sqrt(2.0) * sigma + _LEEWAY_S
    )
    return math.ceil(max(longest, ROUND_GAP_S) * US_PER_S)


def group_linked_events(
    events: Sequence[SoundEvent], boxes: Mapping[str, BoxPosition], settings: LocalisationSettings
) -> list[list[SoundEvent]]:
    """Divide events into groups that may be related.

    Args:
        events: in the order of their keys.
        boxes: the positions of the boxes, by id.
        settings: the assumed errors.
    """
    owner = list(range(len(events)))

    def root(at: int) -> int:
        while owner[at] != at:
            owner[at] = owner[owner[at]]
            at = owner[at]
        return at

    worst = max((abs(event.clock_error_ms or 0.0) for event in events), default=0.0)
    reach = compute_horizon_us(settings, max(worst, settings.unknown_clock_ms))
    first = 0
    for at, event in enumerate(events):
        while event.time_us - events[first].time_us > reach:
            first += 1
        for other in range(first, at):
            if root(other) != root(at) and _linked(events[other], event, boxes, settings):
                owner[max(root(other), root(at))] = min(root(other), root(at))
    groups: dict[int, list[SoundEvent]] = {}
    for at, event in enumerate(events):
        groups.setdefault(root(at), []).append(event)
    return list(groups.values())


def _linked(
    one: SoundEvent, other: SoundEvent, boxes: Mapping[str, BoxPosition], settings: LocalisationSettings
) -> bool:
    if one.box == other.box:
        return other.time_us - one.time_us <= ROUND_GAP_S * US_PER_S
    return may_share_sound(one, other, boxes, settings)
