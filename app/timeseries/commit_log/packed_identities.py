"""Packs the boxes and times of a commit into few bytes, and unpacks them. Pure.

A commit of a live fleet has 700 samples of nearly as many boxes within seconds. Sorted by box, keys differ by
little, and times are whole milliseconds or seconds. Packed, a row of the log fits into a page of the table;
as plain arrays it went to a side table, which took PostgreSQL twice as long.

Keys: a byte with the width, then unsigned differences of that width; width 0: int32 as they are.
Times: a byte with the width, the lowest time and the unit (int64, µs), then unsigned multiples of the unit.
All are little-endian.
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

_WIDTHS: Final = (1, 2, 4, 8)
_UNITS_US: Final = (1_000_000, 1_000, 1)
_TIME_HEAD: Final = np.dtype([("width", "u1"), ("base", "<i8"), ("unit", "<i8")])


def _find_width(highest: int) -> int:
    return next(width for width in _WIDTHS if highest < 1 << 8 * width)


def pack_keys(keys: NDArray[np.int32]) -> bytes:
    """Pack keys of boxes, of which there is at least one."""
    steps = np.diff(keys.astype(np.int64), prepend=0)
    if int(steps.min()) < 0:
        return b"\0" + keys.astype("<i4", copy=False).tobytes()
    width = _find_width(int(steps.max()))
    return bytes((width,)) + steps.astype(f"<u{width}").tobytes()


def unpack_keys(packed: bytes) -> NDArray[np.int32]:
    """Unpack keys of boxes."""
    width = packed[0]
    if not width:
        return np.frombuffer(packed, "<i4", offset=1).astype(np.int32, copy=False)
    steps: NDArray[Any] = np.frombuffer(packed, f"<u{width}", offset=1)
    return np.cumsum(steps, dtype=np.int64).astype(np.int32)


def pack_times(times_us: NDArray[np.int64]) -> bytes:
    """Pack times (µs since the epoch), of which there is at least one."""
    base = int(times_us.min())
    offsets = times_us - base
    unit = next(unit for unit in _UNITS_US if unit == 1 or not (offsets % unit).any())
    multiples = offsets // unit
    width = _find_width(int(multiples.max()))
    head = np.array([(width, base, unit)], _TIME_HEAD)
    return head.tobytes() + multiples.astype(f"<u{width}").tobytes()


def unpack_times(packed: bytes) -> NDArray[np.int64]:
    """Unpack times (µs since the epoch)."""
    (head,) = np.frombuffer(packed, _TIME_HEAD, count=1)
    multiples: NDArray[Any] = np.frombuffer(packed, f"<u{head['width']}", offset=_TIME_HEAD.itemsize)
    found: NDArray[np.int64] = multiples.astype(np.int64) * head["unit"] + head["base"]
    return found
