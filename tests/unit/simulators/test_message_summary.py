"""What is said of a message: one line, whatever comes."""

import json
from typing import Any

import pytest

from simulators.message_summary import get_message_type, parse_body, summarise_message

DATA: dict[str, Any] = {
    "box": "box-0001",
    "metric": "pm2_5",
    "value": 31.2,
    "threshold": 25,
    "severity": "warning",
    "started_at": "2026-11-24T10:10:00Z",
    "sequence": 3,
}
TOLD = "warning box-0001 pm2_5 31.2 (threshold 25) at 2026-11-24T10:10:00Z, sequence 3"
ALERT = {"labels": {"alertname": "Fine", "severity": "critical"}, "annotations": {"summary": "Too much"}}


@pytest.mark.parametrize(
    ("message", "line"),
    [
        ({"type": "alert.firing", "data": DATA}, f"alert.firing {TOLD}"),
        ({"specversion": "1.0", "type": "vigie.alert.firing", "data": DATA}, f"vigie.alert.firing {TOLD}"),
        (
            {
                "type": "alert.group",
                "data": {
                    "group": {},
                    "firing": 1,
                    "resolved": 0,
                    "events": [{"type": "alert.firing", "data": DATA}],
                },
            },
            f"alert.group 1 firing, 0 resolved: alert.firing {TOLD}",
        ),
        (
            {"version": "4", "status": "firing", "alerts": [ALERT, {"labels": {"alertname": "Other"}}]},
            "alertmanager firing, 2 alerts: critical Too much; None Other",
        ),
        (
            {"type": "endpoint.disabled", "data": {"reason": "gone", "target": "x"}},
            "endpoint.disabled x gone",
        ),
        (
            {
                "type": "incident.detected",
                "data": {
                    "incident_id": "i",
                    "evidence": "branch",
                    "probability": 0.93,
                    "sequence": 1,
                    "outcome": None,
                },
            },
            "incident.detected branch 93% at None, sequence 1",
        ),
        ({"type": "webhook.test", "data": {"message": "hi"}}, "webhook.test hi"),
        (
            {"type": "alert.firing", "data": {**DATA, "box": None, "metric": None}},
            f"alert.firing {TOLD.replace('box-0001', 'site').replace(' pm2_5', '')}",
        ),
        ({}, "no type"),
        ({"type": "x", "data": [1]}, "x"),
        ({"alerts": [1]}, "alertmanager None, 1 alerts: None None"),
        (
            {
                "type": "alert.resolved",
                "data": {**DATA, "state": "resolved", "resolved_value": 12, "box": "b\n"},
            },
            "alert.resolved warning b\\n pm2_5 12 (threshold 25) at 2026-11-24T10:10:00Z, sequence 3",
        ),
    ],
)
def test_a_message_is_one_line(message: dict[str, Any], line: str) -> None:
    assert summarise_message(message) == line
    assert summarise_message(parse_body(json.dumps(message).encode())) == line


def test_what_is_no_message_is_read_as_an_empty_one() -> None:
    assert [parse_body(body) for body in (b"", b"[1]", b"\xff", b"{")] == [{}] * 4
    assert get_message_type({"status": "resolved", "alerts": []}) == "alertmanager resolved"
    assert len(summarise_message({"type": "x" * 5000})) == 300
