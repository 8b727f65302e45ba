"""Which arrivals are the sound itself, which reflections, which something else: all that may well be. Pure.

Each pattern of faults has a probability by Bayes: that of the misfits of the arrivals it uses, under their
normal errors; for each other one that of a fault of its kind, at any instant within the fault's span; and
the volume of places that the used ones leave open (the determinant of their covariance, Laplace's
approximation). So dropping an arrival has its price: about 3.7 standard errors for a late one, 4.7 for an
early one. To reject greedily, the largest misfit first, takes the wrong one more often, and says nothing
of what else may have been.
"""

import math
from dataclasses import dataclass
from itertools import combinations
from typing import Final

import numpy as np
from numpy.typing import NDArray

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
from app.acoustics.localisation_inputs import FloatArray, LocalisationProblem
from app.acoustics.search_seeds import make_grid_seeds, make_triple_seeds

type BoolMask = NDArray[np.bool_]

_REFINED: Final = 24
_STATES: Final = 4
_WITHIN: Final = 16.0
_SAME_M: Final = 2.0
_COARSE: Final = 4.0
_LEAST_COST: Final = 4.0
_FLIPS: Final = 2
_PAIRS_OF: Final = 16
"""Up to so many arrivals are left out in pairs: of fifty these are 1,225, which took seconds."""
_ROOT_TAU: Final = math.sqrt(2.0 * math.pi)


@dataclass(frozen=True, slots=True, eq=False)
class ArrivalExplanations:
    """What may have been, the likeliest first.

    Attributes:
        theta: states, shape (s, 3 + k).
        used: which arrivals each uses, shape (s, n).
        weight: how probable each is, together 1, shape (s,).
        worth: of each.
    """

    theta: FloatArray
    used: BoolMask
    weight: FloatArray
    worth: FitStatistics


def explain_arrivals(problem: LocalisationProblem) -> ArrivalExplanations | None:
    """All that three or more arrivals may well mean; None where nothing is within hearing range."""
    seeds = make_initial_states(
        problem, np.concatenate([make_triple_seeds(problem), make_grid_seeds(problem)])
    )
    coarse = _robust_costs(problem, seeds, _COARSE)
    kept = seeds[np.argsort(coarse, kind="stable")[:_REFINED]]
    thetas = refine_states_robustly(problem, kept)
    costs = _robust_costs(problem, thetas, 1.0)
    if not np.isfinite(costs).any():
        return None
    starts = _apart(thetas, costs)
    fits = _fits(problem, starts)
    found = _tried(problem, starts, fits)
    if found is None:
        return None
    if not (fits == found[1][0]).all(axis=1).any():
        # Once more around what came first: of several faults the first round may have found one or two.
        again = _tried(problem, found[0][:1], found[1][:1])
        found = found if again is None else _joined(found, again)
    return _weighed(problem, found)


def compute_fault_costs(problem: LocalisationProblem) -> tuple[FloatArray, FloatArray]:
    """-2·ln of how probable arrivals are as reflections, and as something else, beside the sound itself."""
    settings = problem.settings

    def cost(span_s: float, share: float) -> FloatArray:
        odds = span_s * (1.0 - share) / share / (_ROOT_TAU * problem.sigmas)
        return np.asarray(np.maximum(2.0 * np.log(odds), _LEAST_COST))

    late = cost(settings.latest_ms * 1e-3, settings.late_share)
    return late, cost(settings.false_within_s, settings.false_share)


def _fault_costs(problem: LocalisationProblem, single: FloatArray) -> FloatArray:
    """What each arrival costs as a fault, given its misfits, shape (s, n)."""
    late, other = compute_fault_costs(problem)
    seconds = single * problem.sigmas
    reflected = (seconds > 0) & (seconds <= problem.settings.latest_ms * 1e-3)
    return np.where(reflected, late, other)


