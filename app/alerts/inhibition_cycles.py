"""Inhibitions that go round in a circle: which alerts are not muted after all, so that one is told. Pure.

Owns that rule alone; who mutes whom is `app.alerts.muting_queries`'s. Must not query anything.

Of two alerts that would each keep the other quiet, directly or over others, only the graver one mutes, or of
equally grave ones the older: the other way round it does not count. Whatever follows "is muted by" from there
comes to an end, at an alert that nothing mutes. Where nothing goes round, nothing is changed.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple
from uuid import UUID


class InhibitionSide(NamedTuple):
    """That an alert stands on a side of an inhibition, or on both.

    Attributes:
        inhibition: the inhibition.
        key: what the alert has of what source and target must have in common.
        alert: the alert.
        source, target: on which sides it stands.
    """

    inhibition: UUID
    key: str
    alert: UUID
    source: bool
    target: bool


class _Hub(NamedTuple):
    """Where sources meet targets. What stands on both sides is not muted by what does too."""

    inhibition: UUID
    key: str
    both: bool


type _Node = UUID | _Hub


def find_muters_outside_cycles(
    places: Iterable[InhibitionSide], doubtful: Iterable[UUID], most: int
) -> dict[UUID, list[UUID]]:
    """Tell which alerts mute these that they do not mute themselves, directly or over others.

    Args:
        places: all of the organisations concerned, of the alerts that fire.
        doubtful: alerts of which every source is lighter or younger.
        most: how many are given of each, the oldest first.

    Returns:
        Each of the doubtful ones that stand in a place → these alerts; none: nothing mutes it after all.
    """
    sources: dict[_Hub, list[UUID]] = {}
    hubs: dict[UUID, list[_Hub]] = {}
    leads: dict[_Node, list[_Node]] = {}
    for place in places:
        mild, both = (_Hub(place.inhibition, place.key, both) for both in (False, True))
        mine = hubs.setdefault(place.alert, [])
        if place.source:
            hub = both if place.target else mild
            sources.setdefault(hub, []).append(place.alert)
            leads.setdefault(place.alert, []).append(hub)
        if place.target:
            reached = [mild] if place.source else [mild, both]
            mine += reached
            for hub in reached:
                leads.setdefault(hub, []).append(place.alert)
    circle = _circles(leads)
    oldest = {hub: sorted(found) for hub, found in sources.items()}
    strangers = {
        hub: [alert for alert in found if circle.get(alert) != circle.get(hub)][:most]
        for hub, found in oldest.items()
    }
    given: dict[UUID, list[UUID]] = {}
    for alert in doubtful:
        if alert in hubs:
            found = {
                source
                for hub in hubs[alert]
                for source in (strangers if circle.get(hub) == circle.get(alert) else oldest).get(hub, ())[
                    :most
                ]
            }
            given[alert] = sorted(found)[:most]
    return given


def _circles(leads: Mapping[_Node, Sequence[_Node]]) -> dict[_Node, int]:
    """Number the nodes: two have the same number exactly where each leads to the other (Kosaraju)."""
    back: dict[_Node, list[_Node]] = {}
    for node, following in leads.items():
        for each in following:
            back.setdefault(each, []).append(node)
    seen: set[_Node] = set()
    order = [node for root in leads for node in _walk(root, leads, seen)]
    numbers: dict[_Node, int] = {}
    reached: set[_Node] = set()
    for number, root in enumerate(reversed(order)):
        numbers.update(dict.fromkeys(_walk(root, back, reached), number))
    return numbers


def _walk(root: _Node, leads: Mapping[_Node, Sequence[_Node]], seen: set[_Node]) -> list[_Node]:
    """What is reached from a node and was not seen before, each after all that it leads to."""
    if root in seen:
        return []
    seen.add(root)
    done: list[_Node] = []
    path = [(root, iter(leads.get(root, ())))]
    while path:
        node, following = path[-1]
        for each in following:
            if each not in seen:
                seen.add(each)
                path.append((each, iter(leads.get(each, ()))))
                break
        else:
            done.append(node)
            path.pop()
    return done
