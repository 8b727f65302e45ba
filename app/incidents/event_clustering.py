"""Events of a stretch, to what was heard: incidents with the part that each event has in them. Pure.

Boxes whose place is known are the business of `app.acoustics`. One whose place nobody has said tells nothing
of where a sound was; it heard it all the same: it is given to the incident whose sound may have come to it
then, and its opinion counts.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from app.acoustics.class_pooling import ClassCandidate, PooledClassification, pool_classes
from app.acoustics.event_association import associate_events
from app.acoustics.event_links import compute_horizon_us
from app.acoustics.localisation_inputs import US_PER_SECOND, BoxPosition, LocalisationSettings
from app.acoustics.localisation_results import LocalisationResult
from app.acoustics.shots_and_echoes import split_rounds_and_echoes
from app.acoustics.sound_events import SoundEvent, SoundIncident

type EventRole = Literal["round", "echo"]
type Verdict = Literal["used", "late", "early", "inconsistent", "unplaced"]

ALARMING_TYPES: Final = frozenset({"gunshot", "explosion"})
"""Types, and classes, for which an incident is opened."""

HEARD_TYPES: Final = ("gunshot", "explosion", "impulse", "glass_break")
"""Types of events that may be of an incident."""

MAX_CLOCK_ERROR_MS: Final = 250.0
"""A clock that says it is worse is taken for this one, or it would be linked with everything."""

_BY_TYPE: Final = 0.7
_MOST_CANDIDATES: Final = 10


@dataclass(frozen=True, slots=True)
class HeardEvent:
    """An event of a box.

    Attributes:
        id: the event's.
        box: the box's.
        time_us: the onset, µs since the epoch.
        type: one of HEARD_TYPES.
        candidates: what the box takes it for.
        level_db: how loud it was.
        clock_error_ms: as the box told it.
        place: longitude and latitude of the box; None where nobody has said.
    """

    id: str
    box: str
    time_us: int
    type: str
    candidates: tuple[ClassCandidate, ...] = ()
    level_db: float | None = None
    clock_error_ms: float | None = None
    place: tuple[float, float] | None = None

    @property
    def event(self) -> SoundEvent:
        """As `app.acoustics` takes it. A type without candidates is one, of a box that is not sure."""
        told = self.candidates[:_MOST_CANDIDATES]
        if not told and self.type != "impulse":
            told = (ClassCandidate(self.type, _BY_TYPE),)
        clock = self.clock_error_ms
        error = None if clock is None else min(abs(clock), MAX_CLOCK_ERROR_MS)
        return SoundEvent(self.id, self.box, self.time_us, told, self.level_db, error)


@dataclass(frozen=True, slots=True)
class IncidentPart:
    """What an event has to do with an incident.

    Attributes:
        heard: the event.
        role: whether it is of a round, or the echo of one.
        round: which round, from 1 on; None of echoes, and of boxes without a place.
        verdict: what became of it in finding the place; None: another round tells that.
        residual_ms: heard minus expected from the position; None where there is none.
    """

    heard: HeardEvent
    role: EventRole
    round: int | None = None
    verdict: Verdict | None = None
    residual_ms: float | None = None


@dataclass(frozen=True, slots=True)
class EventCluster:
    """What was heard of one source.

    Attributes:
        parts: the events, by time, box and id.
        location: where it was.
        occurred_us: when the first round was; where there is no position, when it was first heard.
        rounds: how many there were.
        opinion: what it was.
        crowded: it is of a slot that was looked at by itself.
    """

    parts: tuple[IncidentPart, ...]
    location: LocalisationResult
    occurred_us: int
    rounds: int
    opinion: PooledClassification
    crowded: bool = False

    @property
    def ids(self) -> tuple[str, ...]:
        """Of its events."""
        return tuple(part.heard.id for part in self.parts)

    @property
    def boxes(self) -> list[str]:
        """Those that heard it."""
        return sorted({part.heard.box for part in self.parts})

    @property
    def first_us(self) -> int:
        """Of the first event."""
        return self.parts[0].heard.time_us

    @property
    def last_us(self) -> int:
        """Of the last event."""
        return self.parts[-1].heard.time_us

    @property
    def probability(self) -> float:
        """That it was a gunshot or an explosion."""
        explosion = sum(share for kind, share in self.opinion.kinds if kind == "explosion")
        return min(1.0, self.opinion.gunshot + explosion)

    def opens(self, least: float) -> bool:
        """Whether it is reason for an incident: probable enough, or the type of an event says so."""
        said = any(part.heard.type in ALARMING_TYPES for part in self.parts if part.role == "round")
        return said or self.probability >= least


def cluster_events(
    heard: Iterable[HeardEvent], settings: LocalisationSettings, *, crowded: bool = False
) -> list[EventCluster]:
    """What events tell together: each event is in exactly one of what comes back.

    Args:
        heard: in any order.
        settings: what is assumed of errors.
        crowded: whether they were cut out of more.
    """
    ordered = sorted(heard, key=lambda each: each.event.key)
    by_id = {each.id: each for each in ordered}
    places: dict[str, BoxPosition] = {}
    for each in ordered:
        if each.place is not None:
            places.setdefault(each.box, BoxPosition(each.box, *each.place))
    placed = [each.event for each in ordered if each.box in places]
    found = (
        [_found(incident, by_id) for incident in associate_events(placed, places, settings)] if placed else []
    )
    rest = [each for each in ordered if each.box not in places]
    for each in rest[:]:
        at = _whose(each, found, settings)
        if at is not None:
            found[at] = _joined(found[at], each)
            rest.remove(each)
    found += _of_nowhere(rest, settings)
    return sorted(
        (replace(each, crowded=crowded) for each in found), key=lambda each: each.parts[0].heard.event.key
    )


def _found(incident: SoundIncident, by_id: Mapping[str, HeardEvent]) -> EventCluster:
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
        # A box that heard nothing but a reflection told that, and its event is an echo.
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
    """The place of the round that the position is of: most of the boxes that tell it are in it."""
    used = set(incident.location.used)
    shares = [len(used & {event.box for event in each.events}) for each in incident.rounds]
    return max(range(len(shares)), key=lambda at: (shares[at], -at))


def _whose(event: HeardEvent, found: Sequence[EventCluster], settings: LocalisationSettings) -> int | None:
    """The incident whose sound may have come to a box then, of several the nearest in time."""
    reach = compute_horizon_us(settings, MAX_CLOCK_ERROR_MS)
    away = []
    for at, each in enumerate(found):
        first = each.occurred_us if each.location.position is not None else each.first_us - reach
        if first - US_PER_SECOND // 2 <= event.time_us <= each.last_us + reach:
            away.append((min(abs(event.time_us - part.heard.time_us) for part in each.parts), at))
    return min(away)[1] if away else None


def _joined(found: EventCluster, event: HeardEvent) -> EventCluster:
    parts = sorted(
        [*found.parts, IncidentPart(event, "round", None, "unplaced")], key=lambda part: part.heard.event.key
    )
    return replace(found, parts=tuple(parts), opinion=_opinion(parts))


def _opinion(parts: Iterable[IncidentPart]) -> PooledClassification:
    return pool_classes(
        [(part.heard.box, part.heard.event.candidates) for part in parts if part.role == "round"]
    )


def _of_nowhere(rest: Sequence[HeardEvent], settings: LocalisationSettings) -> list[EventCluster]:
    """What boxes without a place heard among themselves, as far as one sound may have come to all."""
    reach = compute_horizon_us(settings, MAX_CLOCK_ERROR_MS)
    groups: list[list[HeardEvent]] = []
    for each in rest:
        if groups and each.time_us - groups[-1][0].time_us <= reach:
            groups[-1].append(each)
        else:
            groups.append([each])
    return [_alone(group) for group in groups]


def _alone(group: Sequence[HeardEvent]) -> EventCluster:
    by_id = {each.id: each for each in group}
    parts, most = [], 1
    for box in sorted({each.box for each in group}):
        rounds, echoes = split_rounds_and_echoes([each.event for each in group if each.box == box])
        most = max(most, len(rounds))
        parts += [IncidentPart(by_id[event.id], "round", None, "unplaced") for event in rounds]
        parts += [IncidentPart(by_id[event.id], "echo", None, "unplaced") for event in echoes]
    parts.sort(key=lambda part: part.heard.event.key)
    return EventCluster(
        tuple(parts), LocalisationResult("unlocated", ()), group[0].time_us, most, _opinion(parts)
    )


@dataclass(frozen=True, slots=True)
class AirTemperature:
    """What the air's temperature was taken for.

    Attributes:
        celsius: °C.
        sigma_celsius: standard error of that, °C.
        boxes: how many measured it; 0: it is the setting.
    """

    celsius: float
    sigma_celsius: float
    boxes: int = field(default=0)

    def shown(self) -> dict[str, float | int | str]:
        """As incidents keep it."""
        return {
            "celsius": round(self.celsius, 2),
            "sigma_celsius": self.sigma_celsius,
            "source": "measured" if self.boxes else "default",
            "boxes": self.boxes,
        }
