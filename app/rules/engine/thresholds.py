"""Compares a value with the limits of a condition. Pure.

A limit *raises* strictly beyond its threshold. Once raised, it *holds* until the value has returned to where
it clears. In the hysteresis band between the two nothing changes, so that alerts do not flap.
"""

import math
from dataclasses import dataclass
from typing import Literal, Protocol

type ConditionVerdict = tuple[bool | None, bool | None]
"""(raises, holds); None is unknown."""

UNKNOWN_VERDICT: ConditionVerdict = (None, None)


class ValueLimit(Protocol):
    """A comparison with one or two numbers in the unit of the metric."""

    @property
    def threshold(self) -> float | None:
        """The number that an alert names; None if it is unknown."""

    @property
    def clear(self) -> float | None:
        """The value that clears; None if it is unknown or not a single number."""

    def evaluate(self, value: float) -> ConditionVerdict:
        """Evaluate whether a value raises, and whether it still holds."""

    def prefilter_range(self) -> tuple[float, float]:
        """Return (low, high): a value strictly between the two never raises."""


@dataclass(frozen=True, slots=True)
class AboveLimit:
    """The operator `>` or, with `inclusive`, `>=`."""

    threshold: float | None
    clear: float | None
    inclusive: bool = False

    def evaluate(self, value: float) -> ConditionVerdict:
        """Raise above the threshold; clear at or below `clear`, unless the value raises."""
        if self.threshold is None or self.clear is None:
            return UNKNOWN_VERDICT
        raises = value > self.threshold or (self.inclusive and value == self.threshold)
        return raises, raises or value > self.clear

    def prefilter_range(self) -> tuple[float, float]:
        """No value below the threshold raises."""
        return -math.inf, math.inf if self.threshold is None else self.threshold


@dataclass(frozen=True, slots=True)
class BelowLimit:
    """The operator `<` or, with `inclusive`, `<=`."""

    threshold: float | None
    clear: float | None
    inclusive: bool = False

    def evaluate(self, value: float) -> ConditionVerdict:
        """Raise below the threshold; clear at or above `clear`, unless the value raises."""
        if self.threshold is None or self.clear is None:
            return UNKNOWN_VERDICT
        raises = value < self.threshold or (self.inclusive and value == self.threshold)
        return raises, raises or value < self.clear

    def prefilter_range(self) -> tuple[float, float]:
        """No value above the threshold raises."""
        return -math.inf if self.threshold is None else self.threshold, math.inf


@dataclass(frozen=True, slots=True)
class RangeLimit:
    """The operator `inside` or `outside` of a range. The bounds are inside."""

    side: Literal["inside", "outside"]
    low: float | None
    high: float | None
    margin: float = 0.0

    @property
    def threshold(self) -> float | None:
        """The upper bound, which alerts name."""
        return self.high

    @property
    def clear(self) -> float | None:
        """None: a range does not clear at a single number."""
        return None

    def evaluate(self, value: float) -> ConditionVerdict:
        """Clear `margin` within the range (`outside`), or more than `margin` away from it (`inside`)."""
        if self.low is None or self.high is None:
            return UNKNOWN_VERDICT
        within = self.low <= value <= self.high
        if self.side == "outside":
            well_within = self.low + self.margin <= value <= self.high - self.margin
            return not within, not (within and well_within)
        return within, self.low - self.margin <= value <= self.high + self.margin

    def prefilter_range(self) -> tuple[float, float]:
        """For `inside`, every value must be evaluated."""
        if self.low is None or self.high is None:
            return -math.inf, math.inf
        return (self.low, self.high) if self.side == "outside" else (math.inf, -math.inf)


def make_limit(operator: str, threshold: float | None, clear: float | None) -> ValueLimit:
    """Make the limit of an operator; `clear` defaults to the threshold.

    Raises:
        KeyError: the operator is unknown.
    """
    if operator not in {">", ">=", "<", "<="}:
        raise KeyError(operator)
    kind = AboveLimit if operator[0] == ">" else BelowLimit
    return kind(threshold, threshold if clear is None else clear, operator.endswith("="))
