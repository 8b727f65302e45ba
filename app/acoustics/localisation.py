"""Locates an impulsive sound from its arrival times at several boxes. Pure.

One box gives no location, two boxes give a branch of a hyperbola, three or more a position. The position is
the likeliest of all explanations of the arrivals (`arrival_classification`), by least squares of the arrivals
that are the sound itself. Its ellipse covers all explanations (`error_ellipse`).

With the boxes at ±f on an axis and a difference of distances 2a, the branch is
x = a·cosh u, y = √(f² - a²)·sinh u; the distances to its foci are f·cosh u ∓ a (analytic geometry).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtri

from app.acoustics.arrival_explanations import ArrivalExplanations, explain_arrivals
from app.acoustics.error_ellipse import CHI2_QUANTILE, compute_ellipse_matrix, sample_source_points
from app.acoustics.least_squares import UNKNOWN_COUNT, compute_misfits, solve_least_squares
from app.acoustics.localisation_inputs import (
    BoxPosition,
    LocalisationProblem,
    LocalisationSettings,
    SoundArrival,
    build_problem,
)
from app.acoustics.localisation_results import (
    ArrivalResidual,
    ArrivalVerdict,
    ErrorEllipse,
    HyperbolaBranch,
    LocalisationResult,
    SourcePosition,
)
from app.acoustics.tangent_plane import TangentPlane
from app.platform.kernel.array_types import FloatArray
from app.platform.kernel.instants import US_PER_S

_POINTS: Final = 41
_BEYOND: Final = 4.0
_NEARLY: Final = 0.9999


def compute_hyperbola_branch(problem: LocalisationProblem, frame: TangentPlane) -> HyperbolaBranch | None:
    """Compute the hyperbola branch of two arrivals, within hearing range of both boxes.

    Args:
        problem: two arrivals.
        frame: the plane of its positions.

    Returns:
        The branch; None if no sound can arrive so far apart in time, or none within range.
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


_PAIR: Final = 2
_ALTERNATIVE_SHARE: Final = 0.05
"""An alternative is reported if it is at least this probable relative to the position."""


def locate_sound(
    arrivals: Sequence[SoundArrival],
    boxes: Mapping[str, BoxPosition],
    settings: LocalisationSettings | None = None,
    frame: TangentPlane | None = None,
) -> LocalisationResult:
    """Locate a sound.

    Args:
        arrivals: at most one per box, in any order.
        boxes: the positions of the boxes, by id.
        settings: the assumed errors; None: the defaults.
        frame: the plane of east and north; None: around the boxes of the arrivals.

    Returns:
        The evidence with the branch or position, if any. The ellipse assumes that the standard errors are
        right up to a common factor, which the residuals estimate; that an onset is a reflection with the
        probability `late_share`; and, if two positions explain three arrivals, that the first is right.

    Raises:
        ValueError: there are no arrivals, or two of one box.
        KeyError: a box is unknown.
    """
    if len({arrival.box for arrival in arrivals}) != len(arrivals) or not arrivals:
        raise ValueError("one arrival of each box, and at least one")
    settings = settings or LocalisationSettings()
    ordered = sorted(arrivals, key=lambda each: (each.time_us, each.box))
    known = [boxes[each.box] for each in ordered]
    frame = frame or TangentPlane.around((box.lon, box.lat) for box in known)
    problem = build_problem(ordered, boxes, frame, settings)
    if len(ordered) == 1:
        return LocalisationResult("unlocated", (ArrivalResidual(ordered[0].box, None, "used"),))
    if len(ordered) == _PAIR:
        return _make_branch_result(ordered, compute_hyperbola_branch(problem, frame))
    explanations = explain_arrivals(problem)
    if explanations is None:
        return _make_unlocated_result(ordered)
    return _make_position_result(_Case(ordered, problem, explanations, frame))


def _make_branch_result(
    ordered: Sequence[SoundArrival], branch: HyperbolaBranch | None
) -> LocalisationResult:
    if branch is None:
        return _make_unlocated_result(ordered)
    return LocalisationResult(
        "branch", tuple(ArrivalResidual(each.box, None, "used") for each in ordered), branch=branch
    )


