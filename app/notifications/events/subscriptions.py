"""Matches events with the subscriptions of endpoints. Pure.

An endpoint with a `min_severity` gets an alert that began below it from the escalation that reaches it for
the first time: that is the alert's beginning for this endpoint. So an endpoint that subscribes to both gets
an end exactly if it got a beginning. One exception: an alert that reached the severity only while it was
muted. Its events do not show that, so its end is sent without a beginning, rather than not at all.
"""

from collections.abc import Collection, Mapping
from typing import Any, Final, NamedTuple, Self
from uuid import UUID

import msgspec

from app.notifications.delivery.alert_grouping import AlertRoutingData, GroupingPlan, parse_alert_data
from app.notifications.events.event_types import (
    ALL_EVENTS,
    NOTICES,
    QUOTA_NOTICES,
    SEVERITIES,
    SUBSCRIPTION_NOTICES,
    TEST_EVENT,
)

BEGINNING: Final = "alert.firing"
_ESCALATION: Final = "alert.escalated"
_EMAIL: Final = "email"


class EndpointSubscription(NamedTuple):
    """An endpoint's subscription and format.

    Attributes:
        endpoint_id: The endpoint.
        events: The subscribed types.
        site_ids: The sites whose events it gets; None: all, also events without a site.
        plan: The grouping; None: events are not grouped.
        kind: The endpoint's kind.
        format: The format of bodies.
        language: The language of text messages.
        notices: Whether an e-mail channel gets notices without a subscription.
        min_severity: Only alerts that had at least this severity; None: all.
    """

    endpoint_id: UUID
    events: Collection[str]
    site_ids: Collection[UUID] | None
    plan: GroupingPlan | None = None
    kind: str = "webhook"
    format: str = "native"
    language: str = "en"
    notices: bool = True
    min_severity: str | None = None

    @classmethod
    def of(cls, row: Any) -> Self:  # noqa: ANN401 (a row)
        """Convert a row of `webhook_endpoints` with jsonb columns as text."""
        target: Mapping[str, Any] = msgspec.json.decode(row["target"]) if row["target"] else {}
        return cls(
            endpoint_id=row["id"],
            events=row["events"],
            site_ids=row["site_ids"],
            plan=GroupingPlan.of(row["grouping"]),
            kind=row["kind"],
            format=row["format"],
            language=str(target.get("language", "en")),
            notices=target.get("notices") is not False,
            min_severity=row["min_severity"],
        )


class CandidateEvent(NamedTuple):
    """An event of the endpoint's own organisation.

    Attributes:
        type: The event's type.
        site_id: The event's site, if any.
        payload: The event's data, as JSON text.
        alert: The data of its alert; None for other events.
    """

    type: str
    site_id: UUID | None
    payload: str
    alert: AlertRoutingData | None

    @classmethod
    def of(cls, type_: str, site_id: UUID | None, payload: str) -> Self:
        """Parse an event (`payload` is JSON text)."""
        return cls(type_, site_id, payload, parse_alert_data(type_, payload))


class _Concerned(msgspec.Struct):
    endpoint_id: str | None = None


def matches_subscription(subscription: EndpointSubscription, event: CandidateEvent) -> bool:
    """Check whether an endpoint gets an event of its own organisation."""
    if event.type == TEST_EVENT:
        return _concerns(event, subscription)
    if event.type in NOTICES | SUBSCRIPTION_NOTICES | QUOTA_NOTICES:
        return _gets_notice(subscription, event)
    if subscription.site_ids is not None and event.site_id not in subscription.site_ids:
        return False
    if not _is_severe_enough(subscription, event.alert):
        return False
    return _subscribes(subscription, event.type) or (
        BEGINNING in subscription.events and enters_severity_range(subscription, event)
    )


def enters_severity_range(subscription: EndpointSubscription, event: CandidateEvent) -> bool:
    """Check whether an event raises its alert to the endpoint's `min_severity`: the alert begins for it.

    If the highest severity before the event is not known, the severity before it decides: better a beginning
    too many than a missed alert.
    """
    alert = event.alert
    if event.type != _ESCALATION or alert is None:
        return False
    before = alert.previous_highest_severity or alert.previous_severity
    return _is_entry(subscription, before, alert.severity)


def is_first_event(subscription: EndpointSubscription, type_: str, alert: AlertRoutingData) -> bool:
    """Check whether an event is certainly the first of its alert for an endpoint that gets it."""
    if type_ == BEGINNING:
        return True
    return type_ == _ESCALATION and _is_entry(subscription, alert.previous_highest_severity, alert.severity)


def _is_entry(subscription: EndpointSubscription, before: str | None, after: str | None) -> bool:
    least, low, high = _rank(subscription.min_severity), _rank(before), _rank(after)
    return least is not None and low is not None and high is not None and low < least <= high


def _subscribes(subscription: EndpointSubscription, type_: str) -> bool:
    return type_ in subscription.events or ALL_EVENTS in subscription.events


def _gets_notice(subscription: EndpointSubscription, event: CandidateEvent) -> bool:
    """Check whether an endpoint gets a notice, which has no site; never the endpoint that it is about.

    E-mail channels get notices whatever their sites: if they subscribe, or if `notices` is on.
    """
    if _concerns(event, subscription):
        return False
    if subscription.kind == _EMAIL:
        return subscription.notices or _subscribes(subscription, event.type)
    return subscription.site_ids is None and _subscribes(subscription, event.type)


def _concerns(event: CandidateEvent, subscription: EndpointSubscription) -> bool:
    try:
        concerned = msgspec.json.decode(event.payload, type=_Concerned)
    except msgspec.ValidationError:
        return False
    return concerned.endpoint_id == str(subscription.endpoint_id)


def _is_severe_enough(subscription: EndpointSubscription, alert: AlertRoutingData | None) -> bool:
    if subscription.min_severity is None or alert is None:
        return True
    highest, least = _rank(alert.highest_severity or alert.severity), _rank(subscription.min_severity)
    # If a severity is unknown, send the event: better one too many than a missed alert.
    return highest is None or least is None or highest >= least


def _rank(severity: str | None) -> int | None:
    return SEVERITIES.index(severity) if severity in SEVERITIES else None
