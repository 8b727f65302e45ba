"""Defines the binary rows between PostgreSQL, the API process and the one that writes Parquet or Arrow. Pure.

They are as COPY writes them: the number of fields, then each field with its length before it, all big-endian.
No field is NULL, so all rows have the same length, and NumPy finds the values of a column without a loop.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

EPOCH_US: Final = 946_684_800_000_000
"""The epoch of PostgreSQL's timestamps, 2000-01-01 (µs since 1970)."""

_COUNT_BYTES: Final = 2
_LENGTH_BYTES: Final = 4


def build_row_type(doubles: Sequence[bool]) -> np.dtype[Any]:
    """Build the type of a row: `box` (its number in the slice), `time`, and each column by its number.

    Args:
        doubles: of each column, whether its values have eight bytes, otherwise four.
    """
    fields = {"box": ">i4", "time": ">i8"}
    fields |= {str(number): ">f8" if double else ">f4" for number, double in enumerate(doubles)}
    offsets, end = [], _COUNT_BYTES
    for field in fields.values():
        offsets.append(end + _LENGTH_BYTES)
        end = offsets[-1] + int(field[-1])
    names, formats = list(fields), list(fields.values())
    return np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": end})


def decode_rows(data: memoryview, doubles: Sequence[bool]) -> NDArray[Any]:
    """View bytes as rows, without the end that COPY writes after the last row."""
    row = build_row_type(doubles)
    return np.frombuffer(data, row, len(data) // row.itemsize)
