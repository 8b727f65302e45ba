"""Defines the result of locating a sound: position, error ellipse, and a verdict per arrival. Pure."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from app.platform.kernel.array_types import FloatArray

type LocationEvidence = Literal["unlocated", "branch", "position"]
type ArrivalVerdict = Literal["used", "late", "early", "inconsistent"]

CONFIDENCE: Final = 0.95


@dataclass(frozen=True, slots=True)
class ErrorEllipse:
    """The ellipse that contains the source with a probability of 95 %.

    Attributes:
        semi_major_m: half the longer axis.
        semi_minor_m: half the shorter axis.
        orientation_deg: of the longer axis, clockwise from north, from 0 to below 180.
    """

    semi_major_m: float
    semi_minor_m: float
    orientation_deg: float

    @classmethod
    def of(cls, shape: FloatArray) -> "ErrorEllipse":
        """Make the ellipse of a matrix (m²): points inside have (x - middle)ᵀ·shape⁻¹·(x - middle) ≤ 1."""
        values, vectors = np.linalg.eigh(shape)
        east, north = vectors[:, 1]
        minor, major = np.sqrt(np.maximum(values, 0.0))
        return cls(float(major), float(minor), math.degrees(math.atan2(east, north)) % 180.0)

    def holds(self, east_m: float, north_m: float) -> bool:
        """Return whether a point at this distance from the centre is inside."""
        angle = math.radians(self.orientation_deg)
        along = east_m * math.sin(angle) + north_m * math.cos(angle)
        across = east_m * math.cos(angle) - north_m * math.sin(angle)
        return math.hypot(along / self.semi_major_m, across / self.semi_minor_m) <= 1.0


@dataclass(frozen=True, slots=True)
class SourcePosition:
    """The position and time of emission of a sound.

    Attributes:
        lon: degrees.
        lat: degrees.
        east_m: of the frame's origin.
        north_m: of the frame's origin.
        time_us: of emission, µs since 1970.
        time_sigma_ms: its standard error.
        covariance_m2: east-east, east-north, north-north, of the normal distribution with this ellipse.
        ellipse: the 95 % ellipse.
        chi2: of the used arrivals, temperature and wind.
        freedom: the number of used arrivals beyond three; with 0 the position is not tested.
        probability: of this explanation among all explanations of the arrivals.
    """

    lon: float
    lat: float
    east_m: float
    north_m: float
    time_us: int
    time_sigma_ms: float
    covariance_m2: tuple[float, float, float]
    ellipse: ErrorEllipse
    chi2: float
    freedom: int
    probability: float

    @property
    def verified(self) -> bool:
        """Whether more than three arrivals agree."""
        return self.freedom > 0


@dataclass(frozen=True, slots=True)
class HyperbolaBranch:
    """The branch of a hyperbola on which the source of a sound at two boxes lies.

    Attributes:
        line: longitude and latitude of its points within hearing range, as in a GeoJSON LineString.
        difference_sigma_m: standard error of the difference of the two distances.
    """

    line: tuple[tuple[float, float], ...]
    difference_sigma_m: float

    def geojson(self) -> Mapping[str, object]:
        """Convert to a GeoJSON geometry (RFC 7946)."""
        return {"type": "LineString", "coordinates": [list(point) for point in self.line]}


@dataclass(frozen=True, slots=True)
class ArrivalResidual:
    """The residual of an arrival, and its verdict.

    Attributes:
        box: the box.
        residual_ms: observed minus expected time; None without a position.
        verdict: `used`, or why it was not: `late` (a reflection), `early` (a false detection),
            `inconsistent`.
    """

    box: str
    residual_ms: float | None
    verdict: ArrivalVerdict


@dataclass(frozen=True, slots=True)
class LocalisationResult:
    """The location of a sound, as far as it is known.

    Attributes:
        evidence: `unlocated` (one box, or inconsistent arrivals), `branch` (two boxes) or `position`.
        residuals: of each arrival, in the order of times and boxes.
        position: the likeliest position.
        alternative: another position that explains the arrivals nearly as well. It is common with three
            boxes; the ellipse of `position` does not cover it.
        branch: the hyperbola branch of two boxes.
    """

    evidence: LocationEvidence
    residuals: tuple[ArrivalResidual, ...]
    position: SourcePosition | None = None
    alternative: SourcePosition | None = None
    branch: HyperbolaBranch | None = None

    @property
    def used(self) -> tuple[str, ...]:
        """The boxes with arrivals that determine the position."""
        return tuple(each.box for each in self.residuals if each.verdict == "used")
