import json
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest

from app.notifications.delivery.alert_grouping import (
    LABELS,
    GroupingPlan,
    LatestAlertEvent,
    build_group_body,
    parse_alert_data,
    parse_group_site,
)
from app.notifications.formats.native_and_cloudevents import build_native_body
from app.notifications.mqtt.mqtt_transport import BODY_LIMIT

ALERT, SITE, RULE = str(uuid4()), str(uuid4()), str(uuid4())
DATA = {
    "alert_id": ALERT,
    "site_id": SITE,
    "rule_id": RULE,
    "severity": "critical",
    "box": None,
    "state": "firing",
    "sequence": 3,
    "value": 31.2,
}
NOW = datetime(2026, 11, 24, 10, 10, 2, 127_000, tzinfo=UTC)


def plan(*by: str) -> GroupingPlan:
    return GroupingPlan(by, 10.0, 300.0)


def test_a_plan_is_read_as_it_is_stored() -> None:
    stored = '{"by": ["site", "rule"], "wait": "PT0S", "interval": "P1D"}'
    assert GroupingPlan.of(stored) == GroupingPlan(("site", "rule"), 0.0, 86_400.0)
    assert GroupingPlan.of(None) is None


@pytest.mark.parametrize(
    ("by", "key"),
    [
        (("site", "rule"), {"site_id": SITE, "rule_id": RULE}),
        (("severity",), {"severity": "critical"}),
        (("box",), {"box": None}),
        (tuple(LABELS), {"site_id": SITE, "rule_id": RULE, "severity": "critical", "box": None}),
    ],
)
def test_the_key_is_what_events_have_in_common(by: tuple[str, ...], key: dict[str, str | None]) -> None:
    alert = parse_alert_data("alert.escalated", json.dumps(DATA))
    assert alert is not None
    assert json.loads(alert.key(plan(*by))) == key


@pytest.mark.parametrize(
    ("type_", "payload"),
    [
        ("webhook.test", json.dumps(DATA)),
        ("platform.messages_dropped", "{}"),
        ("alert.firing", "{}"),
        ("alert.firing", '{"alert_id": 7}'),
        ("alert.firing", json.dumps({**DATA, "sequence": "x"})),
    ],
)
def test_what_is_not_of_an_alert_is_not_grouped(type_: str, payload: str) -> None:
    assert parse_alert_data(type_, payload) is None


def test_the_body_lists_the_bodies_that_the_events_would_have_had() -> None:
    bodies = [
        build_native_body("alert.firing", NOW, json.dumps(DATA)),
        build_native_body("alert.resolved", NOW, "{}"),
    ]
    body = build_group_body(
        '{"severity":"critical"}', NOW, list(map(LatestAlertEvent, bodies, (2, 1))), firing=1, resolved=3
    )
    assert json.loads(body) == {
        "type": "alert.group",
        "timestamp": "2026-11-24T10:10:02.127Z",
        "data": {
            "group": {"severity": "critical"},
            "firing": 1,
            "resolved": 3,
            "events": [
                {**json.loads(bodies[0]), "events_count": 2},
                {**json.loads(bodies[1]), "events_count": 1},
            ],
            "truncated": 2,
        },
    }


@pytest.mark.parametrize(("length", "listed"), [(100_000, 8), (2_000_000, 1)])
def test_a_body_has_no_more_than_a_broker_takes(length: int, listed: int) -> None:
    event = LatestAlertEvent(build_native_body("alert.firing", NOW, json.dumps({"note": "x" * length})), 1)
    body = build_group_body("{}", NOW, [event] * 20, firing=15, resolved=10)
    found = json.loads(body)["data"]
    assert (len(found["events"]), found["truncated"]) == (listed, 25 - listed)
    assert (found["firing"], found["resolved"]) == (15, 10)
    if listed > 1:
        assert len(body) < BODY_LIMIT


def test_a_groups_site_is_the_one_in_its_key() -> None:
    assert parse_group_site(f'{{"site_id":"{SITE}","box":null}}') == UUID(SITE)
    assert parse_group_site('{"severity":"critical"}') is None
    assert parse_group_site('{"site_id":null}') is None
