"""Classes of a number: bounds, and to which side a bound belongs. Pure data and one look-up."""

from dataclasses import dataclass
from typing import Literal

from app.indicators.index_results import IndexBand

# A mean of 15.0s may come out as 15.000000000000002: noise of the sum, not another class.
_DIGITS = 9
type BoundSide = Literal["lower", "upper"]


@dataclass(frozen=True, slots=True)
class BandScale:
    """Bands from the lowest values to the highest, and the bounds between them.

    Attributes:
        bands: one more than bounds.
        bounds: ascending.
        sides: for each bound the band that it belongs to: the `lower` or the `upper` one.
    """

    bands: tuple[IndexBand, ...]
    bounds: tuple[float, ...]
    sides: tuple[BoundSide, ...]

    @classmethod
    def of(cls, bands: tuple[IndexBand, ...], *bounds: float, side: BoundSide = "lower") -> "BandScale":
        """Make a scale whose bounds all belong to the same side."""
        return cls(bands, bounds, (side,) * len(bounds))

    def __post_init__(self) -> None:
        if len(self.bands) != len(self.bounds) + 1 or len(self.sides) != len(self.bounds):
            raise ValueError("a scale has one band more than bounds, and a side for each bound")
        if list(self.bounds) != sorted(set(self.bounds)):
            raise ValueError("the bounds of a scale ascend")

    def level(self, value: float) -> int:
        """The number of the value's band, from 1."""
        rounded = round(value, _DIGITS)
        return 1 + sum(
            rounded > bound or (rounded == bound and side == "upper")
            for bound, side in zip(self.bounds, self.sides, strict=True)
        )

    def band(self, value: float) -> IndexBand:
        """The value's band."""
        return self.bands[self.level(value) - 1]


def exceeds_limit(value: float, limit: float) -> bool:
    """Whether a value is above a limit, beyond the noise of a sum."""
    return round(value, _DIGITS) > round(limit, _DIGITS)
