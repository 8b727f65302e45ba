"""Which events may have to do with each other at all. Pure.

Two boxes hear one sound at most as far apart in time as sound takes from one to the other, or across the
hearing range where that is less; one box hears rounds and echoes within seconds. What is linked by such
pairs, however far, is taken together; nothing else ever has to be.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Final

from app.acoustics.localisation_inputs import US_PER_SECOND, BoxPosition, LocalisationSettings
from app.acoustics.sound_events import SoundEvent

ROUND_GAP_S: Final = 2.0
"""Rounds of one incident follow each other within this."""

_BEYOND: Final = 4.0
_LEEWAY_S: Final = 0.01
_EARTH_M: Final = 6_371_009.0
_FLATTENING: Final = 1.006


def compute_max_distance_m(one: BoxPosition, other: BoxPosition) -> float:
    """How far boxes are apart at most, m: the great circle (haversine), and what the ellipsoid may add."""
    lat, lat_other = math.radians(one.lat), math.radians(other.lat)
    turn = math.radians(other.lon - one.lon)
    chord = (
        math.sin((lat_other - lat) / 2) ** 2 + math.cos(lat) * math.cos(lat_other) * math.sin(turn / 2) ** 2
    )
    return 2.0 * _EARTH_M * _FLATTENING * math.asin(math.sqrt(min(1.0, chord)))


def compute_min_sound_speed(settings: LocalisationSettings) -> float:
    """The least speed at which sound may travel, m/s."""
    conditions = settings.conditions
    return conditions.speed * (1.0 - 3.0 * conditions.slowness_sigma) - 3.0 * conditions.wind_sigma_m_s


def may_share_sound(
    one: SoundEvent, other: SoundEvent, boxes: Mapping[str, BoxPosition], settings: LocalisationSettings
) -> bool:
    """Whether two events of different boxes can be of one sound, up to four standard errors."""
    apart = compute_max_distance_m(boxes[one.box], boxes[other.box])
    if apart > 2.0 * settings.range_m:
        return False
    own = math.hypot(settings.sigma_s(one.clock_error_ms), settings.sigma_s(other.clock_error_ms))
    longest = min(apart, settings.range_m) / compute_min_sound_speed(settings) + _BEYOND * own + _LEEWAY_S
    return abs(one.time_us - other.time_us) <= longest * US_PER_SECOND


def compute_horizon_us(settings: LocalisationSettings, clock_error_ms: float | None = None) -> int:
    """How long after an event another one may still belong to its incident, µs, if no clock is worse."""
    sigma = settings.sigma_s(clock_error_ms)
    longest = (
        settings.range_m / compute_min_sound_speed(settings) + _BEYOND * math.sqrt(2.0) * sigma + _LEEWAY_S
    )
    return math.ceil(max(longest, ROUND_GAP_S) * US_PER_SECOND)


def group_linked_events(
    events: Sequence[SoundEvent], boxes: Mapping[str, BoxPosition], settings: LocalisationSettings
) -> list[list[SoundEvent]]:
    """Events in their order, divided into what may have to do with each other.

    Args:
        events: in their order.
        boxes: by id.
        settings: what is assumed.
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
        return other.time_us - one.time_us <= ROUND_GAP_S * US_PER_SECOND
    return may_share_sound(one, other, boxes, settings)
