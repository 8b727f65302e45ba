"""Contains an example body of each event type, for the catalogue, OpenAPI and the documentation."""

from collections.abc import Mapping
from typing import Any, Final

from app.notifications.delivery.alert_grouping import GROUP_EVENT
from app.notifications.events.event_types import (
    ENDPOINT_DISABLED,
    ENDPOINT_FAILING,
    MESSAGES_DROPPED,
    QUOTA_EXCEEDED,
    QUOTA_WARNING,
    RIGHTS_OVERDUE,
    RIGHTS_RECEIVED,
    SUBSCRIPTION_DISABLED,
    SUBSCRIPTION_FAILING,
    TEST_EVENT,
)
from app.notifications.events.incident_event_schemas import EXAMPLES as INCIDENTS
from app.notifications.sentences import SENTENCES, event_sentence

type EventExample = dict[str, Any]

ORGANISATION: Final = "01a20ff2-3b1c-7e44-9d0a-5a1f0c2b7d10"
SITE: Final = "01a20ff2-6f03-7a91-8c55-0be1d94f2a37"
EVENT_ID: Final = "01a21017-c4e9-7abf-a8ae-97180a390a41"
_RULE: Final = "01a20ff5-1d20-7c0e-b3f6-44c8e2a9d1b5"
_ALERT: Final = "01a21017-b012-70c3-9e7d-1f6a3c5e8b92"
_OTHER_ALERT: Final = "01a21017-b012-74d8-a2b1-93d07f4c6e15"
_KEY: Final = "01a20ff3-52a7-7d18-9b60-7c1e8f3a2d49"
_ENDPOINT: Final = "01a20ffa-8e77-7b62-91c4-6d2f8a0e3b59"

_FIRING: Final[EventExample] = {
    "alert_id": _ALERT,
    "rule_id": _RULE,
    "rule_name": "Particules fines",
    "rule_version": 1,
    "organisation_id": ORGANISATION,
    "site_id": SITE,
    "site_name": "Rue de Metz",
    "box": "box-0001",
    "box_name": None,
    "link": f"https://vigie.example.com/console/alerts/{_ALERT}",
    "metric": "pm2_5",
    "unit": "µg/m³",
    "value": 31.2,
    "threshold": 25.0,
    "clear": 20.0,
    "severity": "warning",
    "highest_severity": "warning",
    "state": "firing",
    "pending_since": "2026-11-24T10:00:00Z",
    "started_at": "2026-11-24T10:10:00Z",
    "resolved_at": None,
    "resolved_value": None,
    "resolution": None,
    "acknowledged_at": None,
    "acknowledged_by": None,
    "description": "Close the windows of the school.",
    "assignee": None,
    "sequence": 1,
    "cause": {
        "path": "levels/0/condition",
        "function": None,
        "window": None,
        "event": None,
        "boxes": [],
        "index": None,
    },
}
_CRITICAL: Final[EventExample] = {
    **_FIRING,
    "value": 61.7,
    "severity": "critical",
    "highest_severity": "critical",
}
_RESOLVED: Final[EventExample] = {
    "state": "resolved",
    "resolved_at": "2026-11-24T11:02:00Z",
    "resolved_value": 18.4,
    "resolution": "cleared",
}
_NOTICE: Final[EventExample] = {
    "endpoint_id": _ENDPOINT,
    "organisation_id": ORGANISATION,
    "kind": "webhook",
    "target": "https://example.com",
    "description": "Night shift",
    "reason": "failing",
    "failing_since": "2026-11-23T10:05:00Z",
    "last_reason": "http_error",
    "last_status": 503,
    "pending": 12,
}
_SUBSCRIPTION: Final[EventExample] = {
    "subscription_id": "01a20ffc-2b64-7a0e-8f13-9c4d7e5a1b06",
    "organisation_id": ORGANISATION,
    "name": "Open data portal",
    "sink": "postgresql",
    "reason": "failing",
    "failing_since": "2026-11-23T10:05:00Z",
    "last_reason": "connect_failed",
    "last_status": None,
}
_QUOTA: Final = {
    "organisation_id": ORGANISATION,
    "quota": "samples_per_day",
    "day": "2026-11-24",
    "limit": 5_000_000,
    "used": 4_000_217,
    "refused": 0,
    "resets_at": "2026-11-25T00:00:00Z",
}


