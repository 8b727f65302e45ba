"""Vigie's own body, `{"type", "timestamp", "data"}`: how it is made, read and told apart. Pure.

CloudEvents 1.0 in JSON, structured: the event's data in an envelope that other systems know. Pure.

Nothing but what the specification names is in the envelope; `data` is the native body's, byte for byte.
"""

from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import msgspec

from app.notifications.events.event_details import add_event_link
from app.platform.kernel.instants import format_us, from_datetime


class NativeBody(msgspec.Struct):
    """A body taken apart; `data` is JSON that nobody has read yet."""

    type: str
    timestamp: str
    data: msgspec.Raw


def build_native_body(type_: str, timestamp: datetime, payload: str, public_url: str | None = None) -> bytes:
    """Return the bytes of a webhook's body: type, timestamp (RFC 3339, UTC), and data.

    Args:
        type_: The event's type.
        timestamp: When it happened, aware.
        payload: Its data, as JSON text.
        public_url: Where clients reach the API: data of an alert or an incident gets its `link`; None: not.
    """
    at = format_us(from_datetime(timestamp.astimezone(UTC)))
    return b'{"type":%b,"timestamp":"%b","data":%b}' % (
        msgspec.json.encode(type_),
        at.encode(),
        (payload if public_url is None else add_event_link(payload, public_url)).encode(),
    )


def parse_native_body(body: bytes) -> NativeBody:
    """Take a body apart (msgspec.DecodeError, which is a ValueError, where it is none)."""
    return msgspec.json.decode(body, type=NativeBody)


def add_message_id(body: bytes, message_id: str) -> bytes:
    """Return a body with the message's id as its first member."""
    # A body is an object that is not empty: what is added goes behind its first brace.
    return b'{"id":"%b",%b' % (message_id.encode(), body[1:])


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
    event = parse_native_body(body)
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
