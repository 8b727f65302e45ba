"""CloudEvents 1.0 in JSON, structured: the event's data in an envelope that other systems know. Pure.

Nothing but what the specification names is in the envelope; `data` is the native body's, byte for byte.
"""

from typing import Any, Final
from uuid import UUID

import msgspec

from app.notifications.formats import native

CONTENT_TYPE: Final = "application/cloudevents+json"
"""The media type of such a body."""

_PREFIX: Final = "vigie."


class _Subject(msgspec.Struct):
    alert_id: str | None = None
    incident_id: str | None = None


def render_cloudevent(body: bytes, *, message_id: str, organisation_id: UUID, site_id: UUID | None) -> bytes:
    """Return an event as a CloudEvent.

    Args:
        body: The native body.
        message_id: The event's `webhook-id`; source and id together are unique.
        organisation_id: Whose it is.
        site_id: The site that it concerns, if it is one.
    """
    event = native.parse_native_body(body)
    envelope: dict[str, Any] = {
        "specversion": "1.0",
        "id": message_id,
        "source": _source(organisation_id, site_id),
        "type": _PREFIX + event.type,
        "time": event.timestamp,
    }
    subject = _subject(event.data)
    if subject:
        envelope["subject"] = subject
    return msgspec.json.encode({**envelope, "datacontenttype": "application/json", "data": event.data})


def _source(organisation_id: UUID, site_id: UUID | None) -> str:
    source = f"/organisations/{organisation_id}"
    return source if site_id is None else f"{source}/sites/{site_id}"


def _subject(data: msgspec.Raw) -> str | None:
    """The alert or the incident that an event is of; None where there is none, or several."""
    try:
        subject = msgspec.json.decode(data, type=_Subject)
    except msgspec.ValidationError:
        return None
    return subject.alert_id or subject.incident_id
