"""Builds and parses the native message `{"type", "timestamp", "data"}`, and renders CloudEvents. Pure.

CloudEvents 1.0 are in structured JSON mode. The envelope contains only attributes of the specification;
`data` is that of the native body, byte for byte.
"""

from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import msgspec

from app.notifications.events.event_enrichment import add_event_link
from app.platform.kernel.instants import format_us, from_datetime


class NativeBody(msgspec.Struct):
    """A parsed body with `data` as unparsed JSON."""

    type: str
    timestamp: str
    data: msgspec.Raw


def build_native_body(type_: str, timestamp: datetime, payload: str, public_url: str | None = None) -> bytes:
    """Build the native body: type, timestamp (RFC 3339, UTC), and data.

    Args:
        type_: The event's type.
        timestamp: The time of the event, aware.
        payload: The event's data, as JSON text.
        public_url: The base URL of `link`, which is added to events of alerts and incidents; None: no link.
    """
    at = format_us(from_datetime(timestamp.astimezone(UTC)))
    return b'{"type":%b,"timestamp":"%b","data":%b}' % (
        msgspec.json.encode(type_),
        at.encode(),
        (payload if public_url is None else add_event_link(payload, public_url)).encode(),
    )


def parse_native_body(body: bytes) -> NativeBody:
    """Parse a body (msgspec.DecodeError, a ValueError)."""
    return msgspec.json.decode(body, type=NativeBody)


def add_message_id(body: bytes, message_id: str) -> bytes:
    """Add the message's id to a body, as its first member."""
    # A body is a non-empty JSON object: the id is inserted after its first brace.
    return b'{"id":"%b",%b' % (message_id.encode(), body[1:])


CONTENT_TYPE: Final = "application/cloudevents+json"
"""The media type of CloudEvents."""

_PREFIX: Final = "vigie."


class _Subject(msgspec.Struct):
    alert_id: str | None = None
    incident_id: str | None = None


def render_cloudevent(body: bytes, *, message_id: str, organisation_id: UUID, site_id: UUID | None) -> bytes:
    """Render an event as a CloudEvent.

    Args:
        body: The native body.
        message_id: The event's `webhook-id`; source and id together are unique.
        organisation_id: The event's organisation.
        site_id: The event's site, if there is one.
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
    """Return the id of an event's alert or incident; None if there is none, or several."""
    try:
        subject = msgspec.json.decode(data, type=_Subject)
    except msgspec.ValidationError:
        return None
    return subject.alert_id or subject.incident_id
