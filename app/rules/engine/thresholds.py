"""What a value has to do to raise a condition, and what to clear it. Pure arithmetic on one number.

A limit has two sides: it *raises* strictly beyond its threshold, and it *holds*, once raised, until the value
has come back to where it clears. Between the two lies the band in which nothing changes: no flapping there.
"""

import math
from dataclasses import dataclass
from typing import Literal, Protocol

type ConditionVerdict = tuple[bool | None, bool | None]
"""(raises, holds): None where it is not known."""

UNKNOWN_VERDICT: ConditionVerdict = (None, None)


class ValueLimit(Protocol):
    """A comparison with a number, or two of them, in the metric's unit."""

    @property
    def threshold(self) -> float | None:
        """The number that an alert names; None where it is not known."""

    @property
    def clear(self) -> float | None:
        """What a value has to come back to; None where it is not known, or is not one number."""

    def evaluate(self, value: float) -> ConditionVerdict:
        """Tell of a value whether it raises, and whether it still holds what was raised."""

    def prefilter_range(self) -> tuple[float, float]:
        """(low, high): a value strictly between the two does not raise."""


@dataclass(frozen=True, slots=True)
class AboveLimit:
    """`>` and, with `inclusive`, `>=`."""

    threshold: float | None
    clear: float | None
    inclusive: bool = False

    def evaluate(self, value: float) -> ConditionVerdict:
        """Raises beyond the threshold; cleared at or below `clear`, unless the value raises."""
        if self.threshold is None or self.clear is None:
            return UNKNOWN_VERDICT
        raises = value > self.threshold or (self.inclusive and value == self.threshold)
        return raises, raises or value > self.clear

    def prefilter_range(self) -> tuple[float, float]:
        """Nothing below the threshold raises."""
        return -math.inf, math.inf if self.threshold is None else self.threshold


@dataclass(frozen=True, slots=True)
class BelowLimit:
    """`<` and, with `inclusive`, `<=`: the mirror image of Above."""

    threshold: float | None
    clear: float | None
    inclusive: bool = False

    def evaluate(self, value: float) -> ConditionVerdict:
        """Raises below the threshold; cleared at or above `clear`, unless the value raises."""
        if self.threshold is None or self.clear is None:
            return UNKNOWN_VERDICT
        raises = value < self.threshold or (self.inclusive and value == self.threshold)
        return raises, raises or value < self.clear

    def prefilter_range(self) -> tuple[float, float]:
        """Nothing above the threshold raises."""
        return -math.inf if self.threshold is None else self.threshold, math.inf


@dataclass(frozen=True, slots=True)
class RangeLimit:
    """`inside` or `outside` of a range, both bounds belonging to the inside."""

    side: Literal["inside", "outside"]
    low: float | None
    high: float | None
    margin: float = 0.0

    @property
    def threshold(self) -> float | None:
        """The bound that an alert names: the upper one."""
        return self.high

    @property
    def clear(self) -> float | None:
        """A range does not clear at one number."""
        return None

    def evaluate(self, value: float) -> ConditionVerdict:
        """Cleared `margin` within the range (`outside`), or more than `margin` away from it (`inside`)."""
        if self.low is None or self.high is None:
            return UNKNOWN_VERDICT
        within = self.low <= value <= self.high
        if self.side == "outside":
            well_within = self.low + self.margin <= value <= self.high - self.margin
            return not within, not (within and well_within)
        return within, self.low - self.margin <= value <= self.high + self.margin

    def prefilter_range(self) -> tuple[float, float]:
        """Of `inside` every value has to be looked at."""
        if self.low is None or self.high is None:
            return -math.inf, math.inf
        return (self.low, self.high) if self.side == "outside" else (math.inf, -math.inf)


def make_limit(operator: str, threshold: float | None, clear: float | None) -> ValueLimit:
    """Make the limit of an operator; a `clear` of None is the threshold.

    Raises:
        KeyError: no such operator.
    """
    if operator not in {">", ">=", "<", "<="}:
        raise KeyError(operator)
    kind = AboveLimit if operator[0] == ">" else BelowLimit
    return kind(threshold, threshold if clear is None else clear, operator.endswith("="))
