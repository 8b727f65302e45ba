"""Lists the types of notification events with descriptions, and defines the fields of every body."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from pydantic import BaseModel, Field

ALL_EVENTS: Final = "*"
"""Subscribes to every type, also future ones."""

TEST_EVENT: Final = "webhook.test"
"""Sent to the endpoint that its payload names, whatever that endpoint subscribes to."""

ALERT_REPEAT: Final = "alert.repeat"
"""The type of deliveries that repeat firing alerts to an Alertmanager. It is no event."""

SEVERITIES: Final = ("info", "warning", "critical")
"""Severities of alerts in rising order; `app.rules.definitions.severity`, a room above, has the same."""

MESSAGES_DROPPED: Final = "platform.messages_dropped"
ENDPOINT_FAILING: Final = "endpoint.failing"
ENDPOINT_DISABLED: Final = "endpoint.disabled"
SUBSCRIPTION_FAILING: Final = "subscription.failing"
SUBSCRIPTION_DISABLED: Final = "subscription.disabled"
QUOTA_WARNING: Final = "quota.warning"
QUOTA_EXCEEDED: Final = "quota.exceeded"
INCIDENT_DETECTED: Final = "incident.detected"
INCIDENT_UPDATED: Final = "incident.updated"
INCIDENT_CONFIRMED: Final = "incident.confirmed"
INCIDENT_DISMISSED: Final = "incident.dismissed"
RIGHTS_RECEIVED: Final = "rights.received"
RIGHTS_OVERDUE: Final = "rights.overdue"

NOTICES: Final = frozenset({ENDPOINT_FAILING, ENDPOINT_DISABLED})
"""Notices about an endpoint: also sent to the organisation's e-mail channels, but never to that endpoint."""

SUBSCRIPTION_NOTICES: Final = frozenset({SUBSCRIPTION_FAILING, SUBSCRIPTION_DISABLED})
"""Notices about a subscription to measurements: also sent to the organisation's e-mail channels."""

QUOTA_NOTICES: Final = frozenset({QUOTA_WARNING, QUOTA_EXCEEDED})
"""Notices about an organisation's quotas: also sent to its e-mail channels."""

EVENTS: Final[Mapping[str, str]] = {
    "alert.firing": "A rule fires, on a box or on a site as a whole",
    "alert.escalated": "The severity of an alert went up",
    "alert.deescalated": "The severity of an alert went down",
    "alert.resolved": "A sample resolved an alert, or it was closed",
    "alert.acknowledged": "An alert was acknowledged",
    "alert.reminder": "An alert is still firing and has not been acknowledged",
    INCIDENT_DETECTED: "Boxes heard what may be a gunshot or an explosion; it is not reviewed yet",
    INCIDENT_UPDATED: "Later events changed what is known about an open incident",
    INCIDENT_CONFIRMED: "A person reviewed an incident and confirmed it",
    INCIDENT_DISMISSED: "A person dismissed an incident, or none of its data is left",
    ENDPOINT_FAILING: "Another endpoint of the organisation has failed for a day",
    ENDPOINT_DISABLED: "Another endpoint of the organisation was disabled: gone, or failing for too long",
    SUBSCRIPTION_FAILING: "A subscription to measurements has failed for a day",
    SUBSCRIPTION_DISABLED: "A subscription to measurements was disabled: gone, failing, or without access",
    QUOTA_WARNING: "Four fifths of the day's quota of samples are used",
    QUOTA_EXCEEDED: "A quota is used up: anything above it is refused",
    RIGHTS_RECEIVED: "A rights request has arrived: it has to be answered within a month",
    RIGHTS_OVERDUE: "A rights request was not answered in time",
    MESSAGES_DROPPED: "The broker dropped messages; for the platform's own organisation",
}
"""The types to which an endpoint can subscribe, with their descriptions."""


class EventEnvelope(BaseModel):
    """The fields that all bodies share."""

    timestamp: datetime = Field(description="When Vigie wrote the event")
