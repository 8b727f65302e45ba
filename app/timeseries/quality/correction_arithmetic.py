"""Computes corrected values from a client's correction definitions. Pure.

Nothing is stored. A correction that is defined, ended or removed later takes effect immediately for all
samples of its period, and measured values never change.

The humidity correction is applied before the linear one, because a comparison with a reference instrument
uses dry values.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal
from uuid import UUID

import numpy as np

from app.platform.kernel.array_types import FloatArray, IntArray
from app.platform.kernel.instants import US_PER_S

type FormulaKind = Literal["linear", "humidity"]

CORRECTION_ORDER: Final[tuple[FormulaKind, ...]] = ("humidity", "linear")
"""The order in which corrections are applied."""
MAX_HUMIDITY_DISTANCE_US: Final = 600 * US_PER_S
"""The longest time between a sample and the humidity value that corrects it."""
HIGHEST_RH: Final = 95.0
"""Higher humidity is clipped to this (%): the formula diverges at 100 %."""
# The density of dry particles relative to water.
_DENSITY: Final = 1.65
OPTICAL_METRICS: Final = frozenset({"pm1", "pm2_5", "pm4", "pm10"})
"""Metrics of optical particle counters, whose particles grow in moist air."""


@dataclass(frozen=True, slots=True)
class CorrectionDefinition:
    """A correction that is in force from `first_us` on, before `last_us`.

    Attributes:
        id: the correction.
        kind: the formula.
        first_us: start (µs since the epoch), inclusive.
        last_us: end, exclusive; None: without end.
        gain, offset: for `linear`; the offset in the metric's unit.
        kappa: for `humidity`: the hygroscopicity of the particles.
    """

    id: UUID
    kind: FormulaKind
    first_us: int
    last_us: int | None
    gain: float = 1.0
    offset: float = 0.0
    kappa: float = 0.0

    def holds(self, times: IntArray) -> slice:
        """Return the slice of ascending times at which it is in force."""
        begin = int(np.searchsorted(times, self.first_us))
        return slice(begin, None if self.last_us is None else int(np.searchsorted(times, self.last_us)))


def apply_corrections(
    times: IntArray, values: FloatArray, humidity: FloatArray, definitions: Sequence[CorrectionDefinition]
) -> FloatArray:
    """Apply corrections to samples.

    Args:
        times: ascending (µs since the epoch).
        values: the measured values.
        humidity: relative humidity for each (%), NaN if unknown.
        definitions: no two of one kind at the same time.

    Returns:
        The measured value if no correction is in force; NaN if one needs a humidity that is unknown.
    """
    corrected = values.astype(np.float64, copy=True)
    for kind in CORRECTION_ORDER:
        for each in definitions:
            if each.kind == kind:
                place = each.holds(times)
                if kind == "humidity":
                    corrected[place] /= compute_growth_factor(humidity[place], each.kappa)
                else:
                    corrected[place] = each.gain * corrected[place] + each.offset
    return corrected


def compute_growth_factor(humidity: FloatArray, kappa: float) -> FloatArray:
    """Compute the growth factor of particles in moist air by κ-Köhler theory.

    C = 1 + (κ / 1.65) / (1/aw - 1), where aw is the relative humidity as a fraction (`HIGHEST_RH` at most),
    and 1.65 g/cm³ the density of dry particles.

    Source: Crilley et al., "Evaluation of a low-cost optical particle counter (Alphasense OPC-N2) for ambient
    air monitoring", Atmospheric Measurement Techniques 11 (2018), 709-720, doi:10.5194/amt-11-709-2018; after
    Petters and Kreidenweis, Atmospheric Chemistry and Physics 7 (2007), 1961-1971.
    """
    activity = np.minimum(humidity, HIGHEST_RH) / 100.0
    # Equals κ / 1.65 / (1/aw - 1), and is defined at 0 too.
    factor: FloatArray = 1.0 + kappa / _DENSITY * activity / (1.0 - activity)
    return factor


def find_nearest_values(
    times: IntArray, known: IntArray, values: FloatArray, within_us: int = MAX_HUMIDITY_DISTANCE_US
) -> FloatArray:
    """Find for each time the value measured nearest to it; the earlier one of two equally near.

    Args:
        times: ascending (µs since the epoch).
        known: when the values were measured, ascending (µs since the epoch).
        values: none of them NaN.
        within_us: the longest accepted distance (µs).

    Returns:
        NaN if no value is near enough.
    """
    if not len(known):
        return np.full(len(times), np.nan)
    after = np.searchsorted(known, times)
    before = np.maximum(after - 1, 0)
    after = np.minimum(after, len(known) - 1)
    to_before, to_after = np.abs(times - known[before]), np.abs(known[after] - times)
    best = np.where(to_before <= to_after, before, after)
    return np.where(np.minimum(to_before, to_after) <= within_us, values[best], np.nan)