def _place_costs(problem: LocalisationProblem, thetas: FloatArray) -> FloatArray:
    """How far away it is, and how levels differ from 20·lg of the distance; one costs at most 9."""
    distance, _ = compute_distances(problem, thetas[:, :2])
    # What several boxes hear is rarely far from all of them: three arrivals also fit some place far away, and
    # so vaguely that its volume makes it the likelier one unless that is said.
    away = np.linalg.norm(thetas[:, :2] - problem.places.mean(axis=0), axis=1) / _usual_m(problem)
    out = np.where(np.min(distance, axis=1) <= problem.settings.range_m, away**2, math.inf)
    told = ~np.isnan(problem.levels)
    if np.count_nonzero(told) > 1:
        source = problem.levels[told] + 20.0 * np.log10(distance[:, told])
        apart = (source - np.median(source, axis=1, keepdims=True)) / problem.settings.level_sigma_db
        out = out + np.minimum(apart**2, 9.0).sum(axis=1)
    return np.asarray(out)


def _robust_costs(problem: LocalisationProblem, thetas: FloatArray, scale: float) -> FloatArray:
    """-2·ln of how likely states are, each arrival being a fault where that is likelier."""
    count = len(problem.times)
    misfits = compute_misfits(problem, thetas) / scale
    single = np.minimum(misfits[:, :count] ** 2, _fault_costs(problem, misfits[:, :count] * scale))
    return single.sum(axis=1) + (misfits[:, count:] ** 2).sum(axis=1) + _place_costs(problem, thetas)


def _apart(thetas: FloatArray, costs: FloatArray) -> FloatArray:
    """The best states that are not the same place, shape (up to 4, 3 + k)."""
    order = np.lexsort((thetas[:, 1], thetas[:, 0], np.round(costs, 6)))
    found: list[int] = []
    for at in order:
        if costs[at] > costs[order[0]] + _WITHIN or len(found) == _STATES:
            break
        if all(np.linalg.norm(thetas[at, :2] - thetas[other, :2]) > _SAME_M for other in found):
            found.append(int(at))
    return thetas[found]


def _fits(problem: LocalisationProblem, thetas: FloatArray) -> BoolMask:
    """Which arrivals are likelier the sound itself than a fault; at least three."""
    single = compute_misfits(problem, thetas)[:, : len(problem.times)]
    beyond = single**2 - _fault_costs(problem, single)
    third = np.partition(beyond, UNKNOWN_COUNT - 1, axis=1)[:, UNKNOWN_COUNT - 1 : UNKNOWN_COUNT]
    return np.asarray(beyond <= np.maximum(third, 0.0))


def _tried(
    problem: LocalisationProblem, starts: FloatArray, used: BoolMask
) -> tuple[FloatArray, BoolMask, FloatArray] | None:
    """Every start with its pattern, and with one or two arrivals taken in or left out; those within range."""
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
    most = _FLIPS if count <= _PAIRS_OF else 1
    return [list(which) for size in range(most + 1) for which in combinations(range(count), size)]


def _joined(
    one: tuple[FloatArray, BoolMask, FloatArray], other: tuple[FloatArray, BoolMask, FloatArray]
) -> tuple[FloatArray, BoolMask, FloatArray]:
    thetas, used, costs = (np.concatenate([a, b]) for a, b in zip(one, other, strict=True))
    order = np.lexsort((thetas[:, 1], thetas[:, 0], np.round(costs, 6)))
    return thetas[order], used[order], costs[order]


def _pattern_costs(problem: LocalisationProblem, thetas: FloatArray, used: BoolMask) -> FloatArray:
    """-2·ln of how probable a pattern is with its state, up to a constant."""
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
    """How far sources usually are from the middle of the boxes that hear them, along each axis, m.

    As far as the farthest of these boxes, and 100 m: whoever hears a source stands around it.
    """
    apart = np.linalg.norm(problem.places - problem.places.mean(axis=0), axis=1)
    return float(apart.max()) + 100.0


def _weighed(
    problem: LocalisationProblem, found: tuple[FloatArray, BoolMask, FloatArray]
) -> ArrivalExplanations:
    """Those that matter, without repeats, with their probabilities."""
    thetas, used, costs = found
    kept: list[int] = []
    for at in range(len(costs)):
        if costs[at] > costs[0] + 2.0 * math.log(1e4):
            break
        if not any(
            np.array_equal(used[at], used[other])
            and np.linalg.norm(thetas[at, :2] - thetas[other, :2]) < _SAME_M
            for other in kept
        ):
            kept.append(at)
    weight = np.exp(-0.5 * (costs[kept] - costs[0]))
    return ArrivalExplanations(
        thetas[kept],
        used[kept],
        weight / weight.sum(),
        compute_fit_statistics(problem, thetas[kept], used[kept]),
    )
