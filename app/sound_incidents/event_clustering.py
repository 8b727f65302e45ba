"""Groups the sound events of a time window into incidents and records each event's role. Pure.

`app.acoustics` associates and locates the events of boxes with a known position. An event of a box without a
position joins the incident whose sound may have reached the box at that time. It counts for the
classification, not for the position.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from app.acoustics.candidate_event_groups import compute_horizon_us
from app.acoustics.classification_pooling import ClassCandidate, PooledClassification, pool_classes
from app.acoustics.event_association import associate_events
from app.acoustics.localisation_inputs import BoxPosition, LocalisationSettings
from app.acoustics.localisation_results import LocalisationResult
from app.acoustics.shots_and_echoes import split_rounds_and_echoes
from app.acoustics.sound_event_types import SoundEvent, SoundIncident
from app.platform.kernel.instants import US_PER_S

type EventRole = Literal["round", "echo"]
type Verdict = Literal["used", "late", "early", "inconsistent", "unplaced"]

ALARMING_TYPES: Final = frozenset({"gunshot", "explosion"})
"""Types, and classes, for which an incident is opened."""

HEARD_TYPES: Final = ("gunshot", "explosion", "impulse", "glass_break")
"""Types of events that may be part of an incident."""

MAX_CLOCK_ERROR_MS: Final = 250.0
"""Upper limit of a box's reported clock error: with a larger one, its events would match every incident."""

# Assumed confidence of an event with a type and no candidates.
_TYPE_CONFIDENCE: Final = 0.7
_MAX_CANDIDATES: Final = 10


@dataclass(frozen=True, slots=True)
class HeardEvent:
    """A sound event of a box.

    Attributes:
        id: the id of the event.
        box: the id of the box.
        time_us: the onset, µs since the epoch.
        type: one of HEARD_TYPES.
        candidates: the classes that the box proposes.
        level_db: the sound level, dB.
        clock_error_ms: the clock error that the box reported, ms.
        position: longitude and latitude of the box, degrees; None if unknown.
    """

    id: str
    box: str
    time_us: int
    type: str
    candidates: tuple[ClassCandidate, ...] = ()
    level_db: float | None = None
    clock_error_ms: float | None = None
    position: tuple[float, float] | None = None

    @property
    def event(self) -> SoundEvent:
        """The event in the form of `app.acoustics`. Without candidates, the type is a candidate."""
        candidates = self.candidates[:_MAX_CANDIDATES]
        if not candidates and self.type != "impulse":
            candidates = (ClassCandidate(self.type, _TYPE_CONFIDENCE),)
        clock = self.clock_error_ms
        error = None if clock is None else min(abs(clock), MAX_CLOCK_ERROR_MS)
        return SoundEvent(self.id, self.box, self.time_us, candidates, self.level_db, error)


@dataclass(frozen=True, slots=True)
class IncidentPart:
    """The role of an event in an incident.

    Attributes:
        heard: the event.
        role: whether it belongs to a round, or is the echo of one.
        round: the number of the round, from 1; None for echoes, and for boxes without a position.
        verdict: how localisation used the event; None if another round of the incident was located.
        residual_ms: measured minus expected arrival time, ms; None without a position.
    """

    heard: HeardEvent
    role: EventRole
    round: int | None = None
    verdict: Verdict | None = None
    residual_ms: float | None = None


