"""The cells in which places are shown: how wide they are in degrees. Pure.

The middle of a cell comes from the database, which keeps the place (`register_cell` of migration 0026, whose
arithmetic this repeats): here is only what a map needs to draw the cell.
"""

import math
from typing import Final

METRES_PER_DEGREE: Final = 111_320.0
"""Of a meridian."""
_LAST: Final = 88

type LinearRing = list[list[float]]
"""A closed line of [longitude, latitude], counter-clockwise as RFC 7946 has exterior rings."""


def compute_cell_size(latitude: float, metres: int) -> tuple[float, float]:
    """How wide and how high a cell is (degrees), around a latitude (degrees)."""
    high = metres / METRES_PER_DEGREE
    band = min(math.floor(abs(latitude)), _LAST) + 0.5
    return high / math.cos(math.radians(band)), high


def build_cell_ring(longitude: float, latitude: float, metres: int) -> LinearRing:
    """The border of the cell around its middle; it does not cross the antimeridian nor a pole."""
    wide, high = (step / 2 for step in compute_cell_size(latitude, metres))
    west, east = max(-180.0, longitude - wide), min(180.0, longitude + wide)
    south, north = max(-90.0, latitude - high), min(90.0, latitude + high)
    corners = [(west, south), (east, south), (east, north), (west, north), (west, south)]
    return [[round(x, 6), round(y, 6)] for x, y in corners]
