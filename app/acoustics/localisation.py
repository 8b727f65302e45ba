"""Where an impulsive sound was, from when several boxes heard it. Pure.

One box says nothing of the place, two a branch of a hyperbola, three or more a position: the likeliest of
all that their arrivals may mean (`faults.py`), by least squares of those that are the sound itself, with
an ellipse of all else that may have been (`cloud.py`).

Where a sound of two boxes may have been: a branch of a hyperbola. Pure.

With the boxes at ±f on an axis and a difference of distances 2a it is x = a·cosh u, y = √(f² - a²)·sinh u;
the distances to its foci are f·cosh u ∓ a (any textbook of analytic geometry).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtri

from app.acoustics.arrival_classification import ArrivalExplanations, explain_arrivals
from app.acoustics.error_ellipse import CHI2_QUANTILE, compute_ellipse_matrix, sample_source_points
from app.acoustics.least_squares import UNKNOWN_COUNT, compute_misfits, solve_least_squares
from app.acoustics.local_plane import TangentPlane
from app.acoustics.localisation_inputs import (
    US_PER_SECOND,
    BoxPosition,
    FloatArray,
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


_PAIR: Final = 2
_WORTH: Final = 0.05
"""How probable an alternative is, beside the position told, to be told too."""


def locate_sound(
    arrivals: Sequence[SoundArrival],
    boxes: Mapping[str, BoxPosition],
    settings: LocalisationSettings | None = None,
    frame: TangentPlane | None = None,
) -> LocalisationResult:
    """Where a sound was.

    Args:
        arrivals: at most one of each box, in any order.
        boxes: where they are, by id.
        settings: what is assumed of errors; None: the defaults.
        frame: for east and north; None: around the boxes of the arrivals.

    Returns:
        Evidence and, as far as it goes, branch or position. The ellipse assumes that the standard errors are
        as told, up to a common factor that the residuals tell; that a box's onset is a reflection with a
        probability of `late_share`; and, of two places that explain three arrivals, that it is the named one.

    Raises:
        ValueError: there are no arrivals, or two of one box.
        KeyError: a box is not known.
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
        return _two(ordered, compute_hyperbola_branch(problem, frame))
    what = explain_arrivals(problem)
    if what is None:
        return _none(ordered)
    return _located(_Case(ordered, problem, what, frame))


def _two(ordered: Sequence[SoundArrival], branch: HyperbolaBranch | None) -> LocalisationResult:
    if branch is None:
        return _none(ordered)
    return LocalisationResult(
        "branch", tuple(ArrivalResidual(each.box, None, "used") for each in ordered), branch=branch
    )


def _none(ordered: Sequence[SoundArrival]) -> LocalisationResult:
    return LocalisationResult(
        "unlocated", tuple(ArrivalResidual(each.box, None, "inconsistent") for each in ordered)
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Case:
    """All of one localisation."""

    ordered: Sequence[SoundArrival]
    problem: LocalisationProblem
    what: ArrivalExplanations
    frame: TangentPlane


def _located(case: _Case) -> LocalisationResult:
    what, problem = case.what, case.problem
    best = solve_least_squares(problem, what.theta[0], what.used[0])
    misfits = compute_misfits(problem, best[None])[0]
    chi2 = _chi2(misfits, what.used[0])
    freedom = int(np.count_nonzero(what.used[0])) - UNKNOWN_COUNT
    if chi2 > float(chdtri(max(1, freedom), problem.settings.level_of_test)):
        return _none(case.ordered)
    nearer, other = _modes(what)
    residuals = tuple(
        ArrivalResidual(
            each.box, round(float(misfit * sigma) * 1e3, 3), _verdict(used=bool(used), late=misfit > 0)
        )
        for each, misfit, sigma, used in zip(
            case.ordered, misfits[: len(case.ordered)], problem.sigmas, what.used[0], strict=True
        )
    )
    position = _position(case, 0, best, np.flatnonzero(nearer))
    if other is None:
        return LocalisationResult("position", residuals, position)
    theta = solve_least_squares(problem, what.theta[other], what.used[other])
    return LocalisationResult(
        "position", residuals, position, _position(case, other, theta, np.flatnonzero(~nearer))
    )


def _chi2(misfits: FloatArray, used: NDArray[np.bool_]) -> float:
    shared = misfits[len(used) :]
    return float((misfits[: len(used)][used] ** 2).sum() + (shared**2).sum())


def _modes(what: ArrivalExplanations) -> tuple[NDArray[np.bool_], int | None]:
    """Which explanations are of the position told, and the alternative's, if three arrivals leave one.

    Three circles' worth of arrivals meet in two places: no ellipse is to cover both and all between.
    Whatever is nearer to the second one is of that.
    """
    every = np.full(len(what.weight), fill_value=True)
    for at in range(1, len(what.weight)):
        same = np.array_equal(what.used[at], what.used[0])
        if (
            same
            and np.count_nonzero(what.used[0]) == UNKNOWN_COUNT
            and what.weight[at] > _WORTH * what.weight[0]
        ):
            to_first, to_second = (
                np.linalg.norm(what.theta[:, :2] - what.theta[which, :2], axis=1) for which in (0, at)
            )
            return np.asarray(to_first <= to_second), at
    return every, None


def _verdict(*, used: bool, late: bool) -> ArrivalVerdict:
    if used:
        return "used"
    return "late" if late else "early"


def _position(case: _Case, at: int, theta: FloatArray, members: NDArray[np.intp]) -> SourcePosition:
    settings, what = case.problem.settings, case.what
    used = what.used[at]
    beyond = int(np.count_nonzero(used)) - UNKNOWN_COUNT
    chi2 = _chi2(compute_misfits(case.problem, theta[None])[0], used)
    # The errors told count as `prior_weight` observations of their own size, beside the residuals seen: the
    # conjugate prior of a variance (Gelman et al., Bayesian Data Analysis, ch. 3), whose quantile is F's.
    freedom = settings.prior_weight + beyond
    scale = (settings.prior_weight + chi2) / freedom
    points, weights = sample_source_points(case.problem, what, members, scale)
    matrix = compute_ellipse_matrix(points, weights, theta[:2], freedom)
    east, north = (float(value) for value in theta[:2])
    lon, lat = case.frame.to_degrees(east, north)
    normal = matrix / CHI2_QUANTILE
    return SourcePosition(
        lon,
        lat,
        east,
        north,
        case.ordered[0].time_us + round(float(theta[2]) * US_PER_SECOND),
        math.sqrt(float(what.worth.covariance[at, 2, 2]) * scale) * 1e3,
        (float(normal[0, 0]), float(normal[0, 1]), float(normal[1, 1])),
        ErrorEllipse.of(matrix),
        chi2,
        beyond,
        float(what.weight[at]),
    )
