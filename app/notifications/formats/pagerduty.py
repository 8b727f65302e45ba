"""Renders events for PagerDuty's Events API v2: trigger, acknowledge and resolve, by the alert's id. Pure.

The routing key is a secret, and bodies are not: it is added when the event is sent. Fields and limits:
https://developer.pagerduty.com/docs/send-alert-event.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from app.notifications.events.event_types import (
    INCIDENT_CONFIRMED,
    INCIDENT_DISMISSED,
    NOTICES,
    SUBSCRIPTION_NOTICES,
    TEST_EVENT,
)
from app.notifications.formats.chat_message_content import ChatMessage
from app.presentation.typography import truncate_text

SUMMARY_LIMIT: Final = 1024
KEY_LIMIT: Final = 255

_SOURCE: Final = "vigie"
_DETAIL_LIMIT: Final = 1024
_ACTIONS: Final[Mapping[str, str]] = {
    "alert.acknowledged": "acknowledge",
    "alert.resolved": "resolve",
    INCIDENT_CONFIRMED: "acknowledge",
    INCIDENT_DISMISSED: "resolve",
}
_SEVERITIES: Final = frozenset({"info", "warning", "critical"})
_INFO: Final = frozenset({TEST_EVENT})
_ABOUT: Final = ("alert_id", "incident_id", "request_id")
_FIELDS: Final = (("component", "metric"), ("group", "site_name"), ("class", "rule_name"))


def render_pagerduty_event(message: ChatMessage) -> bytes:
    """Render an event for PagerDuty, without the routing key."""
    action = _ACTIONS.get(message.type, "trigger")
    event: dict[str, Any] = {"event_action": action, "dedup_key": _key(message)}
    # PagerDuty already has the rest of an acknowledged or resolved alert.
    if action == "trigger":
        event |= {
            "client": "Vigie",
            "client_url": message.link,
            "links": [{"href": message.link, "text": message.link_words}],
            "payload": _payload(message),
        }
    return msgspec.json.encode(event)


def _key(message: ChatMessage) -> str:
    """Return the deduplication key: the id of the alert, or of another subject of the event."""
    data = message.data
    for name in _ABOUT:
        if data.get(name):
            return str(data[name])[:KEY_LIMIT]
    # A failing endpoint or subscription, and the same one disabled, are one incident.
    kind = message.type
    if kind in NOTICES | SUBSCRIPTION_NOTICES:
        kind = kind.partition(".")[0]
    names = ("organisation_id", "endpoint_id", "subscription_id", "quota")
    about = [str(data[name]) for name in names if data.get(name)]
    return "/".join((kind, *about))[:KEY_LIMIT]


def _payload(message: ChatMessage) -> dict[str, Any]:
    data = message.data
    details = {label: truncate_text(value, _DETAIL_LIMIT) for label, value in message.facts}
    if message.advice:
        details["advice"] = message.advice
    payload: dict[str, Any] = {
        "summary": truncate_text(message.sentence or message.page.subject, SUMMARY_LIMIT),
        "source": truncate_text(
            str(data.get("box_name") or data.get("box") or data.get("site_name") or _SOURCE), 255
        ),
        "severity": _severity(message),
        "custom_details": details,
    }
    if message.timestamp is not None:
        payload["timestamp"] = data.get("started_at") or message.timestamp
    payload |= {name: truncate_text(str(data[key]), 255) for name, key in _FIELDS if data.get(key)}
    return payload


def _severity(message: ChatMessage) -> str:
    severity = message.data.get("severity")
    if severity in _SEVERITIES:
        return str(severity)
    if message.type in _INFO:
        return "info"
    return "critical" if message.type.startswith("incident.") else "warning"
