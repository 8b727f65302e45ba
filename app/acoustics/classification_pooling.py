"""Pools the classifications of a sound by several boxes into class probabilities. Pure.

Each box reports confidences of some classes. The rest up to 1 is shared among all other classes in proportion
to the prior. The prior also replaces a hundredth of each distribution, since no detector is certain.
Distributions are pooled as logarithms, each against the prior (the logarithmic opinion pool of Genest and
Zidek, Statistical Science 1(1), 1986): ln P(class) = ln prior + w·Σ (ln p - ln prior) + constant.

Boxes of one make that hear one sound are not independent. If the correlation of their errors is r, n of them
count as n / (1 + (n - 1)·r) (Kish's effective size), hence w = 1 / (1 + (n - 1)·r). Contradicting boxes draw
the result towards the prior.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

OTHER_CLASS: Final = "other"
"""The class of sounds that no box named."""

GUNSHOT_CLASSES: Final = frozenset(
    {
        *("gunshot", "pistol", "revolver", "rifle", "carbine", "precision_rifle", "shotgun"),
        *("submachine_gun", "machine_gun"),
    }
)
"""Classes that are gunshots."""

CLASS_PRIOR: Final[Mapping[str, float]] = MappingProxyType(
    {
        "pistol": 0.12,
        "rifle": 0.05,
        "shotgun": 0.03,
        "gunshot": 0.05,
        "firework": 0.35,
        "vehicle_backfire": 0.12,
        "door_slam": 0.08,
        OTHER_CLASS: 0.20,
    }
)
"""Assumed frequencies of the classes of impulsive sounds; replace them by counts of your city."""

_UNLISTED: Final = 0.02
_DOUBT: Final = 0.01
_CORRELATION: Final = 0.5


@dataclass(frozen=True, slots=True)
class ClassCandidate:
    """A class that a box assigns to a sound.

    Attributes:
        kind: the class.
        confidence: 0 to 1.
        model: the model of the weapon, if reported.
    """

    kind: str
    confidence: float
    model: str | None = None


@dataclass(frozen=True, slots=True)
class PooledClassification:
    """The pooled classification of a sound.

    Attributes:
        kinds: classes and their probabilities, the likeliest first; they add up to 1. `other` is any class
            that is not named.
        gunshot: the probability of a gunshot of any kind.
        models: models and their probabilities, the likeliest first, for the likeliest class with models. The
            rest up to 1 is another model.
        boxes: the number of boxes with a classification.
    """

    kinds: tuple[tuple[str, float], ...]
    gunshot: float
    models: tuple[tuple[str, float], ...]
    boxes: int

    @property
    def not_gunshot(self) -> float:
        """The probability that it was not a gunshot."""
        return 1.0 - self.gunshot


def pool_classes(
    classifications: Iterable[tuple[str, Sequence[ClassCandidate]]], prior: Mapping[str, float] = CLASS_PRIOR
) -> PooledClassification:
    """Pool the classifications of several boxes.

    Args:
        classifications: the box and candidates of each event. Several events of a box (rounds) count once, by
            their mean.
        prior: probabilities of classes that add up to 1, including `other`. A missing class gets a tenth of
            the share of `other`.
    """
    by_box: dict[str, list[Sequence[ClassCandidate]]] = defaultdict(list)
    for box, candidates in classifications:
        if candidates:
            by_box[box].append(candidates)
    events = [candidates for listed in by_box.values() for candidates in listed]
    kinds = sorted({each.kind for listed in events for each in listed} | set(prior) | {OTHER_CLASS})
    base = _complete_prior(prior, kinds)
    distributions = [
        _mean([_distribute(_by_kind(candidates), base) for candidates in listed])
        for _, listed in sorted(by_box.items())
    ]
    found = _pool(base, distributions)
    ranked = tuple(sorted(found.items(), key=lambda item: (-item[1], item[0])))
    gunshot = sum(share for kind, share in ranked if kind in GUNSHOT_CLASSES)
    return PooledClassification(ranked, min(1.0, gunshot), _models(ranked, by_box), len(by_box))


def _complete_prior(prior: Mapping[str, float], kinds: Sequence[str]) -> dict[str, float]:
    rest = prior.get(OTHER_CLASS, _UNLISTED)
    raw = {kind: max(prior.get(kind, _UNLISTED * rest / 0.2), 1e-6) for kind in kinds}
    total = math.fsum(raw.values())
    return {kind: share / total for kind, share in raw.items()}


def _by_kind(candidates: Sequence[ClassCandidate]) -> dict[str, float]:
    found: dict[str, float] = defaultdict(float)
    for each in candidates:
        found[each.kind] += each.confidence
    return found


def _distribute(listed: Mapping[str, float], base: Mapping[str, float]) -> dict[str, float]:
    """Complete the confidences of one box to a distribution, with the prior and a little doubt."""
    total = math.fsum(listed.values())
    scale = 1.0 / total if total > 1.0 else 1.0
    left = max(0.0, 1.0 - total)
    unlisted = math.fsum(share for kind, share in base.items() if kind not in listed)
    rest = {
        kind: listed[kind] * scale if kind in listed else left * share / unlisted
        for kind, share in base.items()
    }
    whole = math.fsum(rest.values())
    return {kind: (1.0 - _DOUBT) * rest[kind] / whole + _DOUBT * base[kind] for kind in base}


def _mean(distributions: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Compute the normalised logarithmic mean of several distributions of one box."""
    logs = {
        kind: math.fsum(math.log(each[kind]) for each in distributions) / len(distributions)
        for kind in distributions[0]
    }
    return _normalise(logs)


def _pool(base: Mapping[str, float], distributions: Sequence[Mapping[str, float]]) -> dict[str, float]:
    weight = 1.0 / (1.0 + (len(distributions) - 1) * _CORRELATION) if distributions else 0.0
    return _normalise(
        {
            kind: math.log(share)
            + weight * math.fsum(math.log(each[kind]) - math.log(share) for each in distributions)
            for kind, share in base.items()
        }
    )


def _normalise(logs: Mapping[str, float]) -> dict[str, float]:
    top = max(logs.values())
    raw = {kind: math.exp(value - top) for kind, value in logs.items()}
    total = math.fsum(raw.values())
    return {kind: value / total for kind, value in raw.items()}


def _models(
    ranked: Sequence[tuple[str, float]], by_box: Mapping[str, Sequence[Sequence[ClassCandidate]]]
) -> tuple[tuple[str, float], ...]:
    """Pool the models of the likeliest class with models. The rest is the share of another model."""
    for kind, _ in ranked:
        by_model = {
            box: [_of_models(candidates, kind) for candidates in listed]
            for box, listed in sorted(by_box.items())
        }
        named = sorted({model for listed in by_model.values() for each in listed for model in each})
        if named:
            share = 1.0 / (len(named) + 1)
            base = dict.fromkeys([*named, ""], share)
            distributions = [
                _mean([_distribute(each, base) for each in listed if each])
                for listed in by_model.values()
                if any(listed)
            ]
            found = _pool(base, distributions)
            return tuple(sorted(((m, found[m]) for m in named), key=lambda item: (-item[1], item[0])))
    return ()


def _of_models(candidates: Sequence[ClassCandidate], kind: str) -> dict[str, float]:
    """Compute the shares of the models of a class in the classification of a box."""
    whole = math.fsum(each.confidence for each in candidates if each.kind == kind)
    found: dict[str, float] = defaultdict(float)
    for each in candidates:
        if each.kind == kind and each.model is not None and whole > 0:
            found[each.model] += each.confidence / whole
    return dict(found)
