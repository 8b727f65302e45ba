"""Finds who was notified of an incident, and the alerts beside it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from app.console.framework.console_visit import ConsoleVisit
from app.console.framework.recipients import read_recipients

_DELIVERIES: Final = 100
_ALERTS: Final = 50
# An alert that was open at the time of an incident began shortly before it, as a rule.
_EARLIER_ALERTS: Final = 200
_TYPES: Final = frozenset({"*", "incident.detected"})


@dataclass(frozen=True, slots=True)
class IncidentNotice:
    """Who was notified of an incident.

    Attributes:
        deliveries: Deliveries of its events, the newest first; None: the person may not read them.
        recipients: Recipients by id.
        is_subscribed: Whether a recipient gets incidents of the site.
    """

    deliveries: Sequence[Mapping[str, Any]] | None
    recipients: Mapping[str, Mapping[str, Any]]
    is_subscribed: bool


@dataclass(frozen=True, slots=True)
class IncidentAlerts:
    """The alerts on the sound of an incident.

    Attributes:
        own: Alerts that its events raised.
        earlier: Without own ones: alerts of its boxes that were open already.
    """

    own: Sequence[Mapping[str, Any]]
    earlier: Sequence[Mapping[str, Any]]

    @property
    def unacknowledged_ids(self) -> list[str]:
        """The ids of own alerts that fire and are not acknowledged."""
        waiting = (each for each in self.own if each["state"] == "firing" and not each["acknowledged_by"])
        return [each["id"] for each in waiting]


async def read_notice(visit: ConsoleVisit, incident: Mapping[str, Any]) -> IncidentNotice:
    """Read who was notified of an incident."""
    page = await visit.api.get_unless_refused("/v1/deliveries", incident=incident["id"], limit=_DELIVERIES)
    if page is None:
        return IncidentNotice(None, {}, is_subscribed=True)
    recipients = await read_recipients(visit) or {}
    subscribed = any(takes_incidents(each, incident["site_id"]) for each in recipients.values())
    return IncidentNotice(page["data"], recipients, subscribed)


def takes_incidents(recipient: Mapping[str, Any], site_id: str) -> bool:
    """Return whether a recipient gets incidents of a site."""
    if not recipient["enabled"] or _TYPES.isdisjoint(recipient["events"]):
        return False
    return recipient["site_ids"] is None or site_id in recipient["site_ids"]


async def read_alerts(visit: ConsoleVisit, incident: Mapping[str, Any]) -> IncidentAlerts | None:
    """Read the alerts on the sound of an incident; None for a person who may not read alerts."""
    site = incident["site_id"]
    page = await visit.api.get_unless_refused("/v1/alerts", incident=incident["id"], site=site, limit=_ALERTS)
    if page is None:
        return None
    if page["data"]:
        return IncidentAlerts(page["data"], ())
    before = await visit.api.get(
        "/v1/alerts", site=site, to=incident["occurred_at"], sort="-id", limit=_EARLIER_ALERTS
    )
    return IncidentAlerts((), select_open_alerts(incident, before["data"]))


def select_open_alerts(
    incident: Mapping[str, Any], alerts: Sequence[Mapping[str, Any]]
) -> list[Mapping[str, Any]]:
    """Select alerts on events of an incident's boxes that were open when the sound began."""
    began = datetime.fromisoformat(incident["occurred_at"])
    return [
        each
        for each in alerts
        if each["box"] in incident["boxes"]
        and (each["cause"] or {}).get("event") is not None
        and datetime.fromisoformat(each["started_at"]) < began
        and (each["resolved_at"] is None or datetime.fromisoformat(each["resolved_at"]) >= began)
    ]
