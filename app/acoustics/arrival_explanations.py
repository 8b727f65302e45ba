"""Finds the likely explanations of a sound's arrivals: which are direct, reflected or false. Pure.

Each pattern of faults has a probability by Bayes, the product of three factors:

* the probability of the misfits of the arrivals that it uses, under normal errors;
* for each other arrival, the probability of a fault of its kind at any instant within the fault's span;
* the volume of positions that the used arrivals leave open (Laplace's approximation: the determinant of
  their covariance).

So rejecting an arrival has a cost: about 3.7 standard errors for a late one, 4.7 for an early one. Greedy
rejection of the largest misfit errs more often, and finds no alternatives.
"""

import math
from dataclasses import dataclass
from itertools import combinations
from typing import Final

import numpy as np

from app.acoustics.least_squares import (
    UNKNOWN_COUNT,
    FitStatistics,
    compute_distances,
    compute_fit_statistics,
    compute_misfits,
    make_initial_states,
    refine_chosen_arrivals,
    refine_states_robustly,
)
from app.acoustics.localisation_inputs import LocalisationProblem
from app.acoustics.starting_positions import make_grid_seeds, make_triple_seeds
from app.platform.kernel.array_types import BoolArray, FloatArray

_REFINED_STATES: Final = 24
_STATES: Final = 4
_WITHIN: Final = 16.0
_SAME_M: Final = 2.0
_COARSE: Final = 4.0
_LEAST_COST: Final = 4.0
_FLIPS: Final = 2
_PAIRS_LIMIT: Final = 16
"""Pairs of faults are tried for at most so many arrivals: fifty have 1,225 pairs, which took seconds."""
_ROOT_TAU: Final = math.sqrt(2.0 * math.pi)


@dataclass(frozen=True, slots=True, eq=False)
class ArrivalExplanations:
    """The explanations of some arrivals, the likeliest first.

    Attributes:
        theta: states, shape (s, 3 + k).
        used: the arrivals that each uses, shape (s, n).
        weight: their probabilities, which add up to 1, shape (s,).
        worth: their fit statistics.
    """

    theta: FloatArray
    used: BoolArray
    weight: FloatArray
    worth: FitStatistics


def explain_arrivals(problem: LocalisationProblem) -> ArrivalExplanations | None:
    """Find all likely explanations of three or more arrivals; None if none is within hearing range."""
    seeds = make_initial_states(
        problem, np.concatenate([make_triple_seeds(problem), make_grid_seeds(problem)])
    )
    coarse = _robust_costs(problem, seeds, _COARSE)
    best = seeds[np.argsort(coarse, kind="stable")[:_REFINED_STATES]]
    thetas = refine_states_robustly(problem, best)
    costs = _robust_costs(problem, thetas, 1.0)
    if not np.isfinite(costs).any():
        return None
    starts = _select_distinct(thetas, costs)
    fits = _find_fitting(problem, starts)
    found = _try_patterns(problem, starts, fits)
    if found is None:
        return None
    if not (fits == found[1][0]).all(axis=1).any():
        # A second round around the best result: of several faults the first may have found one or two.
        again = _try_patterns(problem, found[0][:1], found[1][:1])
        found = found if again is None else _merge(found, again)
    return _weigh(problem, found)


def compute_fault_costs(problem: LocalisationProblem) -> tuple[FloatArray, FloatArray]:
    """Compute -2·ln of the odds that arrivals are reflections, and that they are false detections."""
    settings = problem.settings

    def cost(span_s: float, share: float) -> FloatArray:
        odds = span_s * (1.0 - share) / share / (_ROOT_TAU * problem.sigmas)
        return np.asarray(np.maximum(2.0 * np.log(odds), _LEAST_COST))

    late = cost(settings.latest_ms * 1e-3, settings.late_share)
    return late, cost(settings.false_within_s, settings.false_share)


def _fault_costs(problem: LocalisationProblem, single: FloatArray) -> FloatArray:
    """Compute the cost of each arrival as a fault, given its misfits, shape (s, n)."""
    late, other = compute_fault_costs(problem)
    seconds = single * problem.sigmas
    reflected = (seconds > 0) & (seconds <= problem.settings.latest_ms * 1e-3)
    return np.where(reflected, late, other)


def _place_costs(problem: LocalisationProblem, thetas: FloatArray) -> FloatArray:
    """Compute the costs of distance, and of levels that differ from 20·lg of it (at most 9 each)."""
    distance, _ = compute_distances(problem, thetas[:, :2])
    # A sound that several boxes hear is rarely far from all of them. Without this cost, three arrivals would
    # favour a distant position, because its uncertainty has a large volume.
    away = np.linalg.norm(thetas[:, :2] - problem.places.mean(axis=0), axis=1) / _usual_m(problem)
    out = np.where(np.min(distance, axis=1) <= problem.settings.range_m, away**2, math.inf)
    has_level = ~np.isnan(problem.levels)
    if np.count_nonzero(has_level) > 1:
        source = problem.levels[has_level] + 20.0 * np.log10(distance[:, has_level])
        deviation = (source - np.median(source, axis=1, keepdims=True)) / problem.settings.level_sigma_db
        out = out + np.minimum(deviation**2, 9.0).sum(axis=1)
    return np.asarray(out)


