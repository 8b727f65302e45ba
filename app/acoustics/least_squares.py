"""Estimates a sound's position and emission time from its arrival times by least squares. Pure.

The unknowns are the position, the time of emission, and errors that all arrivals share: those of the slowness
of sound and of the wind, in standard errors. Their priors enter as additional observations. Widening the
error of each arrival by its distance instead would treat shared errors as independent: the ellipse would be
too small, and the position worse. In a wind w sound travels d / (c + w·u), which for w ≪ c is d/c·(1 -
w·u/c), u being the direction from the source to the box (Ostashev and Wilson, Acoustics in Moving
Inhomogeneous Media, ch. 3).
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from app.acoustics.localisation_inputs import LocalisationProblem
from app.platform.kernel.array_types import FloatArray

UNKNOWN_COUNT: Final = 3
"""East, north and time of emission."""

_ROBUST_STEPS: Final = 8
_PLAIN_STEPS: Final = 6
_NOTHING_LEFT: Final = 1e-3
_SOFT: Final = 2.0
_NEAR_M: Final = 0.1
_WIDEST_M: Final = 20_000.0
_LONGEST_STEP_M: Final = 500.0


@dataclass(frozen=True, slots=True, eq=False)
class FitStatistics:
    """The precision of states that each explain some arrivals; the first axis counts the states.

    Attributes:
        covariance: of east, north (m) and time of emission (s), by the assumed errors, shape (s, 3, 3).
        gain: the shift of east, north (m) and time (s) per second of delay of each arrival, shape (s, 3, n);
            0 if the arrival is not used.
        seen: the growth of the misfit in standard errors per second of delay of each arrival, shape (s, n); 0
            if no misfit would show a delay.
    """

    covariance: FloatArray
    gain: FloatArray
    seen: FloatArray


def compute_distances(problem: LocalisationProblem, place: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Compute the distances of boxes from positions in space (m), and their derivatives by the position.

    Args:
        problem: the boxes.
        place: positions in the plane (m), shape (…, 2).

    Returns:
        Shapes (…, n) and (…, n, 2).
    """
    apart = place[..., None, :] - problem.places
    # A source at a box has no direction: 10 cm avoid that, and are small compared with all other errors.
    distance = np.sqrt(apart[..., 0] ** 2 + apart[..., 1] ** 2 + problem.heights**2 + _NEAR_M**2)
    return distance, apart / distance[..., None]


def _sharing(problem: LocalisationProblem, distance: FloatArray, direction: FloatArray) -> FloatArray:
    """Compute the travel time per standard error of each shared unknown (s), shape (…, n, k)."""
    conditions = problem.settings.conditions
    seconds = distance / conditions.speed
    parts = [seconds * conditions.slowness_sigma]
    if conditions.wind_sigma_m_s > 0:
        relative = conditions.wind_sigma_m_s / conditions.speed
        # The direction goes from the box to the source; sound goes the other way.
        parts += [seconds * relative * direction[..., axis] for axis in (0, 1)]
    return np.stack(parts, axis=-1)


def _shared_count(problem: LocalisationProblem) -> int:
    return 3 if problem.settings.conditions.wind_sigma_m_s > 0 else 1


