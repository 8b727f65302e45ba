"""The types of events, and what each one means. Data only.

What the bodies of all events have. Shapes only.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from pydantic import BaseModel, Field

ALL_EVENTS: Final = "*"
"""Subscribes to every type, also those to come."""

TEST_EVENT: Final = "webhook.test"
"""Goes to the one endpoint that its payload names, whatever that endpoint subscribes to."""

ALERT_REPEAT: Final = "alert.repeat"
"""A delivery to an Alertmanager of all that fires; no event, and nothing to subscribe to."""

SEVERITIES: Final = ("info", "warning", "critical")
"""Severities of alerts in rising order; `app.rules.definitions.severity`, a room above, has the same."""

MESSAGES_DROPPED: Final = "platform.messages_dropped"
ENDPOINT_FAILING: Final = "endpoint.failing"
ENDPOINT_DISABLED: Final = "endpoint.disabled"
QUOTA_WARNING: Final = "quota.warning"
QUOTA_EXCEEDED: Final = "quota.exceeded"
INCIDENT_DETECTED: Final = "incident.detected"
INCIDENT_UPDATED: Final = "incident.updated"
INCIDENT_CONFIRMED: Final = "incident.confirmed"
INCIDENT_DISMISSED: Final = "incident.dismissed"
RIGHTS_RECEIVED: Final = "rights.received"
RIGHTS_OVERDUE: Final = "rights.overdue"

NOTICES: Final = frozenset({ENDPOINT_FAILING, ENDPOINT_DISABLED})
"""Of an endpoint, for its owner: also sent to the organisation's e-mail channels, but never to itself."""

QUOTA_NOTICES: Final = frozenset({QUOTA_WARNING, QUOTA_EXCEEDED})
"""Of an organisation's quotas: also sent to its e-mail channels."""

EVENTS: Final[Mapping[str, str]] = {
    "alert.firing": "A rule fires, on a box or on a site as a whole",
    "alert.escalated": "The severity of an alert went up",
    "alert.deescalated": "The severity of an alert went down",
    "alert.resolved": "A sample resolved an alert, or it was closed",
    "alert.acknowledged": "Somebody acknowledged an alert",
    "alert.reminder": "An alert still fires, and nobody has acknowledged it",
    INCIDENT_DETECTED: "Boxes heard what may be a gunshot or an explosion; nobody has looked at it",
    INCIDENT_UPDATED: "Later events changed what is known of an open incident",
    INCIDENT_CONFIRMED: "A person found that an incident was one",
    INCIDENT_DISMISSED: "A person found that an incident was none, or nothing is left of it",
    ENDPOINT_FAILING: "Another endpoint of the organisation has failed for a day",
    ENDPOINT_DISABLED: "Another endpoint of the organisation was disabled: gone, or failing for too long",
    QUOTA_WARNING: "Four fifths of the samples of the day are used",
    QUOTA_EXCEEDED: "A quota is used up: what exceeds it is refused",
    RIGHTS_RECEIVED: "Somebody uses a right: it has to be answered within a month",
    RIGHTS_OVERDUE: "A request was not answered in time",
    MESSAGES_DROPPED: "The broker dropped messages; for the platform's own organisation",
}
"""What an endpoint can subscribe to."""


class EventEnvelope(BaseModel):
    """What every body has."""

    timestamp: datetime = Field(description="When Vigie wrote the event")
