"""The source that most events of a group agree on. Pure.

Hypotheses are the closed solutions of triples of events; each is scored by how many boxes have an event
that fits it, and how well. With many boxes this is a consensus in the manner of RANSAC (Fischler and
Bolles 1981) that draws nothing by chance: all triples of the first events of the first boxes are tried.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from app.acoustics.least_squares import compute_distances, make_initial_states, refine_states_robustly
from app.acoustics.localisation_inputs import FloatArray, LocalisationProblem
from app.acoustics.search_seeds import list_triples, solve_triples

_BOXES: Final = 9
_FEWER: Final = 6
_ANCHOR_S: Final = 0.7
_EACH: Final = 2
_BEYOND: Final = 4.0
_LEEWAY_S: Final = 0.010
_THREE: Final = 3
_LEVELS_SHARE: Final = 0.05
_GROWTHS: Final = 2
_LOOKED_AT: Final = 60
_NEARLY: Final = 1.2
_SOON_S: Final = 0.4
_SECOND: Final = 0.8
_CHUNK: Final = 400_000


@dataclass(frozen=True, slots=True, eq=False)
class SourceHypothesis:
    """A source, and how events fit it.

    Attributes:
        late: of each event after what the source would make it, s.
        fits: which events do.
    """

    late: FloatArray
    fits: NDArray[np.bool_]


def find_best_sources(
    problem: LocalisationProblem, owner: NDArray[np.intp], doubtful: NDArray[np.bool_], most: int
) -> list[SourceHypothesis]:
    """The sources that the events of most boxes fit, the best first; none where not three do.

    Args:
        problem: all events, in their order.
        owner: the number of each one's box.
        doubtful: which of them may be echoes of a source that is known.
        most: so many at most, no two of the same events.
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
    looked_at: set[bytes] = set()
    for at in ranked[:_LOOKED_AT]:
        if len(found) == most or scores[at] < scores[ranked[0]] - _NEARLY:
            break
        late = _late(problem, seeds[at : at + 1])[0]
        fits = np.abs(late) <= _tolerance(problem)
        if fits.tobytes() in looked_at:
            continue
        looked_at.add(fits.tobytes())
        grown = _grown(problem, seeds[at : at + 1], SourceHypothesis(late, fits))
        if len(np.unique(owner[grown.fits])) >= _THREE and not any(
            np.array_equal(grown.fits, other.fits) for other in found
        ):
            found.append(grown)
    return found


def _first(
    times: FloatArray, owner: NDArray[np.intp], doubtful: NDArray[np.bool_], since: float, boxes: int
) -> NDArray[np.intp]:
    """Triples of the first two events of the first few boxes from an instant on, s after the first event."""
    chosen: list[int] = []
    seen: dict[int, int] = {}
    later = np.flatnonzero(times >= times.min() + since)
    # What may be an echo is taken last.
    for at in later[np.argsort(doubtful[later], kind="stable")].tolist():
        box = int(owner[at])
        if (box in seen or len(seen) < boxes) and seen.get(box, 0) < _EACH:
            seen[box] = seen.get(box, 0) + 1
            chosen.append(at)
    return np.sort(np.array(chosen, dtype=np.intp)[list_triples(len(chosen))], axis=1)


def _grown(problem: LocalisationProblem, seed: FloatArray, best: SourceHypothesis) -> SourceHypothesis:
    """A seed, and what else fits once it is fitted to what it fits: three arrivals alone may lie badly."""
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
    """Closed solutions of triples of events of different boxes, within hearing range."""
    # From several instants on, or in a train of many sounds what came first would fill the places.
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
    # The leeway is for the temperature, whose error a single seed does not know.
    return _BEYOND * problem.sigmas + _LEEWAY_S


def _late(problem: LocalisationProblem, seeds: FloatArray) -> FloatArray:
    distance, _ = compute_distances(problem, seeds[:, :2])
    return np.asarray(problem.times - seeds[:, 2:3] - distance / problem.settings.conditions.speed)


def _worth(problem: LocalisationProblem, owner: NDArray[np.intp]) -> FloatArray:
    """Less for an event soon after another one of its box: it may be an echo, or not the first round.

    Rounds of several boxes that are put together wrongly fit some place too, if the boxes are few.
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
    """How many boxes have an event that fits, each counting less the less it does, and less odd levels."""
    distance, _ = compute_distances(problem, seeds[:, :2])
    late = problem.times - seeds[:, 2:3] - distance / problem.settings.conditions.speed
    fit = np.maximum(1.0 - (late / _tolerance(problem)) ** 2, 0.0) * worth
    scores = np.maximum.reduceat(fit[:, order], starts, axis=1).sum(axis=1)
    told = ~np.isnan(problem.levels)
    if not told.any():
        return np.asarray(scores)
    source = problem.levels[told] + 20.0 * np.log10(distance[:, told])
    weight = (fit[:, told] > 0).astype(np.float64)
    total = np.maximum(weight.sum(axis=1), 1.0)
    mean = (source * weight).sum(axis=1) / total
    odd = (weight * ((source - mean[:, None]) / problem.settings.level_sigma_db) ** 2).sum(axis=1) / total
    return np.asarray(scores - _LEVELS_SHARE * np.minimum(odd, 9.0))