def _system(problem: LocalisationProblem, theta: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Compute normalised misfits of several states, (s, n + k), and derivatives, (s, n + k, 3 + k)."""
    states, count, shared = len(theta), len(problem.times), _shared_count(problem)
    distance, direction = compute_distances(problem, theta[:, :2])
    common = _sharing(problem, distance, direction)
    speed = problem.settings.conditions.speed
    predicted = theta[:, 2:3] + distance / speed + (common @ theta[:, 3:, None])[..., 0]
    misfits = np.empty((states, count + shared))
    misfits[:, :count] = (problem.times - predicted) / problem.sigmas
    misfits[:, count:] = theta[:, 3:]
    slopes = np.zeros((states, count + shared, UNKNOWN_COUNT + shared))
    slopes[:, :count, :2] = -direction / speed / problem.sigmas[:, None]
    slopes[:, :count, 2] = -1.0 / problem.sigmas
    slopes[:, :count, 3:] = -common / problem.sigmas[:, None]
    slopes[:, count:, 3:] = np.eye(shared)
    return misfits, slopes


def _step(slopes: FloatArray, misfits: FloatArray, weights: FloatArray) -> FloatArray:
    """Make one Gauss-Newton step for each state, at most 500 m long."""
    weighted = np.swapaxes(slopes * weights[..., None], 1, 2)
    normal = weighted @ slopes + _ridge(slopes.shape[-1])
    change = -np.linalg.solve(normal, weighted @ misfits[..., None])[..., 0]
    length = np.linalg.norm(change[:, :2], axis=1, keepdims=True)
    return np.asarray(change * np.minimum(1.0, _LONGEST_STEP_M / np.maximum(length, 1e-9)))


def _ridge(unknown: int) -> FloatArray:
    """Return a prior of the position: too wide to matter, but it bounds undetermined positions."""
    return np.diag([1.0 / _WIDEST_M**2, 1.0 / _WIDEST_M**2, *([0.0] * (unknown - 2))])


def make_initial_states(problem: LocalisationProblem, seeds: FloatArray) -> FloatArray:
    """Make states of seeds (east, north, time of emission), with shared unknowns of 0, shape (s, 3 + k)."""
    return np.concatenate([seeds, np.zeros((len(seeds), _shared_count(problem)))], axis=1)


def refine_states_robustly(problem: LocalisationProblem, theta: FloatArray) -> FloatArray:
    """Improve many states together; arrivals with large misfits have less weight.

    Weights are Cauchy's, 1 / (1 + (misfit/2)²). Their scale decreases, so that arrivals that fit a poor start
    by coincidence do not hold it there.
    """
    count = len(problem.times)
    for step in range(_ROBUST_STEPS):
        misfits, slopes = _system(problem, theta)
        scale = _SOFT * max(1.0, 2.0 ** (_ROBUST_STEPS // 2 - step))
        weights = 1.0 / (1.0 + (misfits / scale) ** 2)
        weights[:, count:] = 1.0
        theta = theta + _step(slopes, misfits, weights)
    return theta


def refine_chosen_arrivals(
    problem: LocalisationProblem, theta: FloatArray, used: NDArray[np.bool_]
) -> FloatArray:
    """Improve many states by plain least squares of the arrivals that each uses, shape (s, n)."""
    weights = _weights(problem, used)
    for _ in range(_PLAIN_STEPS):
        misfits, slopes = _system(problem, theta)
        theta = theta + _step(slopes, misfits, weights)
    return theta


def _weights(problem: LocalisationProblem, used: NDArray[np.bool_]) -> FloatArray:
    shared = np.ones((len(used), _shared_count(problem)))
    return np.concatenate([used.astype(np.float64), shared], axis=1)


def compute_misfits(problem: LocalisationProblem, theta: FloatArray) -> FloatArray:
    """Compute the normalised misfits of states; those of shared unknowns last, shape (s, n + k)."""
    return _system(problem, theta)[0]


def solve_least_squares(
    problem: LocalisationProblem, theta: FloatArray, used: NDArray[np.bool_]
) -> FloatArray:
    """Fit one state to the used arrivals by SciPy's `least_squares` (Levenberg-Marquardt of MINPACK)."""
    part = problem.part(np.flatnonzero(used))

    def misfits(at: FloatArray) -> FloatArray:
        return np.asarray(_system(part, at[None])[0][0])

    def slopes(at: FloatArray) -> FloatArray:
        return np.asarray(_system(part, at[None])[1][0])

    found = least_squares(
        misfits,
        theta,
        jac=slopes,
        method="lm",
        x_scale=[100.0, 100.0, 0.3, *([1.0] * (len(theta) - UNKNOWN_COUNT))],
    )
    return np.asarray(found.x, dtype=np.float64)


def compute_fit_statistics(
    problem: LocalisationProblem, theta: FloatArray, used: NDArray[np.bool_]
) -> FitStatistics:
    """Compute the precision of states by the arrivals that each uses."""
    count = len(problem.times)
    _, slopes = _system(problem, theta)
    slopes = slopes * _weights(problem, used)[..., None]
    across = np.swapaxes(slopes, 1, 2)
    covariance = np.linalg.inv(across @ slopes + _ridge(slopes.shape[-1]))
    gain = -(covariance @ across)[:, :UNKNOWN_COUNT, :count] / problem.sigmas
    leverage = ((slopes @ covariance) * slopes).sum(axis=2)[:, :count]
    left = np.sqrt(np.maximum(1.0 - leverage, 0.0))
    # Without redundancy a misfit is zero except for rounding.
    seen = np.where(used & (left > _NOTHING_LEFT), left / problem.sigmas, 0.0)
    return FitStatistics(covariance[:, :UNKNOWN_COUNT, :UNKNOWN_COUNT], gain, seen)
