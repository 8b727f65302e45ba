"""A rule's page names who gets its alerts."""

from typing import Any

import pytest

from app.console.rules.rule_recipients import choose_recipients

RULE: dict[str, Any] = {
    "organisation_id": "o",
    "site_id": "s",
    "severity": "warning",
    "escalations": [],
}
ENDPOINT: dict[str, Any] = {
    "organisation_id": "o",
    "enabled": True,
    "events": ["alert.firing"],
    "site_ids": None,
    "min_severity": None,
}


@pytest.mark.parametrize(
    ("change", "is_chosen"),
    [
        ({}, True),
        ({"enabled": False}, False),
        ({"events": ["*"]}, True),
        ({"events": ["incident.detected", "alert.resolved"]}, False),
        ({"site_ids": ["s"]}, True),
        ({"site_ids": ["other"]}, False),
        ({"min_severity": "warning"}, True),
        ({"min_severity": "critical"}, False),
        ({"organisation_id": "other"}, False),
    ],
)
def test_by_site_severity_and_events(change: dict[str, Any], *, is_chosen: bool) -> None:
    assert bool(choose_recipients([ENDPOINT | change], RULE)) is is_chosen


def test_an_escalation_reaches_those_who_want_only_severe_alerts() -> None:
    rule = RULE | {"escalations": [{"after": "PT10M", "severity": "critical"}]}
    assert choose_recipients([ENDPOINT | {"min_severity": "critical"}], rule)