_RIGHTS: Final = {
    "request_id": "0194a1b2-0000-7000-8000-00000000c0de",
    "reference": "R-7K3F9-Q2DXM",
    "organisation_id": ORGANISATION,
    "site_id": None,
    "kind": "access",
    "state": "received",
    "received_at": "2026-10-24T10:00:00Z",
    "due_at": "2026-11-24T10:00:00Z",
}


def _body(type_: str, at: str, data: EventExample) -> EventExample:
    sentences = {}
    if "alert_id" in data:
        sentences = {
            key: event_sentence(type_, data, language, one_box=True) for key, language in SENTENCES.items()
        }
    return {"type": type_, "timestamp": f"2026-11-24T{at}Z", "data": {**data, **sentences}}


_BEGINNING: Final = _body("alert.firing", "10:10:02.127", _FIRING)
_END: Final = _body("alert.resolved", "11:02:01.554", {**_CRITICAL, **_RESOLVED, "sequence": 5})
_OTHER_END: Final = _body(
    "alert.resolved",
    "10:10:08.554",
    {
        **_FIRING,
        **_RESOLVED,
        "alert_id": _OTHER_ALERT,
        "link": f"https://vigie.example.com/console/alerts/{_OTHER_ALERT}",
        "box": "box-0002",
        "resolved_at": "2026-11-24T10:10:06Z",
        "sequence": 2,
    },
)

EXAMPLES: Final[Mapping[str, EventExample]] = {
    example["type"]: example
    for example in (
        _BEGINNING,
        _body(
            "alert.escalated",
            "10:25:02.040",
            {
                **_CRITICAL,
                "previous_severity": "warning",
                "previous_highest_severity": "warning",
                "reason": "samples",
                "sequence": 2,
            },
        ),
        _body(
            "alert.deescalated",
            "10:48:01.310",
            {
                **_FIRING,
                "highest_severity": "critical",
                "previous_severity": "critical",
                "reason": "samples",
                "sequence": 4,
            },
        ),
        _END,
        _body(
            "alert.acknowledged",
            "10:31:40.512",
            {
                **_CRITICAL,
                "acknowledged_at": "2026-11-24T10:31:40.498Z",
                "acknowledged_by": {"kind": "key", "id": _KEY, "name": "Night shift"},
                "sequence": 3,
            },
        ),
        _body("alert.reminder", "10:40:02.127", {**_FIRING, "sequence": 2}),
        _body(
            GROUP_EVENT,
            "10:10:12.131",
            {
                "group": {"site_id": SITE, "rule_id": _RULE},
                "firing": 1,
                "resolved": 1,
                "events": [{**_BEGINNING, "events_count": 1}, {**_OTHER_END, "events_count": 2}],
                "truncated": 0,
            },
        ),
        *INCIDENTS,
        _body(ENDPOINT_FAILING, "10:05:00.871", _NOTICE),
        _body(
            ENDPOINT_DISABLED,
            "10:05:00.871",
            {**_NOTICE, "reason": "gone", "last_reason": "gone", "last_status": 410},
        ),
        _body(SUBSCRIPTION_FAILING, "10:05:00.871", _SUBSCRIPTION),
        _body(SUBSCRIPTION_DISABLED, "10:05:00.871", _SUBSCRIPTION),
        _body(QUOTA_WARNING, "19:12:04.310", _QUOTA),
        _body(RIGHTS_RECEIVED, "10:00:00.204", _RIGHTS),
        _body(RIGHTS_OVERDUE, "10:00:31.090", _RIGHTS),
        _body(QUOTA_EXCEEDED, "23:02:11.904", {**_QUOTA, "used": 5_000_000, "refused": 1210}),
        _body(
            MESSAGES_DROPPED,
            "10:15:00.402",
            {
                "organisation_id": ORGANISATION,
                "dropped": 1500,
                "total": 1500,
                "broker_started_at": "2026-11-24T08:00:00Z",
            },
        ),
        _body(
            TEST_EVENT,
            "10:00:00.019",
            {
                "endpoint_id": _ENDPOINT,
                "organisation_id": ORGANISATION,
                "kind": "webhook",
                "message": "A test event: alerts will arrive here too.",
            },
        ),
    )
}
"""An example body of each event type."""
