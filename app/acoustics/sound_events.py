"""Events of boxes, and incidents made of them. Pure."""

from dataclasses import dataclass

from app.acoustics.class_pooling import ClassCandidate, PooledClassification
from app.acoustics.localisation_inputs import SoundArrival
from app.acoustics.localisation_results import LocalisationResult


@dataclass(frozen=True, slots=True)
class SoundEvent:
    """What a box reported.

    Attributes:
        id: of the event; no two have the same.
        box: its id.
        time_us: the onset, µs since 1970.
        candidates: what it may have been.
        level_db: how loud it was.
        clock_error_ms: the box's estimate of its clock's standard error.
    """

    id: str
    box: str
    time_us: int
    candidates: tuple[ClassCandidate, ...] = ()
    level_db: float | None = None
    clock_error_ms: float | None = None

    @property
    def key(self) -> tuple[int, str, str]:
        """The order of events: by time, box, id."""
        return self.time_us, self.box, self.id

    @property
    def arrival(self) -> SoundArrival:
        """For localisation."""
        return SoundArrival(self.box, self.time_us, self.clock_error_ms, self.level_db)


@dataclass(frozen=True, slots=True)
class IncidentRound:
    """One shot of an incident.

    Attributes:
        after_us: the incident's first round, µs.
        events: that are of it, one of each box at most.
    """

    after_us: int
    events: tuple[SoundEvent, ...]


@dataclass(frozen=True, slots=True)
class SoundIncident:
    """Sounds of one place in quick succession.

    Attributes:
        location: where, by the round that most boxes heard.
        rounds: in their order; one for a single shot.
        echoes: events that are reflections of a round, and no rounds of their own.
        opinion: what it was.
    """

    location: LocalisationResult
    rounds: tuple[IncidentRound, ...]
    echoes: tuple[SoundEvent, ...]
    opinion: PooledClassification

    @property
    def events(self) -> tuple[SoundEvent, ...]:
        """All events, in their order."""
        told = [*self.echoes, *(event for each in self.rounds for event in each.events)]
        return tuple(sorted(told, key=lambda event: event.key))

    @property
    def boxes(self) -> tuple[str, ...]:
        """The boxes that heard it, in order."""
        return tuple(sorted({event.box for event in self.events}))
