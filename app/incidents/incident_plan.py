"""What becomes of the incidents there are, now that events have come or gone. Pure.

An incident goes on in what has most of its events. One that somebody has reviewed is not changed: what comes
later is put on record with it. One whose events are all of others now was a part of these: it is superseded.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from app.acoustics.event_association import match_event_sets
from app.incidents.event_clustering import EventCluster, HeardEvent, IncidentPart


@dataclass(frozen=True, slots=True)
class StoredIncident:
    """An incident there is.

    Attributes:
        row: its columns.
        events: the ids of its events.
    """

    row: Mapping[str, Any]
    events: frozenset[str]

    @property
    def id(self) -> UUID:
        """Its own."""
        identifier: UUID = self.row["id"]
        return identifier

    @property
    def reviewed(self) -> bool:
        """Whether somebody has said what it was."""
        return bool(self.row["state"] != "open")


@dataclass(slots=True)
class IncidentPlan:
    """What is to be written.

    Attributes:
        opened: new incidents.
        continued: those that go on, with what they are now.
        late: reviewed ones, with the events that are theirs too.
        superseded: those that are parts of others, with the place of that one in `continued` or `opened`, or
            its id.
    """

    opened: list[EventCluster] = field(default_factory=list)
    continued: list[tuple[StoredIncident, EventCluster]] = field(default_factory=list)
    late: list[tuple[StoredIncident, list[IncidentPart]]] = field(default_factory=list)
    superseded: list[tuple[StoredIncident, UUID]] = field(default_factory=list)


def exclude_partial_incidents(
    heard: Iterable[HeardEvent], known: Sequence[StoredIncident]
) -> tuple[list[HeardEvent], list[StoredIncident]]:
    """For a slot by itself: without the incidents of which it has a part alone, and their events."""
    there = {each.id: each for each in heard}
    whole = [each for each in known if each.events <= there.keys()]
    elsewhere = {event for each in known if each not in whole for event in each.events}
    return [each for name, each in there.items() if name not in elsewhere], whole


def plan_incidents(
    found: Sequence[EventCluster], known: Sequence[StoredIncident], least: float
) -> IncidentPlan:
    """What to write.

    Args:
        found: what there is to be heard, of all events of those that are known among others.
        known: incidents, in the order of their ids.
        least: how probable a shot or an explosion has to be.
    """
    plan = IncidentPlan()
    owner = {event: at for at, each in enumerate(known) for event in each.events}
    mine: dict[int, UUID] = {}
    rest: list[int] = []
    for place, each in enumerate(found):
        shares = Counter(owner[event] for event in each.ids if event in owner)
        reviewed = sorted((-count, at) for at, count in shares.items() if known[at].reviewed)
        if not reviewed:
            rest.append(place)
            continue
        chosen = known[reviewed[0][1]]
        mine[place] = chosen.id
        new = [
            part
            for part in each.parts
            if part.heard.id not in owner or not known[owner[part.heard.id]].reviewed
        ]
        if new:
            plan.late.append((chosen, new))
    still_open = [each for each in known if not each.reviewed]
    goes_on = match_event_sets(
        [sorted(each.events) for each in still_open], [found[place].ids for place in rest]
    )
    for at, place in enumerate(rest):
        if at in goes_on:
            chosen = still_open[goes_on[at]]
            mine[place] = chosen.id
            plan.continued.append((chosen, found[place]))
        elif found[place].opens(least):
            plan.opened.append(found[place])
    taken = set(goes_on.values())
    for at, gone in enumerate(still_open):
        if at not in taken:
            shares_of = Counter(
                mine[place]
                for place, what in enumerate(found)
                if place in mine
                for event in what.ids
                if event in gone.events
            )
            if shares_of:
                plan.superseded.append((gone, max(shares_of, key=lambda one: (shares_of[one], one))))
    return plan
