"""Draws repeatable random numbers: each depends only on its key and position, not on earlier draws.

With the same seed a simulated box measures the same value at the same instant on each run. A restarted
simulator continues without stored state.
"""

import hashlib
import math
from typing import Final

_MASK: Final = (1 << 64) - 1
_GOLDEN: Final = 0x9E37_79B9_7F4A_7C15


def derive_key(*parts: object) -> int:
    """Hash the parts' texts to a 64-bit key."""
    text = "\x1f".join(map(str, parts)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest())


def draw_uniform(key: int, position: int = 0) -> float:
    """Draw a uniformly distributed number from 0 (included) to 1 (excluded), by SplitMix64's mixing."""
    mixed = (key + position * _GOLDEN) & _MASK
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58_476D_1CE4_E5B9) & _MASK
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D0_49BB_1331_11EB) & _MASK
    return ((mixed ^ (mixed >> 31)) >> 11) / (1 << 53)


def draw_drift(key: int, at_s: float, period_s: float) -> float:
    """Draw from a smooth random curve between -1 and 1 that changes on a scale of `period_s` seconds."""
    place = at_s / period_s
    left = math.floor(place)
    part = place - left
    part = part * part * (3 - 2 * part)
    low, high = draw_uniform(key, left), draw_uniform(key, left + 1)
    return 2 * (low + (high - low) * part) - 1