def _make_unlocated_result(ordered: Sequence[SoundArrival]) -> LocalisationResult:
    return LocalisationResult(
        "unlocated", tuple(ArrivalResidual(each.box, None, "inconsistent") for each in ordered)
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Case:
    """The inputs of one localisation with three or more arrivals."""

    ordered: Sequence[SoundArrival]
    problem: LocalisationProblem
    explanations: ArrivalExplanations
    frame: TangentPlane


def _make_position_result(case: _Case) -> LocalisationResult:
    explanations, problem = case.explanations, case.problem
    best = solve_least_squares(problem, explanations.theta[0], explanations.used[0])
    misfits = compute_misfits(problem, best[None])[0]
    chi2 = _chi2(misfits, explanations.used[0])
    freedom = int(np.count_nonzero(explanations.used[0])) - UNKNOWN_COUNT
    if chi2 > float(chdtri(max(1, freedom), problem.settings.level_of_test)):
        return _make_unlocated_result(case.ordered)
    nearer, other = _split_modes(explanations)
    residuals = tuple(
        ArrivalResidual(
            each.box,
            round(float(misfit * sigma) * 1e3, 3),
            _classify_arrival(used=bool(used), late=misfit > 0),
        )
        for each, misfit, sigma, used in zip(
            case.ordered, misfits[: len(case.ordered)], problem.sigmas, explanations.used[0], strict=True
        )
    )
    position = _make_position(case, 0, best, np.flatnonzero(nearer))
    if other is None:
        return LocalisationResult("position", residuals, position)
    theta = solve_least_squares(problem, explanations.theta[other], explanations.used[other])
    return LocalisationResult(
        "position", residuals, position, _make_position(case, other, theta, np.flatnonzero(~nearer))
    )


def _chi2(misfits: FloatArray, used: NDArray[np.bool_]) -> float:
    shared = misfits[len(used) :]
    return float((misfits[: len(used)][used] ** 2).sum() + (shared**2).sum())


def _split_modes(explanations: ArrivalExplanations) -> tuple[NDArray[np.bool_], int | None]:
    """Assign explanations to the position or to an alternative, which three arrivals may leave.

    Three arrivals can fit two positions: one ellipse must not cover both and the space between. Each
    explanation belongs to the nearer one.
    """
    every = np.full(len(explanations.weight), fill_value=True)
    for at in range(1, len(explanations.weight)):
        same = np.array_equal(explanations.used[at], explanations.used[0])
        if (
            same
            and np.count_nonzero(explanations.used[0]) == UNKNOWN_COUNT
            and explanations.weight[at] > _ALTERNATIVE_SHARE * explanations.weight[0]
        ):
            to_first, to_second = (
                np.linalg.norm(explanations.theta[:, :2] - explanations.theta[which, :2], axis=1)
                for which in (0, at)
            )
            return np.asarray(to_first <= to_second), at
    return every, None


def _classify_arrival(*, used: bool, late: bool) -> ArrivalVerdict:
    if used:
        return "used"
    return "late" if late else "early"


def _make_position(case: _Case, at: int, theta: FloatArray, members: NDArray[np.intp]) -> SourcePosition:
    settings, explanations = case.problem.settings, case.explanations
    used = explanations.used[at]
    beyond = int(np.count_nonzero(used)) - UNKNOWN_COUNT
    chi2 = _chi2(compute_misfits(case.problem, theta[None])[0], used)
    # The assumed errors count as `prior_weight` observations of their size besides the residuals: the
    # conjugate prior of a variance (Gelman et al., Bayesian Data Analysis, ch. 3), which leads to quantiles
    # of F.
    freedom = settings.prior_weight + beyond
    scale = (settings.prior_weight + chi2) / freedom
    points, weights = sample_source_points(case.problem, explanations, members, scale)
    matrix = compute_ellipse_matrix(points, weights, theta[:2], freedom)
    east, north = (float(value) for value in theta[:2])
    lon, lat = case.frame.to_degrees(east, north)
    normal = matrix / CHI2_QUANTILE
    return SourcePosition(
        lon,
        lat,
        east,
        north,
        case.ordered[0].time_us + round(float(theta[2]) * US_PER_S),
        math.sqrt(float(explanations.worth.covariance[at, 2, 2]) * scale) * 1e3,
        (float(normal[0, 0]), float(normal[0, 1]), float(normal[1, 1])),
        ErrorEllipse.of(matrix),
        chi2,
        beyond,
        float(explanations.weight[at]),
    )
