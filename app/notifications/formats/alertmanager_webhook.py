"""Renders events for Prometheus Alertmanager's webhook receivers, version 4. Pure.

- An event is rendered as the state of its alert after it, firing or resolved.
- Receivers identify an alert by `fingerprint`, which stays the same when the severity changes.
- Other events (a test, a failing endpoint, dropped messages) become alerts that are never resolved.
- Some receivers identify alerts by `alertname` and `instance`, so `instance` is different for different
  alerts.
- Missing values are left out, never null, so every event can be rendered.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final
from uuid import UUID

import msgspec

from app.notifications.delivery.alert_grouping import GROUP_EVENT
from app.notifications.events.event_types import (
    ENDPOINT_DISABLED,
    ENDPOINT_FAILING,
    INCIDENT_CONFIRMED,
    INCIDENT_DETECTED,
    INCIDENT_DISMISSED,
    INCIDENT_UPDATED,
    MESSAGES_DROPPED,
    QUOTA_EXCEEDED,
    QUOTA_WARNING,
    SUBSCRIPTION_DISABLED,
    SUBSCRIPTION_FAILING,
    TEST_EVENT,
)
from app.notifications.formats import native_and_cloudevents

VERSION: Final = "4"
RECEIVER: Final = "vigie"
NEVER: Final = "0001-01-01T00:00:00Z"
"""The end of an alert that has not ended."""

MOST_CHARACTERS: Final = 1024
"""The most characters of a label or an annotation; longer ones are truncated."""

FIRING: Final = "firing"
"""The status of an entry that has not ended."""

_RESOLVED: Final = "resolved"
_INFO: Final = "info"
_OPEN: Final = "open"
_INCIDENT: Final = "Boxes heard what may be a gunshot ({probability}), evidence: {evidence}"
# Annotations, not labels: names can change, and labels identify alerts.
_NAMES: Final = ("sentence", "site_name", "box_name", "unit")
_LABELS: Final = ("organisation_id", "site_id", "box", "metric", "rule_id")
# Type → the alert's name, its severity, and the pattern of its summary.
_OTHERS: Final[Mapping[str, tuple[str, str, str]]] = {
    TEST_EVENT: ("VigieTest", _INFO, "{message}"),
    ENDPOINT_FAILING: (
        "VigieEndpointFailing",
        "warning",
        "Nothing has reached {target} since {failing_since}: {last_reason}",
    ),
    ENDPOINT_DISABLED: ("VigieEndpointDisabled", "critical", "{target} is disabled: {reason}"),
    SUBSCRIPTION_FAILING: (
        "VigieSubscriptionFailing",
        "warning",
        "No measurements have reached {name} ({sink}) since {failing_since}: {last_reason}",
    ),
    SUBSCRIPTION_DISABLED: ("VigieSubscriptionDisabled", "critical", "{name} ({sink}) is disabled: {reason}"),
    QUOTA_WARNING: ("VigieQuotaWarning", "warning", "{used} of {limit} {quota} are used"),
    QUOTA_EXCEEDED: (
        "VigieQuotaExceeded",
        "critical",
        "The quota of {quota} ({limit}) is used up: {refused} were refused",
    ),
    INCIDENT_DETECTED: ("VigieIncident", "critical", _INCIDENT),
    INCIDENT_UPDATED: ("VigieIncident", "critical", _INCIDENT),
    INCIDENT_CONFIRMED: ("VigieIncident", "critical", "A person confirmed the incident: {outcome}"),
    INCIDENT_DISMISSED: ("VigieIncident", "critical", "The incident was dismissed: {outcome}"),
    MESSAGES_DROPPED: ("VigieMessagesDropped", "critical", "The broker dropped {dropped} messages"),
}

type _Data = dict[str, Any]
type _Alert = dict[str, Any]


def render_alertmanager_webhook(body: bytes, organisation_id: UUID, public_url: str) -> bytes:
    """Render an event or a group as Alertmanager would send it.

    Args:
        body: The native body.
        organisation_id: The event's organisation.
        public_url: The base URL of links.
    """
    event = native_and_cloudevents.parse_native_body(body)
    data: _Data = msgspec.json.decode(event.data)
    if event.type == GROUP_EVENT:
        return _render_group(data, public_url)
    if "alert_id" in data:
        alert = build_alert_entry(event.timestamp, data, public_url)
        key = {"alert_id": str(data["alert_id"])}
    else:
        alert = build_non_alert_entry(event.type, event.timestamp, data, organisation_id, public_url)
        key = {"alertname": alert["labels"]["alertname"], "fingerprint": alert["fingerprint"]}
    group = {"alertname": alert["labels"]["alertname"]}
    return _message([alert], key, group, firing=alert["status"] == FIRING, public_url=public_url)


def _render_group(data: _Data, public_url: str) -> bytes:
    alerts = [build_alert_entry(event["timestamp"], event["data"], public_url) for event in data["events"]]
    labels = _texts(data["group"].items())
    key = {name: labels.get(name, "") for name in data["group"]}
    return _message(
        alerts,
        key,
        labels,
        firing=data["firing"] > 0,
        public_url=public_url,
        truncated=data["truncated"],
    )


def _message(
    alerts: Sequence[_Alert],
    key: Mapping[str, str],
    group: Mapping[str, str],
    *,
    firing: bool,
    public_url: str,
    truncated: int = 0,
) -> bytes:
    return msgspec.json.encode(
        {
            "version": VERSION,
            "groupKey": _group_key(key),
            "truncatedAlerts": truncated,
            "status": FIRING if firing else _RESOLVED,
            "receiver": RECEIVER,
            "groupLabels": group,
            "commonLabels": _common([alert["labels"] for alert in alerts]),
            "commonAnnotations": _common([alert["annotations"] for alert in alerts]),
            "externalURL": public_url,
            "alerts": alerts,
        }
    )


def build_alert_entry(timestamp: str, data: _Data, public_url: str) -> _Alert:
    """Build the entry of an alert in its state after an event."""
    resolved = data.get("state") == _RESOLVED
    name = str(data.get("rule_name") or "VigieAlert")
    labels = _texts(
        [
            ("alertname", name),
            ("severity", data.get("severity") or _INFO),
            *((label, data.get(label)) for label in _LABELS),
            ("instance", data.get("box") or data.get("site_id")),
        ]
    )
    value = data.get("resolved_value") if resolved else data.get("value")
    annotations = [
        ("summary", _summary(name, labels, data, resolved=resolved)),
        ("description", data.get("description")),
        ("value", value),
        ("threshold", data.get("threshold")),
        *((name, data.get(name)) for name in _NAMES),
    ]
    return {
        "status": _RESOLVED if resolved else FIRING,
        "labels": labels,
        "annotations": _texts(annotations),
        "startsAt": data.get("started_at") or timestamp,
        "endsAt": (data.get("resolved_at") or timestamp) if resolved else NEVER,
        "generatorURL": f"{public_url}/console/alerts/{data['alert_id']}",
        "fingerprint": _fingerprint(str(data["alert_id"])),
    }


def _summary(name: str, labels: Mapping[str, str], data: _Data, *, resolved: bool) -> str:
    where = f"box {labels['box']}" if "box" in labels else "the whole site"
    if resolved:
        why = data.get("resolution")
        return f"{name} on {where} is over" + (f" ({why})" if why else "")
    what = f"{name} ({labels['severity']}) on {where}"
    measured = _index_title(data) or labels.get("metric")
    if data.get("value") is None or measured is None:
        return what
    return f"{what}: {measured} at {_text(data['value'])}"


def _index_title(data: _Data) -> str | None:
    """Return the title of the index that caused the alert, if any."""
    found: object = data
    for name in ("cause", "index", "title"):
        found = found.get(name) if isinstance(found, Mapping) else None
    return found if isinstance(found, str) else None


def build_non_alert_entry(
    type_: str, timestamp: str, data: _Data, organisation_id: UUID, public_url: str
) -> _Alert:
    """Build the entry of an event that is not of an alert. An incident is resolved by its review.

    Args:
        type_: The event's type.
        timestamp: The event's time, RFC 3339.
        data: The event's data.
        organisation_id: The event's organisation.
        public_url: The base URL of links.
    """
    known = _OTHERS.get(type_)
    name, severity, summary = known or (f"Vigie {type_}", _INFO, type_)
    endpoint, quota, incident = data.get("endpoint_id"), data.get("quota"), data.get("incident_id")
    subscription = data.get("subscription_id")
    reviewed = incident is not None and data.get("state") != _OPEN
    labels = [
        ("alertname", name),
        ("severity", severity),
        ("organisation_id", organisation_id),
        ("endpoint_id", endpoint),
        ("subscription_id", subscription),
        ("site_id", data.get("site_id") if incident else None),
        ("instance", endpoint or subscription or quota or incident or "vigie"),
    ]
    sentence = summary.format_map(_Texts(data)) if known else summary
    return {
        "status": _RESOLVED if reviewed else FIRING,
        "labels": _texts(labels),
        "annotations": _texts([("summary", sentence), *((name, data.get(name)) for name in _NAMES)]),
        "startsAt": data.get("detected_at") or timestamp,
        "endsAt": timestamp if reviewed else NEVER,
        "generatorURL": _link(public_url, data),
        "fingerprint": _fingerprint(
            f"incident {incident}"
            if incident
            else f"{type_} {organisation_id} {endpoint or subscription or quota}"
        ),
    }


def _link(public_url: str, data: _Data) -> str:
    endpoint, incident = data.get("endpoint_id"), data.get("incident_id")
    if endpoint is not None:
        kind = "webhooks" if data.get("kind", "webhook") == "webhook" else "channels"
        return f"{public_url}/v1/{kind}/{endpoint}"
    if subscription := data.get("subscription_id"):
        return f"{public_url}/v1/measurement-subscriptions/{subscription}"
    return public_url if incident is None else f"{public_url}/console/incidents/{incident}"


class _Texts(dict[str, Any]):
    """The data of an event for a pattern; a missing value becomes a question mark."""

    def __getitem__(self, name: str) -> str:
        value = self.get(name)
        return "?" if value is None else _text(value)


def _text(value: Any) -> str:  # noqa: ANN401 (whatever JSON holds)
    if isinstance(value, float):
        # 25, not 25.0.
        return repr(value).removesuffix(".0")
    return str(value)[:MOST_CHARACTERS]


def _texts(pairs: Iterable[tuple[str, Any]]) -> dict[str, str]:
    return {name: _text(value) for name, value in pairs if value is not None and value != ""}


def _common(sets: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Return the pairs that all sets contain."""
    if not sets:
        return {}
    shared = set(sets[0].items()).intersection(*(labels.items() for labels in sets[1:]))
    return {name: value for name, value in sets[0].items() if (name, value) in shared}


def _group_key(labels: Mapping[str, str]) -> str:
    inside = ", ".join(f"{name}={msgspec.json.encode(value).decode()}" for name, value in labels.items())
    return f"{{}}:{{{inside}}}"


def _fingerprint(identity: str) -> str:
    """Return sixteen hexadecimal digits, always the same for an identity."""
    return hashlib.blake2b(identity.encode(), digest_size=8).hexdigest()
