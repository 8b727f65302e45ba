"""How sure a share of few things is. Pure.

Wilson's score interval (E. B. Wilson, J. Am. Stat. Assoc. 22(158), 1927; recommended for few observations by
Brown, Cai and DasGupta, Statistical Science 16(2), 2001).
"""

import math
from typing import Final

_Z: Final = 1.959963984540054


def compute_wilson_interval(successes: int, trials: int, z: float = _Z) -> tuple[float, float] | None:
    """Wilson's score interval of a share; None where there was nothing to see.

    Args:
        successes: how many were.
        trials: of how many.
        z: quantile of the normal distribution; the default is of 95 %.
    """
    if not trials:
        return None
    share = successes / trials
    middle = share + z * z / (2 * trials)
    half = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    scale = 1 + z * z / trials
    # At the ends rounding would leave 0 and 1 by a hair.
    low = 0.0 if successes == 0 else (middle - half) / scale
    high = 1.0 if successes == trials else (middle + half) / scale
    return low, high
