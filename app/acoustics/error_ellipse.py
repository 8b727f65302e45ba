"""The ellipse that holds 95 % of where a sound may have been, given all that its arrivals may mean. Pure.

Places are spread as points: around each explanation by its covariance, and, for each arrival that it uses,
away from it as far as that may be late without a misfit that shows (external reliability, Baarda 1968).
With three arrivals no misfit shows anything, and the ellipse is as wide as reflections make it. The
ellipse's shape is that of the points' second moment about the position told, its size the one that 95 % of
their weight lies in.
"""

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import fdtri

from app.acoustics.arrival_classification import ArrivalExplanations, compute_fault_costs
from app.acoustics.localisation_inputs import FloatArray, LocalisationProblem
from app.acoustics.localisation_results import CONFIDENCE

PLANE_DIMENSIONS: Final = 2
CHI2_QUANTILE: Final = -2.0 * math.log(1.0 - CONFIDENCE)
"""What χ² of two degrees of freedom does not exceed in 95 %."""

_POINTS: Final = 256
_FEW: Final = 48
_LEAST: Final = 1e-3
_STEPS: Final = 5
_GOLDEN: Final = math.pi * (3.0 - math.sqrt(5.0))


def _spiral(count: int) -> FloatArray:
    """Points of a normal distribution in the plane, evenly: Vogel's spiral, shape (count, 2)."""
    share = (np.arange(count) + 0.5) / count
    radius, turn = np.sqrt(-2.0 * np.log1p(-share)), np.arange(count) * _GOLDEN
    return np.column_stack([radius * np.cos(turn), radius * np.sin(turn)])


def sample_source_points(
    problem: LocalisationProblem, what: ArrivalExplanations, members: NDArray[np.intp], scale: float
) -> tuple[FloatArray, FloatArray]:
    """Points where the sound may have been, and their weights.

    Args:
        problem: the arrivals.
        what: they may mean.
        members: which of those to take, indices.
        scale: of the variances.
    """
    settings = problem.settings
    late, _ = compute_fault_costs(problem)
    longest = settings.latest_ms * 1e-3
    places, weights = [], []
    many, few = _spiral(_POINTS), _spiral(_FEW)
    steps = (np.arange(_STEPS) + 0.5) / _STEPS
    for at in members[what.weight[members] > _LEAST * what.weight[members].max()]:
        root = np.linalg.cholesky(what.worth.covariance[at, :2, :2] * scale)
        centre, used = what.theta[at, :2], what.used[at]
        seen = what.worth.seen[at]
        # A delay is put down to the errors as long as that costs less than a reflection does.
        hidden = np.where(seen > 0, np.sqrt(late) / np.maximum(seen, 1e-9), longest)
        hidden = np.where(used, np.minimum(hidden, longest), 0.0)
        chance = settings.late_share * hidden / longest
        places.append(centre + many @ root.T)
        weights.append(np.full(_POINTS, what.weight[at] * max(0.0, 1.0 - float(chance.sum())) / _POINTS))
        shifts = -what.worth.gain[at, :2][:, used].T[:, None] * (hidden[used, None] * steps)[..., None]
        points = centre + shifts[:, :, None] + few @ root.T
        share = chance[used, None, None] * what.weight[at] / (_STEPS * _FEW)
        places.append(points.reshape(-1, 2))
        weights.append(np.broadcast_to(share, points.shape[:3]).ravel())
    return np.concatenate(places), np.concatenate(weights)


def compute_ellipse_matrix(
    points: FloatArray, weights: FloatArray, middle: FloatArray, freedom: float
) -> FloatArray:
    """The matrix (m²) of the ellipse about a place that holds 95 % of points.

    Args:
        points: shape (m, 2).
        weights: of the points.
        middle: the position told.
        freedom: of the variance, which is an estimate: its tails are F's.
    """
    tails = PLANE_DIMENSIONS * float(fdtri(PLANE_DIMENSIONS, freedom, CONFIDENCE)) / CHI2_QUANTILE
    apart = points - middle
    inside = np.full(len(points), fill_value=True)
    for _ in range(2):
        # Of few points far out the shape is not made, once it is known how far out the ellipse goes.
        share = weights * inside
        moment = (apart * share[:, None]).T @ apart / share.sum()
        away = ((apart @ np.linalg.inv(moment)) * apart).sum(axis=1)
        order = np.argsort(away, kind="stable")
        total = np.cumsum(weights[order])
        bound = float(away[order][np.searchsorted(total, CONFIDENCE * total[-1])])
        inside = away <= bound
    return np.asarray(moment * bound * tails)
