"""What an endpoint wants of what happens in its organisation. Pure.

Owns who receives which event. An endpoint with a least severity hears of the alerts that have come into its
range: an alert that began below it is told from the escalation that takes it there, which is its beginning
for this endpoint, and then to its end. So an end is told exactly when a beginning was, if the endpoint
subscribes to both. There is one exception: what was that grave only while it was muted, and had been told of
as less before. Its events do not say so, and its end is told alone rather than not at all.
"""

from collections.abc import Collection, Mapping
from typing import Any, Final, NamedTuple, Self
from uuid import UUID

import msgspec

from app.notifications.delivery.grouping import AlertRoutingData, GroupingPlan, parse_alert_data
from app.notifications.events.event_types import (
    ALL_EVENTS,
    NOTICES,
    QUOTA_NOTICES,
    SEVERITIES,
    TEST_EVENT,
)

BEGINNING: Final = "alert.firing"
_ESCALATION: Final = "alert.escalated"
_EMAIL: Final = "email"


class EndpointSubscription(NamedTuple):
    """What an endpoint wants, and in which form.

    Attributes:
        endpoint_id: Where it goes.
        events: The types that it subscribes to.
        site_ids: Events of these sites; None: of every site, and those of none.
        plan: How alerts' events are put together; None: each on its own.
        kind: The endpoint's.
        format: What its bodies are written in.
        language: Of what it is sent in words.
        notices: Of an e-mail channel: whether it is sent notices that it does not subscribe to.
        min_severity: Only of alerts that were at least this grave; None: of all.
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
        """Read a row of `webhook_endpoints`, whose jsonb columns are text."""
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
        type: Its type.
        site_id: The site that it concerns, if any.
        payload: Its data, as JSON text.
        alert: What was read of it; None where it is not of an alert.
    """

    type: str
    site_id: UUID | None
    payload: str
    alert: AlertRoutingData | None

    @classmethod
    def of(cls, type_: str, site_id: UUID | None, payload: str) -> Self:
        """Read an event (`payload` is JSON text)."""
        return cls(type_, site_id, payload, parse_alert_data(type_, payload))


class _Concerned(msgspec.Struct):
    endpoint_id: str | None = None


def matches_subscription(subscription: EndpointSubscription, event: CandidateEvent) -> bool:
    """Tell whether an event of the endpoint's own organisation goes to it."""
    if event.type == TEST_EVENT:
        return _concerns(event, subscription)
    if event.type in NOTICES or event.type in QUOTA_NOTICES:
        return _wants_notice(subscription, event)
    if subscription.site_ids is not None and event.site_id not in subscription.site_ids:
        return False
    if not _is_grave_enough(subscription, event.alert):
        return False
    return _subscribes(subscription, event.type) or (
        BEGINNING in subscription.events and enters_severity_range(subscription, event)
    )


def enters_severity_range(subscription: EndpointSubscription, event: CandidateEvent) -> bool:
    """Tell whether an event takes its alert into the endpoint's range: as far as it knows, it begins."""
    alert, least = event.alert, _rank(subscription.min_severity)
    if event.type != _ESCALATION or alert is None or least is None:
        return False
    before, after = _rank(alert.previous_severity), _rank(alert.severity)
    return before is not None and after is not None and before < least <= after


def _subscribes(subscription: EndpointSubscription, type_: str) -> bool:
    return type_ in subscription.events or ALL_EVENTS in subscription.events


def _wants_notice(subscription: EndpointSubscription, event: CandidateEvent) -> bool:
    """A notice is of no site. Mails tell it all the same, to those who subscribe and those who let it be.

    Never for the one that it is about.
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


def _is_grave_enough(subscription: EndpointSubscription, alert: AlertRoutingData | None) -> bool:
    if subscription.min_severity is None or alert is None:
        return True
    highest, least = _rank(alert.highest_severity or alert.severity), _rank(subscription.min_severity)
    # Rather one too many than an alert that nobody is told of.
    return highest is None or least is None or highest >= least


def _rank(severity: str | None) -> int | None:
    return SEVERITIES.index(severity) if severity in SEVERITIES else None
