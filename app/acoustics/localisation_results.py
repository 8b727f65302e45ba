"""What a localisation says: evidence, place, ellipse, and what became of each arrival. Pure."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from app.acoustics.localisation_inputs import FloatArray

type LocationEvidence = Literal["unlocated", "branch", "position"]
type ArrivalVerdict = Literal["used", "late", "early", "inconsistent"]

CONFIDENCE: Final = 0.95


@dataclass(frozen=True, slots=True)
class ErrorEllipse:
    """Where the source is with a probability of 95 %.

    Attributes:
        semi_major_m: half the longer axis.
        semi_minor_m: half the shorter axis.
        orientation_deg: of the longer axis, clockwise from north, 0 to below 180.
    """

    semi_major_m: float
    semi_minor_m: float
    orientation_deg: float

    @classmethod
    def of(cls, shape: FloatArray) -> "ErrorEllipse":
        """From its matrix (m²): what is inside has (x - middle)ᵀ·shape⁻¹·(x - middle) ≤ 1."""
        values, vectors = np.linalg.eigh(shape)
        east, north = vectors[:, 1]
        minor, major = np.sqrt(np.maximum(values, 0.0))
        return cls(float(major), float(minor), math.degrees(math.atan2(east, north)) % 180.0)

    def holds(self, east_m: float, north_m: float) -> bool:
        """Whether a point so far from the middle is inside."""
        turn = math.radians(self.orientation_deg)
        along = east_m * math.sin(turn) + north_m * math.cos(turn)
        across = east_m * math.cos(turn) - north_m * math.sin(turn)
        return math.hypot(along / self.semi_major_m, across / self.semi_minor_m) <= 1.0


@dataclass(frozen=True, slots=True)
class SourcePosition:
    """Where and when a sound began.

    Attributes:
        lon: degrees.
        lat: degrees.
        east_m: of the frame's origin.
        north_m: of the frame's origin.
        time_us: of emission, µs since 1970.
        time_sigma_ms: its standard error.
        covariance_m2: east-east, east-north, north-north, of the normal distribution with that ellipse.
        ellipse: of 95 %.
        chi2: of the arrivals used, and of temperature and wind.
        freedom: arrivals used beyond three; with 0 nothing tests the position.
        probability: that its arrivals are the sound itself, among all that they may mean.
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
        """Whether more arrivals agree than any three would."""
        return self.freedom > 0


@dataclass(frozen=True, slots=True)
class HyperbolaBranch:
    """The branch of a hyperbola on which a sound of two boxes was.

    Attributes:
        line: longitude and latitude of its points, within hearing range; a GeoJSON LineString's coordinates.
        difference_sigma_m: standard error of the difference of the two distances.
    """

    line: tuple[tuple[float, float], ...]
    difference_sigma_m: float

    def geojson(self) -> Mapping[str, object]:
        """As a geometry of GeoJSON (RFC 7946)."""
        return {"type": "LineString", "coordinates": [list(point) for point in self.line]}


@dataclass(frozen=True, slots=True)
class ArrivalResidual:
    """What became of an arrival.

    Attributes:
        box: whose.
        residual_ms: heard minus expected from the position; None where there is none.
        verdict: `used`, or why not: `late` (a reflection), `early` (a false detection), `inconsistent`.
    """

    box: str
    residual_ms: float | None
    verdict: ArrivalVerdict


@dataclass(frozen=True, slots=True)
class LocalisationResult:
    """What is known of where a sound was.

    Attributes:
        evidence: `unlocated` (one box, or arrivals that are not of one sound), `branch` (two), `position`.
        residuals: of each arrival, in the order of times and boxes.
        position: the likeliest.
        alternative: another one that explains the arrivals nearly as well: with three boxes there often is
            one, and the ellipse of the first does not cover it.
        branch: of two boxes.
    """

    evidence: LocationEvidence
    residuals: tuple[ArrivalResidual, ...]
    position: SourcePosition | None = None
    alternative: SourcePosition | None = None
    branch: HyperbolaBranch | None = None

    @property
    def used(self) -> tuple[str, ...]:
        """The boxes whose arrivals tell the place."""
        return tuple(each.box for each in self.residuals if each.verdict == "used")
