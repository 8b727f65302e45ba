"""Plans how new clusters of sound events create, continue or supersede incidents. Pure.

An incident continues as the cluster that has most of its events. A reviewed incident is not changed: later
events are only recorded with it. An incident is superseded if all its events belong to others now.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from app.acoustics.event_association import match_event_sets
from app.sound_incidents.event_clustering import EventCluster, HeardEvent, IncidentPart


@dataclass(frozen=True, slots=True)
class StoredIncident:
    """A stored incident.

    Attributes:
        row: its columns.
        events: the ids of its events.
    """

    row: Mapping[str, Any]
    events: frozenset[str]

    @property
    def id(self) -> UUID:
        """The id of the incident."""
        identifier: UUID = self.row["id"]
        return identifier

    @property
    def reviewed(self) -> bool:
        """Whether the incident is confirmed or dismissed."""
        return bool(self.row["state"] != "open")


@dataclass(slots=True)
class IncidentPlan:
    """The changes to write.

    Attributes:
        opened: clusters that become new incidents.
        continued: incidents that continue, with their new clusters.
        late: reviewed incidents, with the later events to record.
        superseded: incidents that became part of another one, with its id.
    """

    opened: list[EventCluster] = field(default_factory=list)
    continued: list[tuple[StoredIncident, EventCluster]] = field(default_factory=list)
    late: list[tuple[StoredIncident, list[IncidentPart]]] = field(default_factory=list)
    superseded: list[tuple[StoredIncident, UUID]] = field(default_factory=list)


def exclude_partial_incidents(
    heard: Iterable[HeardEvent], known: Sequence[StoredIncident]
) -> tuple[list[HeardEvent], list[StoredIncident]]:
    """Exclude incidents, and their events, that lie only partly in a single slot."""
    by_id = {each.id: each for each in heard}
    whole = [each for each in known if each.events <= by_id.keys()]
    excluded = {event for each in known if each not in whole for event in each.events}
    return [each for name, each in by_id.items() if name not in excluded], whole


def plan_incidents(
    found: Sequence[EventCluster], known: Sequence[StoredIncident], least: float
) -> IncidentPlan:
    """Plan the changes of incidents.

    Args:
        found: the clusters, which include all events of the stored incidents.
        known: the stored incidents, in the order of their ids.
        least: the least probability of a gunshot or an explosion for a new incident, 0 to 1.
    """
    plan = IncidentPlan()
    owner = {event: at for at, each in enumerate(known) for event in each.events}
    assigned: dict[int, UUID] = {}
    rest: list[int] = []
    for index, each in enumerate(found):
        shares = Counter(owner[event] for event in each.ids if event in owner)
        reviewed = sorted((-count, at) for at, count in shares.items() if known[at].reviewed)
        if not reviewed:
            rest.append(index)
            continue
        chosen = known[reviewed[0][1]]
        assigned[index] = chosen.id
        new = [
            part
            for part in each.parts
            if part.heard.id not in owner or not known[owner[part.heard.id]].reviewed
        ]
        if new:
            plan.late.append((chosen, new))
    still_open = [each for each in known if not each.reviewed]
    continuing = match_event_sets(
        [sorted(each.events) for each in still_open], [found[index].ids for index in rest]
    )
    for at, index in enumerate(rest):
        if at in continuing:
            chosen = still_open[continuing[at]]
            assigned[index] = chosen.id
            plan.continued.append((chosen, found[index]))
        elif found[index].opens(least):
            plan.opened.append(found[index])
    continued = set(continuing.values())
    for at, gone in enumerate(still_open):
        if at not in continued:
            shares_of = Counter(
                assigned[index]
                for index, cluster in enumerate(found)
                if index in assigned
                for event in cluster.ids
                if event in gone.events
            )
            if shares_of:
                plan.superseded.append((gone, max(shares_of, key=lambda one: (shares_of[one], one))))
    return plan