@dataclass(frozen=True, slots=True)
class EventCluster:
    """The events of one sound source.

    Attributes:
        parts: the events, by time, box and id.
        location: the position of the source.
        occurred_us: the time of the first round; without a position, the time of the first event.
        rounds: the number of rounds.
        classification: the pooled classification of the source.
        crowded: it was clustered from a single slot of a longer window.
    """

    parts: tuple[IncidentPart, ...]
    location: LocalisationResult
    occurred_us: int
    rounds: int
    classification: PooledClassification
    crowded: bool = False

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of the events."""
        return tuple(part.heard.id for part in self.parts)

    @property
    def boxes(self) -> list[str]:
        """The boxes that sent the events."""
        return sorted({part.heard.box for part in self.parts})

    @property
    def first_us(self) -> int:
        """The time of the first event, µs since the epoch."""
        return self.parts[0].heard.time_us

    @property
    def last_us(self) -> int:
        """The time of the last event, µs since the epoch."""
        return self.parts[-1].heard.time_us

    @property
    def probability(self) -> float:
        """The probability of a gunshot or an explosion."""
        explosion = sum(share for kind, share in self.classification.kinds if kind == "explosion")
        return min(1.0, self.classification.gunshot + explosion)

    def opens(self, least: float) -> bool:
        """Return whether it opens an incident: by an alarming event type, or a probability >= `least`."""
        alarming = any(part.heard.type in ALARMING_TYPES for part in self.parts if part.role == "round")
        return alarming or self.probability >= least


def cluster_events(
    heard: Iterable[HeardEvent], settings: LocalisationSettings, *, crowded: bool = False
) -> list[EventCluster]:
    """Group events into clusters; each event belongs to exactly one of them.

    Args:
        heard: the events, in any order.
        settings: the error model of the site.
        crowded: whether the events are a slot of a longer window.
    """
    ordered = sorted(heard, key=lambda each: each.event.key)
    by_id = {each.id: each for each in ordered}
    positions: dict[str, BoxPosition] = {}
    for each in ordered:
        if each.position is not None:
            positions.setdefault(each.box, BoxPosition(each.box, *each.position))
    placed = [each.event for each in ordered if each.box in positions]
    clusters = (
        [_build_cluster(incident, by_id) for incident in associate_events(placed, positions, settings)]
        if placed
        else []
    )
    rest = [each for each in ordered if each.box not in positions]
    for each in rest[:]:
        at = _find_audible_cluster(each, clusters, settings)
        if at is not None:
            clusters[at] = _add_event(clusters[at], each)
            rest.remove(each)
    clusters += _cluster_unplaced_events(rest, settings)
    return sorted(
        (replace(each, crowded=crowded) for each in clusters), key=lambda each: each.parts[0].heard.event.key
    )


def _build_cluster(incident: SoundIncident, by_id: Mapping[str, HeardEvent]) -> EventCluster:
    main = _main_round(incident)
    residuals = {each.box: each for each in incident.location.residuals}
    parts = []
    for number, each in enumerate(incident.rounds, start=1):
        for event in each.events:
            residual = residuals.pop(event.box, None) if number - 1 == main else None
            parts.append(
                IncidentPart(
                    by_id[event.id],
                    "round",
                    number,
                    None if residual is None else residual.verdict,
                    None if residual is None else residual.residual_ms,
                )
            )
    for event in incident.echoes:
        # The only event of a box may be a reflection: then it is an echo with a residual.
        residual = residuals.pop(event.box, None)
        verdict = None if residual is None else residual.verdict
        parts.append(
            IncidentPart(
                by_id[event.id], "echo", None, verdict, None if residual is None else residual.residual_ms
            )
        )
    parts.sort(key=lambda part: part.heard.event.key)
    position = incident.location.position
    began = parts[0].heard.time_us
    if position is not None:
        began = position.time_us - incident.rounds[main].after_us
    return EventCluster(tuple(parts), incident.location, began, len(incident.rounds), incident.classification)


def _main_round(incident: SoundIncident) -> int:
    """Return the index of the located round: it has most of the boxes that determined the position."""
    used = set(incident.location.used)
    shares = [len(used & {event.box for event in each.events}) for each in incident.rounds]
    return max(range(len(shares)), key=lambda at: (shares[at], -at))


def _find_audible_cluster(
    event: HeardEvent, clusters: Sequence[EventCluster], settings: LocalisationSettings
) -> int | None:
    """Find the cluster with a sound that may have reached the box then; of several the nearest in time."""
    horizon_us = compute_horizon_us(settings, MAX_CLOCK_ERROR_MS)
    distances = []
    for at, each in enumerate(clusters):
        first = each.occurred_us if each.location.position is not None else each.first_us - horizon_us
        if first - US_PER_S // 2 <= event.time_us <= each.last_us + horizon_us:
            distances.append((min(abs(event.time_us - part.heard.time_us) for part in each.parts), at))
    return min(distances)[1] if distances else None


def _add_event(cluster: EventCluster, event: HeardEvent) -> EventCluster:
    parts = sorted(
        [*cluster.parts, IncidentPart(event, "round", None, "unplaced")],
        key=lambda part: part.heard.event.key,
    )
    return replace(cluster, parts=tuple(parts), classification=_classify(parts))


def _classify(parts: Iterable[IncidentPart]) -> PooledClassification:
    return pool_classes(
        [(part.heard.box, part.heard.event.candidates) for part in parts if part.role == "round"]
    )


def _cluster_unplaced_events(
    events: Sequence[HeardEvent], settings: LocalisationSettings
) -> list[EventCluster]:
    """Group the remaining events of boxes without a position, if one sound may have reached all of them."""
    horizon_us = compute_horizon_us(settings, MAX_CLOCK_ERROR_MS)
    groups: list[list[HeardEvent]] = []
    for each in events:
        if groups and each.time_us - groups[-1][0].time_us <= horizon_us:
            groups[-1].append(each)
        else:
            groups.append([each])
    return [_build_unplaced_cluster(group) for group in groups]


def _build_unplaced_cluster(group: Sequence[HeardEvent]) -> EventCluster:
    by_id = {each.id: each for each in group}
    parts, most = [], 1
    for box in sorted({each.box for each in group}):
        rounds, echoes = split_rounds_and_echoes([each.event for each in group if each.box == box])
        most = max(most, len(rounds))
        parts += [IncidentPart(by_id[event.id], "round", None, "unplaced") for event in rounds]
        parts += [IncidentPart(by_id[event.id], "echo", None, "unplaced") for event in echoes]
    parts.sort(key=lambda part: part.heard.event.key)
    return EventCluster(
        tuple(parts), LocalisationResult("unlocated", ()), group[0].time_us, most, _classify(parts)
    )


@dataclass(frozen=True, slots=True)
class AirTemperature:
    """The estimated air temperature.

    Attributes:
        celsius: °C.
        sigma_celsius: its standard error, °C.
        boxes: the number of boxes that measured it; 0 for a default.
    """

    celsius: float
    sigma_celsius: float
    boxes: int = field(default=0)

    def shown(self) -> dict[str, float | int | str]:
        """Return the JSON that incidents store."""
        return {
            "celsius": round(self.celsius, 2),
            "sigma_celsius": self.sigma_celsius,
            "source": "measured" if self.boxes else "default",
            "boxes": self.boxes,
        }
