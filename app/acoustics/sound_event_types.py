"""Defines the data types of sound events that boxes report, and of the incidents made from them. Pure."""

from dataclasses import dataclass

from app.acoustics.classification_pooling import ClassCandidate, PooledClassification
from app.acoustics.localisation_inputs import SoundArrival
from app.acoustics.localisation_results import LocalisationResult


@dataclass(frozen=True, slots=True)
class SoundEvent:
    """A sound event that a box reported.

    Attributes:
        id: the unique id of the event.
        box: the id of the box.
        time_us: the onset, µs since 1970.
        candidates: the classes that the box assigns.
        level_db: the sound level (dB).
        clock_error_ms: the box's estimate of the standard error of its clock.
    """

    id: str
    box: str
    time_us: int
    candidates: tuple[ClassCandidate, ...] = ()
    level_db: float | None = None
    clock_error_ms: float | None = None

    @property
    def key(self) -> tuple[int, str, str]:
        """The sort key of events: time, box, id."""
        return self.time_us, self.box, self.id

    @property
    def arrival(self) -> SoundArrival:
        """The arrival of this event, for localisation."""
        return SoundArrival(self.box, self.time_us, self.clock_error_ms, self.level_db)


@dataclass(frozen=True, slots=True)
class IncidentRound:
    """One shot of an incident.

    Attributes:
        after_us: the time after the first round of the incident (µs).
        events: its events, at most one per box.
    """

    after_us: int
    events: tuple[SoundEvent, ...]


@dataclass(frozen=True, slots=True)
class SoundIncident:
    """The sounds of one source in quick succession.

    Attributes:
        location: the location by the round that most boxes heard.
        rounds: in their order; a single shot has one.
        echoes: events that are reflections of a round.
        classification: the pooled classification.
    """

    location: LocalisationResult
    rounds: tuple[IncidentRound, ...]
    echoes: tuple[SoundEvent, ...]
    classification: PooledClassification

    @property
    def events(self) -> tuple[SoundEvent, ...]:
        """All events, in their order."""
        events = [*self.echoes, *(event for each in self.rounds for event in each.events)]
        return tuple(sorted(events, key=lambda event: event.key))

    @property
    def boxes(self) -> tuple[str, ...]:
        """The boxes that heard it, in order."""
        return tuple(sorted({event.box for event in self.events}))
