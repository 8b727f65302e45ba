"""What a sound was, from what several boxes take it for. Pure.

Each box tells confidences of some classes; what it leaves of 1 goes to all others in proportion to the
prior, and a hundredth of everything too, since no detector is sure. Opinions are pooled as logarithms,
each against the prior (the logarithmic opinion pool of Genest and Zidek, Statistical Science 1(1), 1986,
around a prior): ln P(class) = ln prior + w·Σ (ln p - ln prior) + constant. Boxes of one make that hear one
sound are not independent: with a correlation r of what they get wrong, n of them count as n / (1 + (n -
1)·r) (Kish's effective size), hence w = 1 / (1 + (n - 1)·r). Boxes that contradict each other draw the
pool towards the prior.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

OTHER_CLASS: Final = "other"
"""What nobody named."""

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
"""How often impulsive sounds are what: an assumption, to be replaced by a city's own counts."""

_UNLISTED: Final = 0.02
_DOUBT: Final = 0.01
_CORRELATION: Final = 0.5


@dataclass(frozen=True, slots=True)
class ClassCandidate:
    """One thing that a box takes a sound for.

    Attributes:
        kind: the class.
        confidence: 0 to 1.
        model: of the weapon, where told.
    """

    kind: str
    confidence: float
    model: str | None = None


@dataclass(frozen=True, slots=True)
class PooledClassification:
    """What boxes together take a sound for.

    Attributes:
        kinds: classes and their probabilities, together 1, the likeliest first; `other` is none of the named.
        gunshot: the probability that it was a gunshot at all.
        models: of the likeliest class that has any: models and their probabilities, the likeliest first; what
            is left of 1 is another model.
        boxes: how many told anything.
    """

    kinds: tuple[tuple[str, float], ...]
    gunshot: float
    models: tuple[tuple[str, float], ...]
    boxes: int

    @property
    def not_gunshot(self) -> float:
        """The probability that it was no gunshot."""
        return 1.0 - self.gunshot


def pool_classes(
    told: Iterable[tuple[str, Sequence[ClassCandidate]]], prior: Mapping[str, float] = CLASS_PRIOR
) -> PooledClassification:
    """What boxes together take a sound for.

    Args:
        told: box and candidates of each event; of several events of a box (rounds) the mean counts, once.
        prior: probabilities of classes, together 1, `other` among them; a class that it does not have gets a
            fiftieth of it.
    """
    by_box: dict[str, list[Sequence[ClassCandidate]]] = defaultdict(list)
    for box, candidates in told:
        if candidates:
            by_box[box].append(candidates)
    events = [candidates for listed in by_box.values() for candidates in listed]
    kinds = sorted({each.kind for listed in events for each in listed} | set(prior) | {OTHER_CLASS})
    base = _completed(prior, kinds)
    opinions = [
        _mean([_opinion(_by_kind(candidates), base) for candidates in listed])
        for _, listed in sorted(by_box.items())
    ]
    found = _pool(base, opinions)
    ranked = tuple(sorted(found.items(), key=lambda item: (-item[1], item[0])))
    gunshot = sum(share for kind, share in ranked if kind in GUNSHOT_CLASSES)
    return PooledClassification(ranked, min(1.0, gunshot), _models(ranked, by_box), len(by_box))


def _completed(prior: Mapping[str, float], kinds: Sequence[str]) -> dict[str, float]:
    rest = prior.get(OTHER_CLASS, _UNLISTED)
    raw = {kind: max(prior.get(kind, _UNLISTED * rest / 0.2), 1e-6) for kind in kinds}
    total = math.fsum(raw.values())
    return {kind: share / total for kind, share in raw.items()}


def _by_kind(candidates: Sequence[ClassCandidate]) -> dict[str, float]:
    found: dict[str, float] = defaultdict(float)
    for each in candidates:
        found[each.kind] += each.confidence
    return found


def _opinion(listed: Mapping[str, float], base: Mapping[str, float]) -> dict[str, float]:
    """One box's distribution: what it lists, the rest by the prior, and a little doubt."""
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


def _mean(opinions: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The logarithmic mean of several opinions of one box, made whole."""
    logs = {
        kind: math.fsum(math.log(each[kind]) for each in opinions) / len(opinions) for kind in opinions[0]
    }
    return _whole(logs)


def _pool(base: Mapping[str, float], opinions: Sequence[Mapping[str, float]]) -> dict[str, float]:
    weight = 1.0 / (1.0 + (len(opinions) - 1) * _CORRELATION) if opinions else 0.0
    return _whole(
        {
            kind: math.log(share)
            + weight * math.fsum(math.log(each[kind]) - math.log(share) for each in opinions)
            for kind, share in base.items()
        }
    )


def _whole(logs: Mapping[str, float]) -> dict[str, float]:
    top = max(logs.values())
    raw = {kind: math.exp(value - top) for kind, value in logs.items()}
    total = math.fsum(raw.values())
    return {kind: value / total for kind, value in raw.items()}


def _models(
    ranked: Sequence[tuple[str, float]], by_box: Mapping[str, Sequence[Sequence[ClassCandidate]]]
) -> tuple[tuple[str, float], ...]:
    """Models of the likeliest class of which any box names one; a model not named counts as another one."""
    for kind, _ in ranked:
        told = {
            box: [_of_models(candidates, kind) for candidates in listed]
            for box, listed in sorted(by_box.items())
        }
        named = sorted({model for listed in told.values() for each in listed for model in each})
        if named:
            share = 1.0 / (len(named) + 1)
            base = dict.fromkeys([*named, ""], share)
            opinions = [
                _mean([_opinion(each, base) for each in listed if each])
                for listed in told.values()
                if any(listed)
            ]
            found = _pool(base, opinions)
            return tuple(sorted(((m, found[m]) for m in named), key=lambda item: (-item[1], item[0])))
    return ()


def _of_models(candidates: Sequence[ClassCandidate], kind: str) -> dict[str, float]:
    """How a box divides a class among models."""
    whole = math.fsum(each.confidence for each in candidates if each.kind == kind)
    found: dict[str, float] = defaultdict(float)
    for each in candidates:
        if each.kind == kind and each.model is not None and whole > 0:
            found[each.model] += each.confidence / whole
    return dict(found)
