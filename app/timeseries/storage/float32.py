"""Values as they are stored: a `real` keeps seven digits or so, and a rule must not see more than that.

Whoever judges a sample on its way in and whoever judges it again from the table come to the same end only if
both look at the same number. Pure.
"""

from typing import Final

import numpy as np

from app.catalogue.metrics import CATALOGUE

_REAL: Final = tuple(metric.storage == "real" for metric in CATALOGUE)
_SURE: Final = 1000.0


def round_to_float32(column: int, value: float) -> float:
    """The value that comes back when this one is stored: the shortest decimal of the nearest `real`.

    Args:
        column: the metric's index in COLUMNS.
        value: as decoded, or as read.
    """
    # Three digits before the point and three after it survive in any `real`, and that is what boxes send.
    if not _REAL[column] or (-_SURE < value < _SURE and round(value, 3) == value):
        return value
    return float(str(np.float32(value)))
