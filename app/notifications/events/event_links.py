"""Links to what an event is about, below the address at which clients reach the API. Pure."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import msgspec


class _Subject(msgspec.Struct):
    alert_id: str | None = None
    incident_id: str | None = None


def build_alert_link(base_url: str, alert_id: UUID | str) -> str:
    """Return the address of an alert."""
    return f"{base_url}/v1/alerts/{alert_id}"


def build_incident_link(base_url: str, incident_id: UUID | str) -> str:
    """Return the address of an incident."""
    return f"{base_url}/v1/incidents/{incident_id}"


def build_event_link(base_url: str, data: Mapping[str, Any]) -> str | None:
    """Return the address of what an event is about: its alert or its incident; None where it has neither."""
    if data.get("alert_id") is not None:
        return build_alert_link(base_url, str(data["alert_id"]))
    if data.get("incident_id") is not None:
        return build_incident_link(base_url, str(data["incident_id"]))
    return None


def add_event_link(payload: str, base_url: str) -> str:
    """Return the data of an event with its `link`, as JSON text; unchanged where it has none."""
    try:
        subject = msgspec.json.decode(payload, type=_Subject)
    except msgspec.DecodeError:
        # Whatever it is, it must not hold up the events after it.
        return payload
    link = build_event_link(base_url, msgspec.structs.asdict(subject))
    if link is None:
        return payload
    # It names an alert: the object is not empty, and what is added goes before its last brace.
    return f'{payload[:-1]},"link":{msgspec.json.encode(link).decode()}}}'