def _robust_costs(problem: LocalisationProblem, thetas: FloatArray, scale: float) -> FloatArray:
    """Compute -2·ln of the likelihood of states; an arrival counts as a fault if that is likelier."""
    count = len(problem.times)
    misfits = compute_misfits(problem, thetas) / scale
    single = np.minimum(misfits[:, :count] ** 2, _fault_costs(problem, misfits[:, :count] * scale))
    return single.sum(axis=1) + (misfits[:, count:] ** 2).sum(axis=1) + _place_costs(problem, thetas)


def _select_distinct(thetas: FloatArray, costs: FloatArray) -> FloatArray:
    """Select the best states at distinct positions, shape (up to 4, 3 + k)."""
    order = np.lexsort((thetas[:, 1], thetas[:, 0], np.round(costs, 6)))
    found: list[int] = []
    for at in order:
        if costs[at] > costs[order[0]] + _WITHIN or len(found) == _STATES:
            break
        if all(np.linalg.norm(thetas[at, :2] - thetas[other, :2]) > _SAME_M for other in found):
            found.append(int(at))
    return thetas[found]


def _find_fitting(problem: LocalisationProblem, thetas: FloatArray) -> BoolArray:
    """Find the arrivals that are likelier the sound itself than a fault; at least three."""
    single = compute_misfits(problem, thetas)[:, : len(problem.times)]
    beyond = single**2 - _fault_costs(problem, single)
    third = np.partition(beyond, UNKNOWN_COUNT - 1, axis=1)[:, UNKNOWN_COUNT - 1 : UNKNOWN_COUNT]
    return np.asarray(beyond <= np.maximum(third, 0.0))


def _try_patterns(
    problem: LocalisationProblem, starts: FloatArray, used: BoolArray
) -> tuple[FloatArray, BoolArray, FloatArray] | None:
    """Try each start with its pattern and with one or two arrivals flipped; return those within range."""
    patterns, owners = [], []
    for at, mask in enumerate(used):
        for which in _flips(len(mask)):
            pattern = mask.copy()
            pattern[which] = ~pattern[which]
            if np.count_nonzero(pattern) >= UNKNOWN_COUNT:
                patterns.append(pattern)
                owners.append(at)
    chosen = np.array(patterns)
    thetas = refine_chosen_arrivals(problem, starts[owners], chosen)
    costs = _pattern_costs(problem, thetas, chosen)
    good = np.flatnonzero(np.isfinite(costs))
    if not len(good):
        return None
    order = good[np.lexsort((thetas[good, 1], thetas[good, 0], np.round(costs[good], 6)))]
    return thetas[order], chosen[order], costs[order]


def _flips(count: int) -> list[list[int]]:
    most = _FLIPS if count <= _PAIRS_LIMIT else 1
    return [list(which) for size in range(most + 1) for which in combinations(range(count), size)]


def _merge(
    one: tuple[FloatArray, BoolArray, FloatArray], other: tuple[FloatArray, BoolArray, FloatArray]
) -> tuple[FloatArray, BoolArray, FloatArray]:
    thetas, used, costs = (np.concatenate([a, b]) for a, b in zip(one, other, strict=True))
    order = np.lexsort((thetas[:, 1], thetas[:, 0], np.round(costs, 6)))
    return thetas[order], used[order], costs[order]


def _pattern_costs(problem: LocalisationProblem, thetas: FloatArray, used: BoolArray) -> FloatArray:
    """Compute -2·ln of the probability of patterns with their states, up to a constant."""
    count = len(problem.times)
    misfits = compute_misfits(problem, thetas)
    single = misfits[:, :count]
    costs = np.where(used, single**2, _fault_costs(problem, single)).sum(axis=1)
    near = 1.0 / _usual_m(problem) ** 2
    information = np.linalg.inv(compute_fit_statistics(problem, thetas, used).covariance) + np.diag(
        [near, near, 0.0]
    )
    _, inverse_volume = np.linalg.slogdet(information)
    shared = (misfits[:, count:] ** 2).sum(axis=1)
    return np.asarray(costs + shared + _place_costs(problem, thetas) + inverse_volume)


def _usual_m(problem: LocalisationProblem) -> float:
    """Estimate the distance of sources from the centre of the boxes that hear them, along each axis (m).

    It is the distance of the farthest of these boxes plus 100 m: boxes that hear a source are around it.
    """
    apart = np.linalg.norm(problem.places - problem.places.mean(axis=0), axis=1)
    return float(apart.max()) + 100.0


def _weigh(
    problem: LocalisationProblem, found: tuple[FloatArray, BoolArray, FloatArray]
) -> ArrivalExplanations:
    """Select the relevant explanations without duplicates, and compute their probabilities."""
    thetas, used, costs = found
    distinct: list[int] = []
    for at in range(len(costs)):
        if costs[at] > costs[0] + 2.0 * math.log(1e4):
            break
        if not any(
            np.array_equal(used[at], used[other])
            and np.linalg.norm(thetas[at, :2] - thetas[other, :2]) < _SAME_M
            for other in distinct
        ):
            distinct.append(at)
    weight = np.exp(-0.5 * (costs[distinct] - costs[0]))
    return ArrivalExplanations(
        thetas[distinct],
        used[distinct],
        weight / weight.sum(),
        compute_fit_statistics(problem, thetas[distinct], used[distinct]),
    )
