"""Groups alerts that several boxes raised for one sound. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class AlertGroup:
    """Alerts of one incident, or a single alert.

    Attributes:
        incident: The id of the incident; empty: a single alert.
        alerts: The alerts, in their order.
    """

    incident: str
    alerts: Sequence[Mapping[str, Any]]

    @property
    def first(self) -> Mapping[str, Any]:
        """The alert that stands for the group: the most severe one, if the list is sorted so."""
        return self.alerts[0]

    @property
    def ids(self) -> str:
        """The ids of the alerts, for a form."""
        return ",".join(each["id"] for each in self.alerts)

    @property
    def boxes(self) -> int:
        """The number of boxes that raised them."""
        return len({each["box"] for each in self.alerts})


def group_alerts(alerts: Iterable[Mapping[str, Any]]) -> list[AlertGroup]:
    """Group alerts of the same incident and state, at the place of the first one. Others stay single."""
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for each in alerts:
        incident = each["incident_id"]
        key = ("", each["id"]) if incident is None else (incident, each["state"])
        groups.setdefault(key, []).append(each)
    return [AlertGroup(key[0] if len(found) > 1 else "", found) for key, found in groups.items()]
