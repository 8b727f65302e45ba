"""Finds hypothetical sound sources that fit the events of most boxes, by consensus (RANSAC). Pure.

Hypotheses are the closed solutions of triples of events. Each is scored by the number of boxes with an event
that fits it, and by the quality of the fit. It is a consensus in the manner of RANSAC (Fischler and Bolles
1981), but deterministic: all triples of the first events of the first boxes are tried.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from app.acoustics.least_squares import compute_distances, make_initial_states, refine_states_robustly
from app.acoustics.localisation_inputs import LocalisationProblem
from app.acoustics.starting_positions import list_triples, solve_triples
from app.platform.kernel.array_types import FloatArray

_BOXES: Final = 9
_FEWER: Final = 6
_ANCHOR_S: Final = 0.7
_EACH: Final = 2
_BEYOND: Final = 4.0
_LEEWAY_S: Final = 0.010
_THREE: Final = 3
_LEVELS_SHARE: Final = 0.05
_GROWTHS: Final = 2
_SEEDS_LIMIT: Final = 60
_NEARLY: Final = 1.2
_SOON_S: Final = 0.4
_SECOND: Final = 0.8
_CHUNK: Final = 400_000


@dataclass(frozen=True, slots=True, eq=False)
class SourceHypothesis:
    """A hypothetical source, and how events fit it.

    Attributes:
        late: the delay of each event after its expected time (s).
        fits: whether each event fits.
    """

    late: FloatArray
    fits: NDArray[np.bool_]


def find_best_sources(
    problem: LocalisationProblem, owner: NDArray[np.intp], doubtful: NDArray[np.bool_], most: int
) -> list[SourceHypothesis]:
    """Find the sources that the events of most boxes fit, the best first.

    A source needs events of at least three boxes.

    Args:
        problem: all events, in their order.
        owner: the index of the box of each event.
        doubtful: whether each event may be an echo of a known source.
        most: the maximum number of sources; no two use the same events.
    """
    seeds = _seeds(problem, owner, doubtful)
    if not len(seeds):
        return []
    order = np.argsort(owner, kind="stable")
    starts = np.flatnonzero(np.diff(owner[order], prepend=-1))
    worth = np.where(doubtful, _SECOND, _worth(problem, owner))
    chunk = max(1, _CHUNK // len(owner))
    scores = np.concatenate(
        [_scores(problem, order, starts, seeds[at : at + chunk], worth) for at in range(0, len(seeds), chunk)]
    )
    ranked = np.lexsort((seeds[:, 1], seeds[:, 0], seeds[:, 2], -np.round(scores, 9)))
    found: list[SourceHypothesis] = []
    tried: set[bytes] = set()
    for at in ranked[:_SEEDS_LIMIT]:
        if len(found) == most or scores[at] < scores[ranked[0]] - _NEARLY:
            break
        late = _late(problem, seeds[at : at + 1])[0]
        fits = np.abs(late) <= _tolerance(problem)
        if fits.tobytes() in tried:
            continue
        tried.add(fits.tobytes())
        grown = _refit(problem, seeds[at : at + 1], SourceHypothesis(late, fits))
        if len(np.unique(owner[grown.fits])) >= _THREE and not any(
            np.array_equal(grown.fits, other.fits) for other in found
        ):
            found.append(grown)
    return found


def _first(
    times: FloatArray, owner: NDArray[np.intp], doubtful: NDArray[np.bool_], since: float, boxes: int
) -> NDArray[np.intp]:
    """List triples of the first two events of the first boxes after an instant (s after the first event)."""
    chosen: list[int] = []
    seen: dict[int, int] = {}
    later = np.flatnonzero(times >= times.min() + since)
    # Possible echoes are taken last.
    for at in later[np.argsort(doubtful[later], kind="stable")].tolist():
        box = int(owner[at])
        if (box in seen or len(seen) < boxes) and seen.get(box, 0) < _EACH:
            seen[box] = seen.get(box, 0) + 1
            chosen.append(at)
    return np.sort(np.array(chosen, dtype=np.intp)[list_triples(len(chosen))], axis=1)


def _refit(problem: LocalisationProblem, seed: FloatArray, best: SourceHypothesis) -> SourceHypothesis:
    """Refit a seed to the events that fit it, to find more of them: three arrivals alone are imprecise."""
    for _ in range(_GROWTHS if np.count_nonzero(best.fits) > _THREE else 0):
        seed = refine_states_robustly(
            problem.part(np.flatnonzero(best.fits)), make_initial_states(problem, seed[:, :3])
        )
        late = _late(problem, seed)[0]
        fits = np.abs(late) <= _tolerance(problem)
        if np.count_nonzero(fits) <= np.count_nonzero(best.fits):
            break
        best = SourceHypothesis(late, fits)
    return best


def _seeds(problem: LocalisationProblem, owner: NDArray[np.intp], doubtful: NDArray[np.bool_]) -> FloatArray:
    """Compute closed solutions of triples of events of different boxes, within hearing range."""
    # Triples start at several instants: in a train of sounds the first ones would use up all triples.
    steps = int(float(np.ptp(problem.times)) / _ANCHOR_S)
    parts = [
        _first(problem.times, owner, doubtful, at * _ANCHOR_S, _BOXES if at == 0 else _FEWER)
        for at in range(steps + 1)
    ]
    which = np.unique(np.concatenate(parts), axis=0)
    boxes = owner[which]
    apart = (boxes[:, 0] != boxes[:, 1]) & (boxes[:, 1] != boxes[:, 2]) & (boxes[:, 0] != boxes[:, 2])
    which = which[apart]
    found = solve_triples(problem.places[which], problem.times[which], problem.settings.conditions.speed)
    if not len(found):
        return found
    distance, _ = compute_distances(problem, found[:, :2])
    return found[distance.min(axis=1) <= problem.settings.range_m]


def _tolerance(problem: LocalisationProblem) -> FloatArray:
    # The leeway covers the error of the temperature, which a seed does not include.
    return _BEYOND * problem.sigmas + _LEEWAY_S


def _late(problem: LocalisationProblem, seeds: FloatArray) -> FloatArray:
    distance, _ = compute_distances(problem, seeds[:, :2])
    return np.asarray(problem.times - seeds[:, 2:3] - distance / problem.settings.conditions.speed)


def _worth(problem: LocalisationProblem, owner: NDArray[np.intp]) -> FloatArray:
    """Reduce the weight of an event soon after another one of its box: an echo or a later round.

    With few boxes, mismatched rounds also fit some position.
    """
    gaps = problem.times[:, None] - problem.times
    before = (owner[:, None] == owner) & (gaps > 0) & (gaps <= _SOON_S)
    return np.where(before.any(axis=1), _SECOND, 1.0)


def _scores(
    problem: LocalisationProblem,
    order: NDArray[np.intp],
    starts: NDArray[np.intp],
    seeds: FloatArray,
    worth: FloatArray,
) -> FloatArray:
    """Score seeds by the boxes with a fitting event, weighted by the fit, minus a penalty for levels."""
    distance, _ = compute_distances(problem, seeds[:, :2])
    late = problem.times - seeds[:, 2:3] - distance / problem.settings.conditions.speed
    fit = np.maximum(1.0 - (late / _tolerance(problem)) ** 2, 0.0) * worth
    scores = np.maximum.reduceat(fit[:, order], starts, axis=1).sum(axis=1)
    has_level = ~np.isnan(problem.levels)
    if not has_level.any():
        return np.asarray(scores)
    source = problem.levels[has_level] + 20.0 * np.log10(distance[:, has_level])
    weight = (fit[:, has_level] > 0).astype(np.float64)
    total = np.maximum(weight.sum(axis=1), 1.0)
    mean = (source * weight).sum(axis=1) / total
    deviation = (source - mean[:, None]) / problem.settings.level_sigma_db
    mismatch = (weight * deviation**2).sum(axis=1) / total
    return np.asarray(scores - _LEVELS_SHARE * np.minimum(mismatch, 9.0))
