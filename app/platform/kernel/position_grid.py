"""Computes the cells of the fixed grid by which positions are shown less precisely than they are known. Pure.

The arithmetic is that of the SQL function `register_cell` (migration 0026, decision 0031).
"""

import math
from typing import Final

METRES_PER_DEGREE: Final = 111_320.0
"""Length of a degree of a meridian (m)."""
_LAST_BAND: Final = 88


def compute_cell_size(latitude: float, metres: int) -> tuple[float, float]:
    """Compute the width and height of a cell (degrees) at a latitude (degrees)."""
    high = metres / METRES_PER_DEGREE
    band = min(math.floor(abs(latitude)), _LAST_BAND) + 0.5
    return high / math.cos(math.radians(band)), high


def find_cell_centre(longitude: float, latitude: float, metres: int) -> tuple[float, float]:
    """Return the centre of the cell of a position: its longitude and latitude (degrees)."""
    wide, high = compute_cell_size(latitude, metres)
    x = min(math.floor((longitude + 180) / wide) * wide + wide / 2, 360.0) - 180
    y = min(math.floor((latitude + 90) / high) * high + high / 2, 180.0) - 90
    return round(x, 6), round(y, 6)
