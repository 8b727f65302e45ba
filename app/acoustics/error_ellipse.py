"""Computes the 95 % error ellipse of a sound's position. Pure.

It covers all plausible explanations of the arrivals: direct, reflected or false.

Possible positions are spread as points. They lie around each explanation by its covariance. For each arrival
that it uses, further points lie as far away as an undetected delay would shift the position (external
reliability, Baarda 1968). With three arrivals no misfit can show a delay, and the ellipse is as wide as
reflections make it. Its shape is the second moment of the points about the estimated position, its size the
one that contains 95 % of their weight.
"""

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import fdtri

from app.acoustics.arrival_explanations import ArrivalExplanations, compute_fault_costs
from app.acoustics.localisation_inputs import LocalisationProblem
from app.acoustics.localisation_results import CONFIDENCE
from app.platform.kernel.array_types import FloatArray

PLANE_DIMENSIONS: Final = 2
CHI2_QUANTILE: Final = -2.0 * math.log(1.0 - CONFIDENCE)
"""The 95 % quantile of χ² with two degrees of freedom."""

_POINTS: Final = 256
_FEW: Final = 48
_LEAST: Final = 1e-3
_STEPS: Final = 5
_GOLDEN: Final = math.pi * (3.0 - math.sqrt(5.0))


def _spiral(count: int) -> FloatArray:
    """Spread points by a normal distribution in the plane along Vogel's spiral, shape (count, 2)."""
    share = (np.arange(count) + 0.5) / count
    radius, angle = np.sqrt(-2.0 * np.log1p(-share)), np.arange(count) * _GOLDEN
    return np.column_stack([radius * np.cos(angle), radius * np.sin(angle)])


def sample_source_points(
    problem: LocalisationProblem, explanations: ArrivalExplanations, members: NDArray[np.intp], scale: float
) -> tuple[FloatArray, FloatArray]:
    """Sample possible positions of the source, with their weights.

    Args:
        problem: the arrivals.
        explanations: the explanations of the arrivals.
        members: the indices of the explanations to sample.
        scale: the factor of the variances.

    Returns:
        Points (m), shape (m, 2), and weights, shape (m,).
    """
    settings = problem.settings
    theta, worth = explanations.theta, explanations.worth
    late, _ = compute_fault_costs(problem)
    longest = settings.latest_ms * 1e-3
    places, weights = [], []
    many, few = _spiral(_POINTS), _spiral(_FEW)
    steps = (np.arange(_STEPS) + 0.5) / _STEPS
    for at in members[explanations.weight[members] > _LEAST * explanations.weight[members].max()]:
        root = np.linalg.cholesky(worth.covariance[at, :2, :2] * scale)
        centre, used = theta[at, :2], explanations.used[at]
        seen = worth.seen[at]
        # A delay stays undetected as long as a misfit costs less than a reflection.
        hidden = np.where(seen > 0, np.sqrt(late) / np.maximum(seen, 1e-9), longest)
        hidden = np.where(used, np.minimum(hidden, longest), 0.0)
        chance = settings.late_share * hidden / longest
        places.append(centre + many @ root.T)
        weights.append(
            np.full(_POINTS, explanations.weight[at] * max(0.0, 1.0 - float(chance.sum())) / _POINTS)
        )
        shifts = -worth.gain[at, :2][:, used].T[:, None] * (hidden[used, None] * steps)[..., None]
        points = centre + shifts[:, :, None] + few @ root.T
        share = chance[used, None, None] * explanations.weight[at] / (_STEPS * _FEW)
        places.append(points.reshape(-1, 2))
        weights.append(np.broadcast_to(share, points.shape[:3]).ravel())
    return np.concatenate(places), np.concatenate(weights)


def compute_ellipse_matrix(
    points: FloatArray, weights: FloatArray, middle: FloatArray, freedom: float
) -> FloatArray:
    """Compute the matrix (m²) of the ellipse around a position that contains 95 % of the points.

    Args:
        points: shape (m, 2).
        weights: of the points.
        middle: the estimated position (m).
        freedom: the degrees of freedom of the estimated variance, for the tails of the F distribution.
    """
    tails = PLANE_DIMENSIONS * float(fdtri(PLANE_DIMENSIONS, freedom, CONFIDENCE)) / CHI2_QUANTILE
    apart = points - middle
    inside = np.full(len(points), fill_value=True)
    for _ in range(2):
        # The second pass ignores distant points outside of the ellipse: they must not shape it.
        share = weights * inside
        moment = (apart * share[:, None]).T @ apart / share.sum()
        away = ((apart @ np.linalg.inv(moment)) * apart).sum(axis=1)
        order = np.argsort(away, kind="stable")
        total = np.cumsum(weights[order])
        bound = float(away[order][np.searchsorted(total, CONFIDENCE * total[-1])])
        inside = away <= bound
    return np.asarray(moment * bound * tails)
