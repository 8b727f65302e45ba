"""Where a sound of two boxes may have been: a branch of a hyperbola. Pure.

With the boxes at ±f on an axis and a difference of distances 2a it is x = a·cosh u, y = √(f² - a²)·sinh u;
the distances to its foci are f·cosh u ∓ a (any textbook of analytic geometry).
"""

import math
from typing import Final

import numpy as np

from app.acoustics.local_plane import TangentPlane
from app.acoustics.localisation_inputs import LocalisationProblem
from app.acoustics.localisation_results import HyperbolaBranch

_POINTS: Final = 41
_BEYOND: Final = 4.0
_NEARLY: Final = 0.9999


def compute_hyperbola_branch(problem: LocalisationProblem, frame: TangentPlane) -> HyperbolaBranch | None:
    """The branch of two arrivals, within hearing range of both boxes.

    Args:
        problem: two arrivals.
        frame: of its metres.

    Returns:
        None where no sound can have come to the boxes so far apart in time, or none within range.
    """
    conditions = problem.settings.conditions
    near, far = np.argsort(problem.times, kind="stable")
    axis = problem.places[near] - problem.places[far]
    apart = float(np.linalg.norm(axis))
    seconds = float(problem.times[far] - problem.times[near])
    difference = conditions.speed * seconds
    own = float(np.hypot(problem.sigmas[0], problem.sigmas[1])) * conditions.speed
    sigma = math.hypot(own, difference * conditions.slowness_sigma, seconds * conditions.wind_sigma_m_s)
    if apart <= 0 or difference > apart + _BEYOND * sigma:
        return None
    focus, half = apart / 2.0, min(difference, apart * _NEARLY) / 2.0
    widest = (problem.settings.range_m - half) / focus
    if widest < 1.0:
        return None
    along = axis / apart
    u = np.linspace(-math.acosh(widest), math.acosh(widest), _POINTS)
    x, y = half * np.cosh(u), math.sqrt(focus**2 - half**2) * np.sinh(u)
    middle = problem.places.mean(axis=0)
    east = middle[0] + along[0] * x - along[1] * y
    north = middle[1] + along[1] * x + along[0] * y
    points = (frame.to_degrees(float(e), float(n)) for e, n in zip(east, north, strict=True))
    return HyperbolaBranch(tuple(points), sigma)
