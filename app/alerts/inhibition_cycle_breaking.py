"""Breaks cycles of inhibitions, so that at least one alert of a cycle notifies. Pure.

If two alerts inhibit each other, directly or through others, only the more severe one inhibits; of equal
severities, the older one. So each chain of inhibitions ends at an alert that nothing mutes. Inhibitions
without cycles are not affected. `app.alerts.muting_queries` finds the inhibitions.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple
from uuid import UUID


class InhibitionSide(NamedTuple):
    """An alert that matches the source or the target of an inhibition, or both.

    Attributes:
        inhibition: the inhibition.
        key: the alert's values of the fields that source and target must share.
        alert: the alert.
        source, target: which sides it matches.
    """

    inhibition: UUID
    key: str
    alert: UUID
    source: bool
    target: bool


class _Hub(NamedTuple):
    """A graph node between the sources and targets of an inhibition with the same key.

    Alerts on both sides have a separate hub (`both`): they do not mute each other.
    """

    inhibition: UUID
    key: str
    both: bool


type _Node = UUID | _Hub


def find_muters_outside_cycles(
    sides: Iterable[InhibitionSide], doubtful: Iterable[UUID], most: int
) -> dict[UUID, list[UUID]]:
    """Find the alerts that mute each doubtful alert and are not in a cycle with it.

    Args:
        sides: all sides of firing alerts, of the organisations of the doubtful alerts.
        doubtful: alerts that only less severe or younger alerts mute.
        most: the most alerts to return for each; the oldest ones are chosen.

    Returns:
        The muting alerts of each doubtful alert in `sides`; an empty list if nothing mutes it.
    """
    sources: dict[_Hub, list[UUID]] = {}
    hubs: dict[UUID, list[_Hub]] = {}
    edges: dict[_Node, list[_Node]] = {}
    for side in sides:
        one_sided, both_sided = (_Hub(side.inhibition, side.key, both) for both in (False, True))
        target_hubs = hubs.setdefault(side.alert, [])
        if side.source:
            hub = both_sided if side.target else one_sided
            sources.setdefault(hub, []).append(side.alert)
            edges.setdefault(side.alert, []).append(hub)
        if side.target:
            reached = [one_sided] if side.source else [one_sided, both_sided]
            target_hubs += reached
            for hub in reached:
                edges.setdefault(hub, []).append(side.alert)
    component = _number_components(edges)
    oldest = {hub: sorted(found) for hub, found in sources.items()}
    outside = {
        hub: [alert for alert in found if component.get(alert) != component.get(hub)][:most]
        for hub, found in oldest.items()
    }
    muters: dict[UUID, list[UUID]] = {}
    for alert in doubtful:
        if alert in hubs:
            found = {
                source
                for hub in hubs[alert]
                for source in (outside if component.get(hub) == component.get(alert) else oldest).get(
                    hub, ()
                )[:most]
            }
            muters[alert] = sorted(found)[:most]
    return muters


def _number_components(edges: Mapping[_Node, Sequence[_Node]]) -> dict[_Node, int]:
    """Number the strongly connected components of a graph (Kosaraju's algorithm)."""
    reverse_edges: dict[_Node, list[_Node]] = {}
    for node, following in edges.items():
        for each in following:
            reverse_edges.setdefault(each, []).append(node)
    seen: set[_Node] = set()
    order = [node for root in edges for node in _traverse(root, edges, seen)]
    numbers: dict[_Node, int] = {}
    reached: set[_Node] = set()
    for number, root in enumerate(reversed(order)):
        numbers.update(dict.fromkeys(_traverse(root, reverse_edges, reached), number))
    return numbers


def _traverse(root: _Node, edges: Mapping[_Node, Sequence[_Node]], seen: set[_Node]) -> list[_Node]:
    """List the unseen nodes that are reachable from a node, in depth-first post-order."""
    if root in seen:
        return []
    seen.add(root)
    done: list[_Node] = []
    path = [(root, iter(edges.get(root, ())))]
    while path:
        node, following = path[-1]
        for each in following:
            if each not in seen:
                seen.add(each)
                path.append((each, iter(edges.get(each, ()))))
                break
        else:
            done.append(node)
            path.pop()
    return done
