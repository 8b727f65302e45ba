"""Computes starting positions for locating a sound, from three arrivals each and from a grid. Pure.

Three arrivals at (p, t) with the reference 1 give, with r the distance to box 1, q = p - p1, τ = t - t1:
q·x = (|q|² - c²τ²)/2 - cτ·r, which is linear in x, and |x| = r, which makes it a quadratic in r (Schau and
Robinson, IEEE Trans. ASSP 35(8), 1987; Fang, IEEE Trans. AES 26(5), 1990). It has up to two solutions that
preserve the order of arrivals. If noise leaves none, the apex of the parabola is the nearest approximation.
"""

from itertools import combinations
from typing import Final

import numpy as np
from numpy.typing import NDArray

from app.acoustics.localisation_inputs import LocalisationProblem
from app.platform.kernel.array_types import FloatArray

MOST_IN_TRIPLES: Final = 12
"""The number of arrivals in triples: 12 arrivals have 220 triples."""

_GRID: Final = 24
_GRID_SEEDS: Final = 12
_LEAST_AREA: Final = 1e-3
_THREE: Final = 3


def list_triples(count: int) -> NDArray[np.intp]:
    """List all triples of `count` items, shape (k, 3)."""
    return np.array(list(combinations(range(count), _THREE)), dtype=np.intp).reshape(-1, _THREE)


def solve_triples(places: FloatArray, times: FloatArray, speed: float) -> FloatArray:
    """Solve triples of arrivals in the plane.

    Args:
        places: of three boxes each, metres, shape (k, 3, 2).
        times: of their arrivals, s, shape (k, 3).
        speed: of sound, m/s.

    Returns:
        East, north, time of emission, shape (m, 3), m up to 2·k; triples on a line have none.
    """
    q = places[:, 1:] - places[:, :1]
    lag = speed * (times[:, 1:] - times[:, :1])
    area = q[:, 0, 0] * q[:, 1, 1] - q[:, 0, 1] * q[:, 1, 0]
    scale = np.einsum("kij,kij->k", q, q)
    sound = np.abs(area) > _LEAST_AREA * scale
    q, lag, origin, start = q[sound], lag[sound], places[sound, 0], times[sound, 0]
    right = (np.einsum("kij,kij->ki", q, q) - lag**2) / 2.0
    u = np.linalg.solve(q, right[..., None])[..., 0]
    v = np.linalg.solve(q, -lag[..., None])[..., 0]
    a = np.einsum("ki,ki->k", v, v) - 1.0
    b = np.einsum("ki,ki->k", u, v)
    c = np.einsum("ki,ki->k", u, u)
    root = np.sqrt(np.maximum(b * b - a * c, 0.0))
    found = []
    for sign in (-1.0, 1.0):
        with np.errstate(divide="ignore", invalid="ignore"):
            # This form is numerically stable for a small a, where the curve is nearly a parabola.
            first = np.where(b >= 0, -(b + root), -(b - root))
            rho = first / a if sign < 0 else c / first
        good = np.isfinite(rho) & (rho >= 0.0) & np.all(rho[:, None] + lag >= 0.0, axis=1)
        place = origin[good] + u[good] + v[good] * rho[good, None]
        found.append(np.column_stack([place, start[good] - rho[good] / speed]))
    return np.concatenate(found)


def make_triple_seeds(problem: LocalisationProblem) -> FloatArray:
    """Compute the closed solutions of all triples of the earliest arrivals, shape (m, 3)."""
    first = np.argsort(problem.times, kind="stable")[:MOST_IN_TRIPLES]
    which = first[list_triples(len(first))]
    return solve_triples(problem.places[which], problem.times[which], problem.settings.conditions.speed)


def make_grid_seeds(problem: LocalisationProblem) -> FloatArray:
    """Find the positions of a coarse grid that explain the arrivals best, shape (12, 3).

    The grid extends beyond the boxes by their own extent on each side. The time of emission is the median
    over the arrivals, and the cost is the sum of absolute misfits: so a few wrong arrivals have little
    weight.
    """
    speed = problem.settings.conditions.speed
    low, high = problem.places.min(axis=0), problem.places.max(axis=0)
    margin = max(float((high - low).max()), 100.0)
    east, north = (np.linspace(low[axis] - margin, high[axis] + margin, _GRID) for axis in (0, 1))
    nodes = np.stack(np.meshgrid(east, north, indexing="ij"), axis=-1).reshape(-1, 2)
    emitted = problem.times - np.linalg.norm(nodes[:, None] - problem.places, axis=-1) / speed
    start = np.median(emitted, axis=1)
    cost = np.abs(emitted - start[:, None]).sum(axis=1)
    best = np.argsort(cost, kind="stable")[:_GRID_SEEDS]
    return np.column_stack([nodes[best], start[best]])
