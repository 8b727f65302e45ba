"""Arranges what is wrong for the first page. Pure.

Incidents to review stand first, probable shots before others, then alerts, silent boxes, and failing
recipients. The page shows critical ones of each before the others.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from app.catalogue.gunshot_sources import CATALOGUE
from app.console.incidents.alert_groups import AlertGroup, group_alerts

_SEVERITIES: Final = ("info", "warning", "critical")
_NAMED_BOXES: Final = 3
_WEAPONS: Final = frozenset(each.class_ for each in CATALOGUE.firearms)

PROBABLE_SHOT: Final = 0.5
"""From this probability of a shot on, an incident is critical until a person decides."""


@dataclass(frozen=True, slots=True)
class IncidentProblem:
    """An incident that waits for a review, with the alerts that boxes raised for it.

    Attributes:
        incident: The incident, as `GET /v1/overview` returns it.
        alerts: The firing alerts.
    """

    incident: Mapping[str, Any]
    alerts: Sequence[Mapping[str, Any]]

    @property
    def severity(self) -> str:
        """`critical` for a probable shot; else the highest severity of its alerts, `warning` without one."""
        if self.is_probable_shot:
            return "critical"
        found = [_SEVERITIES.index(each["severity"]) for each in self.alerts]
        return _SEVERITIES[max(found, default=_SEVERITIES.index("warning"))]

    @property
    def is_probable_shot(self) -> bool:
        """Whether it is a shot or an explosion more likely than not."""
        return bool(self.incident["probability"] >= PROBABLE_SHOT)

    @property
    def is_weapon(self) -> bool:
        """Whether its likeliest source is a firearm."""
        return self.incident["class"] in _WEAPONS


@dataclass(frozen=True, slots=True)
class InactiveBoxes:
    """The silent or the refused boxes of a site, or those that never sent.

    Attributes:
        activity: `silent`, `never_heard` or `refused`.
        site_id, site_name: The site.
        total: Their number.
        names: The names of some.
        more: The number of those that are not named.
        last_heard_at: When the last one was heard; None: unknown, or never.
    """

    activity: str
    site_id: str
    site_name: str
    total: int
    names: Sequence[str]
    more: int
    last_heard_at: str | None


@dataclass(frozen=True, slots=True)
class CurrentProblems:
    """The rows of the list.

    Attributes:
        incidents: Incidents to review: critical ones first, the newest first.
        more_incidents: The number of those that are not listed.
        alerts: Firing alerts that belong to none of them.
        more_alerts: The number of firing alerts that are not listed.
        boxes: Silent and refused boxes, by site.
        endpoints: Failing and disabled recipients.
    """

    incidents: Sequence[IncidentProblem]
    more_incidents: int
    alerts: Sequence[AlertGroup]
    more_alerts: int
    boxes: Sequence[InactiveBoxes]
    endpoints: Sequence[Mapping[str, Any]]

    @property
    def is_empty(self) -> bool:
        """Whether nothing is wrong."""
        return not (self.incidents or self.alerts or self.boxes or self.endpoints)

    @property
    def has_probable_shot(self) -> bool:
        """Whether an incident to review is critical."""
        return any(each.severity == "critical" for each in self.incidents)


def arrange_problems(
    overview: Mapping[str, Any], firing: Sequence[Mapping[str, Any]], *, most_incidents: int
) -> CurrentProblems:
    """Arrange the rows of the list.

    Args:
        overview: The response of `GET /v1/overview`.
        firing: Firing alerts, the most severe first.
        most_incidents: The most incidents to list.
    """
    waiting = overview["open_incidents"] or {"total": 0, "listed": []}
    # The sort is stable: the newest stay first among equals.
    listed = sorted(waiting["listed"], key=lambda each: each["probability"] < PROBABLE_SHOT)
    shown = listed[:most_incidents]
    by_incident: dict[str, list[Mapping[str, Any]]] = {each["id"]: [] for each in shown}
    rest: list[Mapping[str, Any]] = []
    for alert in firing:
        by_incident.get(alert["incident_id"] or "", rest).append(alert)
    endpoints = overview["endpoints"]
    return CurrentProblems(
        incidents=sorted(
            (IncidentProblem(each, by_incident[each["id"]]) for each in shown),
            key=lambda each: each.severity != "critical",
        ),
        more_incidents=waiting["total"] - len(shown),
        alerts=group_alerts(rest),
        more_alerts=max(0, overview["firing"]["total"] - len(firing)),
        boxes=[*_list_silent(overview), *_list_inactive(overview, "refused")],
        endpoints=endpoints["listed"] if endpoints else [],
    )


def _list_silent(overview: Mapping[str, Any]) -> list[InactiveBoxes]:
    """List the silent boxes by site, apart from those that never sent.

    Only some boxes are listed, the most recently heard ones first. So if one that never sent is listed, all
    others that are not listed never sent either.
    """
    known = overview["silent_boxes"]
    listed = known["listed"] if known else []
    is_rest_new = any(each["last_heard_at"] is None for each in listed)
    rows = []
    for site in overview["sites"]:
        own = [each for each in listed if each["site_id"] == site["site_id"]]
        heard = [each for each in own if each["last_heard_at"] is not None]
        new = [each for each in own if each["last_heard_at"] is None]
        rest = site["silent_boxes"] - len(own)
        rows += _make_row(site, "silent", heard, len(heard) + (0 if is_rest_new else rest))
        rows += _make_row(site, "never_heard", new, len(new) + (rest if is_rest_new else 0))
    return rows


def _list_inactive(overview: Mapping[str, Any], activity: str) -> list[InactiveBoxes]:
    """List the inactive boxes by site: their number is exact, their names are those of the newest."""
    known = overview[f"{activity}_boxes"]
    listed = known["listed"] if known else []
    rows = []
    for site in overview["sites"]:
        own = [each for each in listed if each["site_id"] == site["site_id"]]
        rows += _make_row(site, activity, own, site[f"{activity}_boxes"])
    return rows


def _make_row(
    site: Mapping[str, Any], activity: str, listed: Sequence[Mapping[str, Any]], total: int
) -> list[InactiveBoxes]:
    """Make the row of a site's boxes; none without a box."""
    if not total:
        return []
    names = [each["box_name"] or each["box"] for each in listed[:_NAMED_BOXES]]
    heard = [each["last_heard_at"] for each in listed if each.get("last_heard_at")]
    return [
        InactiveBoxes(
            activity=activity,
            site_id=site["site_id"],
            site_name=site["site_name"],
            total=total,
            names=names,
            more=total - len(names),
            last_heard_at=max(heard, default=None),
        )
    ]
