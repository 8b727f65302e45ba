"""The arithmetic of corrections: what was measured, as a client's definitions have it. Pure.

Owns the formulas. Nothing is stored: a correction that is defined, ended or removed later holds at once for
all samples of its time, and what was measured stays as it was.

Of a sample's corrections that of humidity comes first, then the linear one: a comparison with a reference is
made of values that are dry already.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal
from uuid import UUID

import numpy as np

from app.platform.kernel.instants import US_PER_S
from app.timeseries.rollups.rollup_columns import Floats, Ints

type FormulaKind = Literal["linear", "humidity"]

CORRECTION_ORDER: Final[tuple[FormulaKind, ...]] = ("humidity", "linear")
"""In which order they are applied."""
MAX_HUMIDITY_DISTANCE_US: Final = 600 * US_PER_S
"""So far in time a sample may be from the humidity that it is corrected with."""
HIGHEST_RH: Final = 95.0
"""Humidity counts as this where it is higher (%): at 100 % particles would be water alone."""
# Water's density to that of the dry particles (g/cm³).
_DENSITY: Final = 1.65
OPTICAL_METRICS: Final = frozenset({"pm1", "pm2_5", "pm4", "pm10"})
"""Metrics that may be measured by light scattered at particles, which grow in moist air."""


@dataclass(frozen=True, slots=True)
class CorrectionDefinition:
    """A correction, in force from `first_us` on, before `last_us`.

    Attributes:
        id: which it is.
        kind: which formula.
        first_us: µs since the epoch.
        last_us: the same; None: it has no end yet.
        gain, offset: of a linear one; the offset in the metric's unit.
        kappa: of one for humidity: how hygroscopic the particles are.
    """

    id: UUID
    kind: FormulaKind
    first_us: int
    last_us: int | None
    gain: float = 1.0
    offset: float = 0.0
    kappa: float = 0.0

    def holds(self, times: Ints) -> slice:
        """The places among ascending times at which it is in force."""
        begin = int(np.searchsorted(times, self.first_us))
        return slice(begin, None if self.last_us is None else int(np.searchsorted(times, self.last_us)))


def apply_corrections(
    times: Ints, values: Floats, humidity: Floats, definitions: Sequence[CorrectionDefinition]
) -> Floats:
    """Apply corrections to samples.

    Args:
        times: ascending (µs since the epoch).
        values: what was measured.
        humidity: relative humidity for each (%), NaN where none is known.
        definitions: no two of one kind at the same time.

    Returns:
        What was measured where none is in force; NaN where one needs a humidity that is not known.
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


def compute_growth_factor(humidity: Floats, kappa: float) -> Floats:
    """How much heavier particles look in moist air than dry: κ-Köhler theory, of their bulk.

    C = 1 + (κ / 1.65) / (1/aw - 1), where aw is the relative humidity as a share (`HIGHEST_RH` at most), and
    1.65 g/cm³ the density of dry particles.

    Source: Crilley et al., "Evaluation of a low-cost optical particle counter (Alphasense OPC-N2) for ambient
    air monitoring", Atmospheric Measurement Techniques 11 (2018), 709-720, doi:10.5194/amt-11-709-2018; after
    Petters and Kreidenweis, Atmospheric Chemistry and Physics 7 (2007), 1961-1971.
    """
    activity = np.minimum(humidity, HIGHEST_RH) / 100.0
    # The same as divided by (1/aw - 1), and defined at 0 too.
    factor: Floats = 1.0 + kappa / _DENSITY * activity / (1.0 - activity)
    return factor


def find_nearest_values(
    times: Ints, known: Ints, values: Floats, within_us: int = MAX_HUMIDITY_DISTANCE_US
) -> Floats:
    """For each time the value that is known nearest to it, of two equally near the earlier one.

    Args:
        times: ascending.
        known: ascending: when the values were measured.
        values: none of them NaN.
        within_us: the farthest that counts.

    Returns:
        NaN where none is near enough.
    """
    if not len(known):
        return np.full(len(times), np.nan)
    after = np.searchsorted(known, times)
    before = np.maximum(after - 1, 0)
    after = np.minimum(after, len(known) - 1)
    to_before, to_after = np.abs(times - known[before]), np.abs(known[after] - times)
    best = np.where(to_before <= to_after, before, after)
    return np.where(np.minimum(to_before, to_after) <= within_us, values[best], np.nan)
