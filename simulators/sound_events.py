"""Invents events of an acoustic box: gunshots and similar sounds, with candidates. Pure.

The confidences are invented and do not describe a real detector.
"""

import random
from collections.abc import Mapping, Sequence
from typing import Any, Final

from app.platform.kernel.instants import format_us

EventPayload = dict[str, Any]

# Per class: share of events, sound level at the box (dB, lowest and highest), and classes it is mistaken for.
_SOURCES: Final[Mapping[str, tuple[float, tuple[float, float], Sequence[str]]]] = {
    "pistol": (0.3, (108.0, 128.0), ("rifle", "firework", "vehicle_backfire")),
    "rifle": (0.1, (115.0, 138.0), ("pistol", "firework")),
    "firework": (0.3, (100.0, 126.0), ("pistol", "vehicle_backfire")),
    "vehicle_backfire": (0.2, (95.0, 115.0), ("pistol", "firework", "door_slam")),
    "door_slam": (0.1, (85.0, 102.0), ("vehicle_backfire", "pistol")),
}
_MODELS: Final[Mapping[str, Sequence[str]]] = {
    "pistol": ("glock-17", "beretta-92", "sig-p226"),
    "rifle": ("ak-47", "ar-15"),
}
GUN_CLASSES: Final = frozenset(_MODELS)
"""The classes that are gunshots; the others only sound like them."""
SOUND_CLASSES: Final = tuple(_SOURCES)
"""All classes of sounds that can be simulated."""


def make_sound_event(
    chance: random.Random, seq: int, time_us: int, source: str | None = None
) -> EventPayload:
    """Invent one event.

    Args:
        chance: The random generator; the same state gives the same event.
        seq: The box's sequence number.
        time_us: When it was heard (µs since 1970).
        source: The class of the sound; None for a random one.

    Returns:
        The payload. Candidates are in descending order of confidence, with a sum of at most 1. The first one
        is sometimes wrong, as a detector is.
    """
    names = list(_SOURCES)
    truth = source or chance.choices(names, [share for share, _, _ in _SOURCES.values()])[0]
    _, (low, high), alike = _SOURCES[truth]
    sure = chance.betavariate(6, 2)
    candidates = [_candidate(chance, truth, sure)]
    rest = (1 - sure) * 0.95
    for name in alike:
        part = rest * chance.uniform(0.3, 0.8)
        rest -= part
        candidates.append(_candidate(chance, name, part))
    candidates.sort(key=lambda candidate: -float(candidate["confidence"]))
    return {
        "seq": seq,
        "time": format_us(time_us),
        "type": "gunshot" if candidates[0]["class"] in GUN_CLASSES else "impulse",
        "candidates": candidates,
        "level_db": round(chance.uniform(low, high), 1),
        "clock_error_ms": round(abs(chance.gauss(0.0, 0.8)), 2),
    }


def _candidate(chance: random.Random, name: str, confidence: float) -> EventPayload:
    candidate: EventPayload = {"class": name}
    if name in _MODELS:
        candidate["model"] = chance.choice(_MODELS[name])
    candidate["confidence"] = round(confidence, 2)
    return candidate


def describe_event(event: EventPayload) -> str:
    """Describe an event in one line."""
    first = event["candidates"][0]
    name = "/".join(str(first[key]) for key in ("class", "model") if key in first)
    return f"{event['type']} at {event['time']}: {name} {first['confidence']:.0%}, {event['level_db']} dB"
