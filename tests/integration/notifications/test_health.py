"""How an endpoint's deliveries are going, by REST."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from app.notifications.api import health_queries
from tests.conftest import Tenant
from tests.integration.notifications.helpers import add_endpoint
from tests.integration.notifications.log import add_attempt, add_channel, add_delivery, ago


async def _health(tenant: Tenant, path: str, window: str = "") -> dict[str, Any]:
    answer = await tenant.client.get(f"{path}/health{window and '?window='}{window}")
    assert answer.status_code == 200, answer.text
    health: dict[str, Any] = answer.json()
    return health


async def test_one_that_nothing_was_sent_to_is_idle(tenant: Tenant, connection: asyncpg.Connection) -> None:
    channel = await add_channel(connection, UUID(tenant.id))
    health = await _health(tenant, f"/v1/channels/{channel}")
    assert health.pop("since") is not None
    assert health == {
        "state": "idle",
        "attempts": 0,
        "successes": 0,
        "success_rate": None,
        "duration_ms": {"p50": None, "p99": None},
        "delay_ms": {"p50": None, "p99": None},
        "last_success_at": None,
        "last_failure": None,
        "failing_since": None,
        "consecutive_failures": 0,
        "open_until": None,
        "pending": 0,
        "oldest_pending_at": None,
    }


async def test_one_whose_deliveries_were_not_attempted_yet_waits(
    tenant: Tenant, connection: asyncpg.Connection
) -> None:
    owner = UUID(tenant.id)
    endpoint, _ = await add_endpoint(connection, owner, "https://example.com/")
    await add_delivery(connection, owner, endpoint, state="pending")
    path = f"/v1/webhooks/{endpoint}"
    assert (await _health(tenant, path))["state"] == "waiting"
    # One that hangs has failed before, or will have: what is known goes first.
    await connection.execute(
        "INSERT INTO endpoint_states (endpoint_id, consecutive_failures) VALUES ($1, 1)", endpoint
    )
    assert (await _health(tenant, path))["state"] == "failing"


async def test_figures_are_of_the_window(tenant: Tenant, connection: asyncpg.Connection) -> None:
    owner = UUID(tenant.id)
    endpoint, _ = await add_endpoint(connection, owner, "https://example.com/")
    other, _ = await add_endpoint(connection, owner, "https://example.com/")
    for place in range(1, 101):
        began = ago(minutes=place)
        happened = began - timedelta(seconds=place)
        one = await add_delivery(connection, owner, endpoint, created_at=happened)
        await add_attempt(connection, endpoint, one, started_at=began, duration_ms=place)
    for _ in range(25):
        one = await add_delivery(connection, owner, endpoint, state="failed")
        await add_attempt(connection, endpoint, one, reason="timeout", duration_ms=1000, status=None)
    old = await add_delivery(connection, owner, endpoint, created_at=ago(days=2))
    await add_attempt(connection, endpoint, old, started_at=ago(days=2))
    again = await add_delivery(connection, owner, endpoint, created_at=ago(days=9), replay_id=uuid4())
    await add_attempt(connection, endpoint, again, duration_ms=50)
    theirs = await add_delivery(connection, owner, other)
    await add_attempt(connection, other, theirs)
    pending = [
        await add_delivery(connection, owner, endpoint, state="pending", created_at=ago(hours=hours))
        for hours in (2, 5)
    ]
    assert len(pending) == 2
    path = f"/v1/webhooks/{endpoint}"
    health = await _health(tenant, path)
    assert (health["attempts"], health["successes"]) == (126, 101)
    assert health["success_rate"] == round(100 * 101 / 126, 2)
    # Of 1 to 100 ms, once more 50 and twenty-five times 1,000; of 1 to 100 s, each with its duration.
    assert health["duration_ms"] == {"p50": 62.5, "p99": 1000}
    assert health["delay_ms"]["p50"] == pytest.approx(50_500 + 50.5, abs=1)
    assert health["delay_ms"]["p99"] == pytest.approx(99_010 + 99.01, abs=1)
    assert health["pending"] == 2
    waits = datetime.now(UTC) - datetime.fromisoformat(health["oldest_pending_at"])
    assert timedelta(hours=5) <= waits < timedelta(hours=5, minutes=5)
    assert (await _health(tenant, path, "P7D"))["attempts"] == 127
    hour = await _health(tenant, path, "PT1H")
    assert hour["attempts"] == 59 + 26


async def test_the_state_says_what_keeps_it(tenant: Tenant, connection: asyncpg.Connection) -> None:
    owner = UUID(tenant.id)
    endpoint, _ = await add_endpoint(connection, owner, "https://example.com/")
    one = await add_delivery(connection, owner, endpoint)
    await add_attempt(connection, endpoint, one)
    path = f"/v1/webhooks/{endpoint}"
    assert (await _health(tenant, path))["state"] == "healthy"
    await connection.execute(
        "INSERT INTO endpoint_states (endpoint_id, consecutive_failures, failing_since, last_failure_at, "
        "last_reason, last_status) VALUES ($1, 3, now(), now(), 'http_error', 503)",
        endpoint,
    )
    failing = await _health(tenant, path)
    assert (failing["state"], failing["consecutive_failures"]) == ("failing", 3)
    assert (failing["last_failure"]["reason"], failing["last_failure"]["status"]) == ("http_error", 503)
    assert failing["failing_since"] is not None
    steps = (
        ("UPDATE endpoint_states SET open_until = now() + interval '1 minute'", "open"),
        # A try by hand slows it down, so that what waits does not all go out at once.
        ("UPDATE endpoint_states SET slow_step = 1", "open"),
        ("UPDATE endpoint_states SET slow_step = 2, last_status = 429", "slowed"),
        ("UPDATE endpoint_states SET last_status = 500", "open"),
        # A success between two pauses.
        ("UPDATE endpoint_states SET consecutive_failures = 0", "slowed"),
        ("UPDATE endpoint_states SET consecutive_failures = 1, open_until = now()", "failing"),
        ("UPDATE webhook_endpoints SET enabled = false", "disabled"),
    )
    for change, state in steps:
        await connection.execute(change)
        assert (await _health(tenant, path))["state"] == state
    await connection.execute("UPDATE webhook_endpoints SET enabled = true")
    await connection.execute("UPDATE endpoint_states SET open_until = now(), slow_step = 0")
    over = await _health(tenant, path)
    assert (over["state"], over["open_until"]) == ("failing", None)


async def test_of_very_many_attempts_the_newest_are_looked_at(
    tenant: Tenant, connection: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health_queries, "MOST_ATTEMPTS", 3)
    owner = UUID(tenant.id)
    endpoint, _ = await add_endpoint(connection, owner, "https://example.com/")
    times = [ago(minutes=minutes) for minutes in (50, 40, 30, 20, 10)]
    for began in times:
        one = await add_delivery(connection, owner, endpoint, created_at=began)
        await add_attempt(connection, endpoint, one, started_at=began)
    health = await _health(tenant, f"/v1/webhooks/{endpoint}")
    assert health["attempts"] == 3
    assert health["since"] == times[2].isoformat().replace("+00:00", "Z")


@pytest.mark.parametrize("window", ["PT59M59S", "P7DT1S", "1h", "", "P1M"])
async def test_what_is_no_window(tenant: Tenant, connection: asyncpg.Connection, window: str) -> None:
    endpoint, _ = await add_endpoint(connection, UUID(tenant.id), "https://example.com/")
    answer = await tenant.client.get(f"/v1/webhooks/{endpoint}/health?window={window}")
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_duration"), answer.text
    if window == "PT59M59S":
        assert answer.json()["errors"][0]["detail"].endswith(" is shorter than an hour")
