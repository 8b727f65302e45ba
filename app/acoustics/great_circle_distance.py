"""Computes distances on the Earth, taken as a sphere. Pure."""

import math
from typing import Final

EARTH_RADIUS_M: Final = 6_371_009.0
"""The mean radius of the WGS 84 ellipsoid."""


def compute_distance_m(latitude: float, longitude: float, to_latitude: float, to_longitude: float) -> float:
    """Compute the great-circle distance of two positions by the haversine formula.

    Args:
        latitude: Of the first position, degrees.
        longitude: Of the first position, degrees.
        to_latitude: Of the second position, degrees.
        to_longitude: Of the second position, degrees.

    Returns:
        The distance, m.
    """
    start, end = math.radians(latitude), math.radians(to_latitude)
    haversine = (
        math.sin((end - start) / 2) ** 2
        + math.cos(start) * math.cos(end) * math.sin(math.radians(to_longitude - longitude) / 2) ** 2
    )
    return 2.0 * EARTH_RADIUS_M * math.asin(math.sqrt(min(1.0, haversine)))
