"""Converts longitude and latitude to metres in a tangent plane around a place, and back. Pure.

The plane touches the WGS 84 ellipsoid at its origin; points are projected through geocentric coordinates
(EPSG Guidance Note 7-2, method 9837). That is exact: over 2 km the ground falls 0.3 m below the plane, and
lengths on the plane are short by 0.1 mm. The short form with two radii of curvature would err by
east·north·tan φ / R, 0.6 m there, which is as much as the errors of box positions.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

_A: Final = 6_378_137.0
_E2: Final = 6.694_379_990_141_33e-3
_ROUNDS: Final = 5


@dataclass(frozen=True, slots=True)
class TangentPlane:
    """A tangent plane at an origin.

    Attributes:
        lon: of the origin, degrees.
        lat: of the origin, degrees; not at a pole.
    """

    lon: float
    lat: float

    @classmethod
    def around(cls, places: Iterable[tuple[float, float]]) -> "TangentPlane":
        """Make the plane around the centre of some places (longitude, latitude in degrees).

        Places on both sides of the date line are supported.

        Raises:
            ValueError: there are none.
        """
        found = list(places)
        if not found:
            raise ValueError("a frame needs a place")
        first = found[0][0]
        lons = [(lon - first + 180.0) % 360.0 - 180.0 for lon, _ in found]
        lon = first + (min(lons) + max(lons)) / 2.0
        lats = [lat for _, lat in found]
        return cls((lon + 180.0) % 360.0 - 180.0, (min(lats) + max(lats)) / 2.0)

    def to_plane(self, lon: float, lat: float) -> tuple[float, float]:
        """Convert a place on the ellipsoid (degrees) to east and north of the origin (m)."""
        x, y, z = (point - origin for point, origin in zip(_xyz(lon, lat), self._origin, strict=True))
        sin_lon, cos_lon, sin_lat, cos_lat = self._rotation
        east = -sin_lon * x + cos_lon * y
        north = -sin_lat * cos_lon * x - sin_lat * sin_lon * y + cos_lat * z
        return east, north

    def to_degrees(self, east_m: float, north_m: float) -> tuple[float, float]:
        """Convert a point of the plane (m) to the longitude and latitude of the place below it (degrees).

        Newton's method with the radii of curvature as derivative: below 1 µm within 10 km.
        """
        meridian, parallel = self._radii
        lon, lat = self.lon, self.lat
        for _ in range(_ROUNDS):
            east, north = self.to_plane(lon, lat)
            lon += math.degrees((east_m - east) / parallel)
            lat += math.degrees((north_m - north) / meridian)
        return (lon + 180.0) % 360.0 - 180.0, lat

    @property
    def _origin(self) -> tuple[float, float, float]:
        return _xyz(self.lon, self.lat)

    @property
    def _rotation(self) -> tuple[float, float, float, float]:
        lon, lat = math.radians(self.lon), math.radians(self.lat)
        return math.sin(lon), math.cos(lon), math.sin(lat), math.cos(lat)

    @property
    def _radii(self) -> tuple[float, float]:
        """The metres per radian of latitude and of longitude at the origin."""
        sin, cos = math.sin(math.radians(self.lat)), math.cos(math.radians(self.lat))
        flat = 1.0 - _E2 * sin * sin
        return _A * (1.0 - _E2) / flat**1.5, _A / math.sqrt(flat) * cos


def _xyz(lon: float, lat: float) -> tuple[float, float, float]:
    """Compute the geocentric coordinates of a place on the ellipsoid (m)."""
    sin_lat, cos_lat = math.sin(math.radians(lat)), math.cos(math.radians(lat))
    sin_lon, cos_lon = math.sin(math.radians(lon)), math.cos(math.radians(lon))
    normal = _A / math.sqrt(1.0 - _E2 * sin_lat * sin_lat)
    return normal * cos_lat * cos_lon, normal * cos_lat * sin_lon, normal * (1.0 - _E2) * sin_lat
