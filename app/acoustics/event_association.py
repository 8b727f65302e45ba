"""Groups sound events from several boxes into incidents, in whatever order they were received. Pure.

The incidents depend only on the set of events. A caller that retains all events within
`event_links.compute_horizon_us` and calls again after a late event gets the result of the right order.

For each group of linked events, it takes the source that most boxes agree on, with its rounds, and repeats
this with the remaining events, unless a source consists of echoes of an earlier one. Then echoes are assigned
to their sources. The remaining events are paired as far as travel times allow.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from app.acoustics.candidate_event_groups import (
    ROUND_GAP_S,
    compute_horizon_us,
    group_linked_events,
    may_share_sound,
)
from app.acoustics.classification_pooling import CLASS_PRIOR, pool_classes
from app.acoustics.localisation import locate_sound
from app.acoustics.localisation_inputs import BoxPosition, LocalisationSettings, build_problem
from app.acoustics.localisation_results import LocalisationResult
from app.acoustics.shots_and_echoes import ECHO_S, find_further_rounds, split_rounds_and_echoes
from app.acoustics.sound_event_types import IncidentRound, SoundEvent, SoundIncident
from app.acoustics.source_consensus import SourceHypothesis, find_best_sources
from app.acoustics.tangent_plane import TangentPlane
from app.platform.kernel.instants import US_PER_S

_OWN: Final = 3
_MANY: Final = 5
_FEW: Final = 6
_HYPOTHESES: Final = 6
_US_PER_MS: Final = 1_000


@dataclass(slots=True)
class _Source:
    """A source that becomes an incident.

    Attributes:
        location: its location.
        rounds: interval after the known round (µs) and the event of each box; the known round first.
        delays: event id → delay (µs) of a box that heard only a reflection.
        echoes: the echoes that are assigned to it.
    """

    location: LocalisationResult
    rounds: list[tuple[int, dict[str, SoundEvent]]]
    delays: dict[str, int] = field(default_factory=dict)
    echoes: list[SoundEvent] = field(default_factory=list)

    @property
    def events(self) -> list[SoundEvent]:
        """The events of all rounds."""
        return [event for _, members in self.rounds for event in members.values()]

    def lag_us(self, event: SoundEvent) -> int | None:
        """Find the delay of an event as an echo of this source (µs); None if it cannot be one."""
        lags = [
            event.time_us - members[event.box].time_us for _, members in self.rounds if event.box in members
        ]
        if event.id in self.delays:
            lags.append(self.delays[event.id])
        return min((lag for lag in lags if 0 < lag <= ECHO_S * US_PER_S), default=None)


@dataclass(frozen=True, slots=True)
class _Scene:
    boxes: Mapping[str, BoxPosition]
    settings: LocalisationSettings
    prior: Mapping[str, float]
    frame: TangentPlane

    def locate(self, events: Iterable[SoundEvent]) -> LocalisationResult:
        """Locate the source of some events."""
        return locate_sound([event.arrival for event in events], self.boxes, self.settings, self.frame)

    def expected_us(self, location: LocalisationResult, boxes: Iterable[str]) -> dict[str, int]:
        """Compute when boxes should have heard a located sound (µs)."""
        position, speed = location.position, self.settings.conditions.speed
        if position is None:
            return {}
        out = {}
        for box in boxes:
            east, north = self.frame.to_plane(self.boxes[box].lon, self.boxes[box].lat)
            distance = math.hypot(east - position.east_m, north - position.north_m)
            out[box] = position.time_us + round(distance / speed * US_PER_S)
        return out


def associate_events(
    events: Iterable[SoundEvent],
    boxes: Mapping[str, BoxPosition],
    settings: LocalisationSettings | None = None,
    prior: Mapping[str, float] = CLASS_PRIOR,
) -> tuple[SoundIncident, ...]:
    """Group events into incidents.

    Args:
        events: in any order; duplicate ids count once.
        boxes: the positions of all boxes with events, by id.
        settings: the assumed errors; None: the defaults.
        prior: the probabilities of classes.

    Returns:
        The incidents by the time of their first event. Each event is in exactly one incident.

    Raises:
        KeyError: a box is unknown.
    """
    settings = settings or LocalisationSettings()
    once = {event.id: event for event in sorted(events, key=lambda event: event.key, reverse=True)}
    ordered = sorted(once.values(), key=lambda event: event.key)
    found = []
    for group in group_linked_events(ordered, boxes, settings):
        places = [boxes[box] for box in sorted({event.box for event in group})]
        frame = TangentPlane.around((box.lon, box.lat) for box in places)
        found += _find_incidents(group, _Scene(boxes, settings, prior, frame))
    return tuple(sorted(found, key=lambda incident: incident.events[0].key))


def _find_incidents(group: list[SoundEvent], scene: _Scene) -> list[SoundIncident]:
    sources: list[_Source] = []
    free, aside = list(group), list[SoundEvent]()
    reach = compute_horizon_us(scene.settings, max(abs(event.clock_error_ms or 0.0) for event in group))
    while free:
        # Events later than the travel time of sound are unrelated to the first one: long trains stay cheap.
        near = [event for event in free if event.time_us - free[0].time_us <= 2 * reach]
        source = _find_next_source(near, free, sources, scene)
        if source is None:
            if len(near) == len(free):
                break
            aside.append(free.pop(0))
            continue
        known = source.rounds[0][1].values()
        own = [event for event in known if all(other.lag_us(event) is None for other in sources)]
        if len(own) >= _OWN or len(known) >= _MANY:
            sources.append(source)
        else:
            # Three echoes of an earlier source always fit some position: they are assigned to it below.
            aside += source.events
        taken = {event.id for event in source.events}
        free = [event for event in free if event.id not in taken]
    left = _assign_echoes(sources, sorted([*free, *aside], key=lambda event: event.key))
    return [_make_incident(source, scene) for source in [*sources, *_pair_events(left, scene)]]


def _find_next_source(
    near: Sequence[SoundEvent], free: Sequence[SoundEvent], sources: Sequence[_Source], scene: _Scene
) -> _Source | None:
    """Find the source that most boxes of near events agree on, with its rounds; None if there is none."""
    names = sorted({event.box for event in near})
    if len(names) < _OWN:
        return None
    owner = np.array([names.index(event.box) for event in near], dtype=np.intp)
    doubtful = np.array([any(each.lag_us(event) is not None for each in sources) for event in near])
    problem = build_problem([event.arrival for event in near], scene.boxes, scene.frame, scene.settings)
    # With few boxes and many events, wrong combinations fit some position, too: rounds show which events
    # belong together.
    most = _HYPOTHESES if len(names) <= _FEW and len(near) > len(names) else 1
    best: _Source | None = None
    for hypothesis in find_best_sources(problem, owner, doubtful, most):
        source = _source(hypothesis, near, free, scene)
        # It must explain a whole round more: a few similar echoes must not win.
        if source is not None and (best is None or len(source.events) >= len(best.events) + _OWN):
            best = source
    return best


def _source(
    found: SourceHypothesis, near: Sequence[SoundEvent], free: Sequence[SoundEvent], scene: _Scene
) -> _Source | None:
    """Make the source of a hypothesis; None if its events fit no position."""
    latest = scene.settings.latest_ms * 1e-3
    chosen: dict[str, tuple[tuple[int, float], SoundEvent]] = {}
    for event, late, fits in zip(near, found.late.tolist(), found.fits.tolist(), strict=True):
        if fits or 0 < late <= latest:
            rank = (0 if fits else 1, abs(late))
            if event.box not in chosen or rank < chosen[event.box][0]:
                chosen[event.box] = (rank, event)
    events = {box: event for box, (_, event) in chosen.items()}
    location = scene.locate(events.values())
    if location.position is None:
        return None
    source = _with_rounds(location, events, free, scene)
    fullest = max((members for _, members in source.rounds), key=len)
    if len(fullest) > len(source.rounds[0][1]):
        # A round that more boxes heard gives a better position.
        again = scene.locate(fullest.values())
        if len(again.used) > len(location.used):
            return _with_rounds(again, fullest, free, scene)
    return source


def _with_rounds(
    location: LocalisationResult, events: Mapping[str, SoundEvent], free: Sequence[SoundEvent], scene: _Scene
) -> _Source:
    """Make a source with the rounds among the free events, from the events of one round."""
    heard = {box: events[box] for box in location.used}
    taken = {event.id for event in heard.values()}
    pool = [event for event in free if event.id not in taken]
    expected = scene.expected_us(location, {event.box for event in pool} - heard.keys())
    delays = {
        events[each.box].id: round(each.residual_ms * _US_PER_MS)
        for each in location.residuals
        if each.verdict == "late" and each.residual_ms is not None
    }
    return _Source(
        location, [(0, heard), *find_further_rounds(heard, expected, pool, scene.settings)], delays
    )


def _assign_echoes(sources: Sequence[_Source], free: Sequence[SoundEvent]) -> list[SoundEvent]:
    """Assign echoes to the source that they follow most closely, and return the other events."""
    left = []
    for event in free:
        lags = [(lag, at) for at, source in enumerate(sources) if (lag := source.lag_us(event)) is not None]
        if lags:
            sources[min(lags)[1]].echoes.append(event)
        else:
            left.append(event)
    return left


def _pair_events(free: Sequence[SoundEvent], scene: _Scene) -> list[_Source]:
    """Make sources of unexplained events: the first event with all that may share its sound, and so on."""
    sources = []
    left = list(free)
    while left:
        members: dict[str, SoundEvent] = {left[0].box: left[0]}
        for event in left[1:]:
            if event.box not in members and all(
                may_share_sound(event, other, scene.boxes, scene.settings) for other in members.values()
            ):
                members[event.box] = event
        location = scene.locate(members.values())
        if len(members) > 1 and location.evidence == "unlocated":
            # The events do not fit one position.
            members = {left[0].box: left[0]}
            location = scene.locate(members.values())
        source = (
            _make_single_box_source(left, location)
            if len(members) == 1
            else _make_multi_box_source(left, members, location, scene)
        )
        gone = {event.id for event in [*source.events, *source.echoes]}
        left = [event for event in left if event.id not in gone]
        sources.append(source)
    return sources


def _make_single_box_source(left: Sequence[SoundEvent], location: LocalisationResult) -> _Source:
    """Make a source of the events that one box alone heard in quick succession."""
    train = [left[0]]
    for event in left[1:]:
        if event.box == train[0].box and event.time_us - train[-1].time_us <= ROUND_GAP_S * US_PER_S:
            train.append(event)
    rounds, echoes = split_rounds_and_echoes(train)
    start = rounds[0].time_us
    return _Source(location, [(event.time_us - start, {event.box: event}) for event in rounds], echoes=echoes)


def _make_multi_box_source(
    left: Sequence[SoundEvent], members: dict[str, SoundEvent], location: LocalisationResult, scene: _Scene
) -> _Source:
    source = _with_rounds(location, members, left, scene)
    taken = {event.id for event in source.events}
    source.echoes = [event for event in left if event.id not in taken and source.lag_us(event) is not None]
    return source


def _make_incident(source: _Source, scene: _Scene) -> SoundIncident:
    ordered = sorted(source.rounds, key=lambda each: each[0])
    start = ordered[0][0]
    rounds = tuple(
        IncidentRound(after - start, tuple(sorted(members.values(), key=lambda event: event.key)))
        for after, members in ordered
    )
    classifications = [(event.box, event.candidates) for each in rounds for event in each.events]
    echoes = tuple(sorted(source.echoes, key=lambda event: event.key))
    return SoundIncident(source.location, rounds, echoes, pool_classes(classifications, scene.prior))


def match_incidents(before: Sequence[SoundIncident], after: Sequence[SoundIncident]) -> dict[int, int]:
    """Match incidents before and after new events arrived.

    Args:
        before: the earlier incidents.
        after: the present incidents.

    Returns:
        Index in `after` → index in `before`: the incident with most common events, the first one of a tie.
        Each earlier incident continues at most once. An index in `after` without an entry is a new incident;
        an index in `before` without one was merged into another incident.
    """
    return match_event_sets(
        *([[event.id for event in each.events] for each in side] for side in (before, after))
    )


def match_event_sets(before: Sequence[Iterable[str]], after: Sequence[Iterable[str]]) -> dict[int, int]:
    """Match sets of event ids as `match_incidents` matches incidents."""
    was = {event: at for at, events in enumerate(before) for event in events}
    shares: dict[tuple[int, int], int] = {}
    for at, events in enumerate(after):
        for event in events:
            if event in was:
                pair = (was[event], at)
                shares[pair] = shares.get(pair, 0) + 1
    out: dict[int, int] = {}
    for (old, new), _ in sorted(shares.items(), key=lambda item: (-item[1], item[0])):
        if new not in out and old not in out.values():
            out[new] = old
    return out
