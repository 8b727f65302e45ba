"""Series for the tests of city computations, and the figures of an independent hand."""

from datetime import UTC, datetime

import numpy as np
from numpy.typing import ArrayLike

from app.environmental_indices.input_types import HourlySeries
from app.platform.kernel.array_types import FloatArray, IntArray
from app.platform.kernel.instants import HOUR_US


def us(text: str) -> int:
    """An instant in µs since the epoch, of `2025-06-01T10:00` in UTC."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1_000_000


def hours_from(start_us: int, count: int) -> IntArray:
    return start_us + HOUR_US * np.arange(count, dtype=np.int64)


def hourly(start_us: int, values: ArrayLike, coverage: ArrayLike = 100.0) -> HourlySeries:
    found = np.asarray(values, dtype=np.float64)
    return HourlySeries.of(hours_from(start_us, len(found)), found, coverage)


def constant(start_us: int, end_us: int, value: float) -> HourlySeries:
    """The same mean for every hour of a period."""
    return hourly(start_us, np.full((end_us - start_us) // HOUR_US, value))


def step_of(value: float) -> float:
    """The smallest step of what a column of four bytes holds near a value."""
    return float(np.nextafter(np.float32(value), np.float32(np.inf))) - float(np.float32(value))


def energy(levels: FloatArray) -> float:
    """The energy mean as the textbook writes it."""
    return float(10 * np.log10(np.mean(10 ** (levels / 10))))
