import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID, uuid4

import pytest

from app.webhooks.event_types import TEST_EVENT
from app.webhooks.fanout import Subscription, build_body, wants

ENDPOINT, SITE, OTHER = uuid4(), uuid4(), uuid4()


@pytest.mark.parametrize(
    ("events", "sites", "type_", "site", "wanted"),
    [
        (["alert.firing"], None, "alert.firing", SITE, True),
        (["alert.firing"], None, "alert.firing", None, True),
        (["alert.firing"], None, "alert.resolved", SITE, False),
        (["*"], None, "alert.acknowledged", SITE, True),
        (["*"], [SITE], "alert.firing", SITE, True),
        (["*"], [SITE, OTHER], "alert.firing", OTHER, True),
        (["*"], [OTHER], "alert.firing", SITE, False),
        (["*"], [SITE], "alert.firing", None, False),
        (["*"], None, TEST_EVENT, None, False),
    ],
)
def test_who_receives_what(
    events: list[str],
    sites: list[UUID] | None,
    type_: str,
    site: UUID | None,
    wanted: bool,  # noqa: FBT001 (a parameter)
) -> None:
    payload = json.dumps({"endpoint_id": str(uuid4())})
    assert wants(Subscription(ENDPOINT, events, sites), type_, site, payload) is wanted


def test_a_test_event_goes_to_the_one_it_names() -> None:
    payload = json.dumps({"endpoint_id": str(ENDPOINT)})
    assert wants(Subscription(ENDPOINT, ["alert.firing"], [SITE]), TEST_EVENT, None, payload)


def test_the_body_is_the_contracts() -> None:
    at = datetime(2026, 11, 24, 11, 10, 2, tzinfo=timezone(timedelta(hours=1)))
    data: dict[str, Any] = {"value": 31.2, "name": "Rue d'Alsace — « été »", "resolved_at": None}
    body = build_body("alert.firing", at, json.dumps(data, ensure_ascii=False))
    assert json.loads(body) == {"type": "alert.firing", "timestamp": "2026-11-24T10:10:02Z", "data": data}
    assert build_body("a", datetime(2026, 1, 1, 0, 0, 0, 125_000, tzinfo=UTC), "{}") == (
        b'{"type":"a","timestamp":"2026-01-01T00:00:00.125Z","data":{}}'
    )
