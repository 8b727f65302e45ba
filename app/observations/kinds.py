"""Which metrics a sample has, as a number: few kinds of samples come again and again.

Pure. Owns the numbers, which hold as long as the object does.
"""

import numpy as np
from numpy.typing import NDArray

from app.observations.block import SampleBlock


class Kinds:
    """Numbers for sets of metrics."""

    def __init__(self) -> None:
        self._numbers: dict[frozenset[int], int] = {}
        self._sets: list[frozenset[int]] = []

    def of(self, block: SampleBlock) -> tuple[NDArray[np.int64], set[int]]:
        """The kind of each sample of a block, and all that there are."""
        absent = np.isnan(block.matrix)
        if not absent.any():
            number = self._number(frozenset(block.used))
            return np.full(len(block), number, np.int64), {number}
        found, inverse = np.unique(absent, axis=0, return_inverse=True)
        numbers = np.array(
            [
                self._number(
                    frozenset(column for column, gone in zip(block.used, row, strict=True) if not gone)
                )
                for row in found.tolist()
            ],
            np.int64,
        )
        return numbers[inverse], set(numbers.tolist())

    def _number(self, columns: frozenset[int]) -> int:
        number = self._numbers.setdefault(columns, len(self._sets))
        if number == len(self._sets):
            self._sets.append(columns)
        return number

    def covers(self, later: int, earlier: int) -> bool:
        """Tell whether a sample of the later kind has every metric of the earlier one."""
        return self._sets[earlier] <= self._sets[later]
