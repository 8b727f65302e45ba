"""Summarises a message of Vigie in one line: its own format, CloudEvents or Alertmanager. Pure."""

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

type MessageBody = Mapping[str, Any]

_LONGEST: Final = 300


def parse_body(body: bytes) -> dict[str, Any]:
    """Parse a body's JSON object; anything else counts as an empty one."""
    with suppress(ValueError):
        message = json.loads(body)
        if isinstance(message, dict):
            return message
    return {}


def get_message_type(message: MessageBody) -> str:
    """Return a message's type; for Alertmanager's format, its status."""
    if _is_alertmanager(message):
        return f"alertmanager {message.get('status')}"
    return str(message.get("type", "no type"))


def summarise_message(message: MessageBody) -> str:
    """Summarise a message in one line. Control characters are escaped, so that a terminal is safe."""
    if _is_alertmanager(message):
        text = _alertmanager(message)
    else:
        text = " ".join([get_message_type(message), *_told(_mapping(message.get("data")))])
    return ascii(text)[1:-1][:_LONGEST]


def _mapping(value: Any) -> MessageBody:  # noqa: ANN401 (whatever JSON holds)
    return value if isinstance(value, dict) else {}


def _is_alertmanager(message: MessageBody) -> bool:
    return "type" not in message and isinstance(message.get("alerts"), list)


def _told(data: MessageBody) -> list[str]:
    """Summarise an event's data, which is the same in Vigie's own format and in CloudEvents."""
    if "events" in data and "group" in data:
        inside = [_mapping(event) for event in data["events"]]
        alerts = "; ".join(summarise_message(event) for event in inside[:3])
        return [f"{data.get('firing')} firing, {data.get('resolved')} resolved:", alerts]
    if "incident_id" in data:
        chance = data.get("probability")
        return [
            *(str(data[name]) for name in ("outcome", "evidence") if data.get(name) is not None),
            *([f"{chance:.0%}"] if isinstance(chance, float) else []),
            f"at {data.get('occurred_at')}, sequence {data.get('sequence')}",
        ]
    if "metric" in data:
        value = data.get("resolved_value") if data.get("state") == "resolved" else data.get("value")
        value = data.get("value") if value is None else value
        when = data.get("resolved_at") or data.get("started_at")
        # A site-level rule has no box, and a rule on silence has no metric.
        what = [data.get("severity"), data.get("box") or "site", data.get("metric") or "", value]
        threshold, sequence = data.get("threshold"), data.get("sequence")
        return [
            *(str(each) for each in what if each != ""),
            f"(threshold {threshold}) at {when}, sequence {sequence}",
        ]
    named = ("severity", "box", "target", "reason", "dropped", "message", "detail")
    return [str(data[name]) for name in named if data.get(name) is not None]


def _alertmanager(message: MessageBody) -> str:
    alerts = [_mapping(alert) for alert in message["alerts"]]
    lines = []
    for alert in alerts[:3]:
        labels, annotations = _mapping(alert.get("labels")), _mapping(alert.get("annotations"))
        lines.append(f"{labels.get('severity')} {annotations.get('summary') or labels.get('alertname')}")
    return f"{get_message_type(message)}, {len(alerts)} alerts: {'; '.join(lines)}"
