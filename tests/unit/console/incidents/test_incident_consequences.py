"""Which alerts were open at the time of an incident, and which recipients get incidents."""

from typing import Any

import pytest

from app.console.incidents.incident_consequences import IncidentAlerts, select_open_alerts, takes_incidents

INCIDENT = {"occurred_at": "2026-11-29T16:45:30Z", "boxes": ["a", "b"]}


def alert(number: str, box: str = "a", **more: object) -> dict[str, Any]:
    usual = {
        "started_at": "2026-11-29T16:45:00Z",
        "resolved_at": None,
        "cause": {"event": {"type": "gunshot"}},
    }
    return {"id": number, "box": box, **usual, **more}


def test_only_alerts_on_events_of_its_boxes_that_were_open_explain_why_there_is_none() -> None:
    alerts = [
        alert("open"),
        alert("ended after", resolved_at="2026-11-29T16:45:30Z"),
        alert("ended before", resolved_at="2026-11-29T16:45:29Z"),
        alert("began after", started_at="2026-11-29T16:45:31Z"),
        alert("elsewhere", box="c"),
        alert("of dust", cause={"event": None}),
        alert("unknown", cause=None),
    ]
    assert [each["id"] for each in select_open_alerts(INCIDENT, alerts)] == ["open", "ended after"]


def test_alerts_that_fire_and_that_nobody_acknowledged_wait() -> None:
    own = [
        alert("new", state="firing", acknowledged_by=None),
        alert("taken", state="firing", acknowledged_by={"name": "Ada"}),
        alert("over", state="resolved", acknowledged_by=None),
    ]
    assert IncidentAlerts(own, ()).unacknowledged_ids == ["new"]


@pytest.mark.parametrize(
    ("more", "takes"),
    [
        ({}, True),
        ({"events": ["*"], "site_ids": ["quay"]}, True),
        ({"events": ["alert.firing"]}, False),
        ({"site_ids": ["park"]}, False),
        ({"enabled": False}, False),
    ],
)
def test_a_recipient_gets_incidents_of_its_sites(more: dict[str, Any], *, takes: bool) -> None:
    recipient = {"enabled": True, "events": ["incident.detected"], "site_ids": None, **more}
    assert takes_incidents(recipient, "quay") is takes
