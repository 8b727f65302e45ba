"""Vigie's own body, `{"type", "timestamp", "data"}`: how it is made, read and told apart. Pure."""

from datetime import UTC, datetime

import msgspec

from app.notifications.events.event_links import add_event_link
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
