"""One delivery sent again, tests of an endpoint: how often, and how much of it is shown and kept."""

import asyncio
from datetime import timedelta
from uuid import UUID

import asyncpg
import httpx
import pytest
from structlog.testing import capture_logs

from app.notifications.api import delivery_queries
from app.notifications.delivery.retention import MOST_ATTEMPTS, delete_old_deliveries
from app.notifications.delivery.single_delivery_replay import (
    MIN_REPLAY_INTERVAL,
    DeliverySnapshot,
    compute_earliest_replay,
)
from tests.conftest import Tenant
from tests.integration.notifications.helpers import add_endpoint
from tests.integration.notifications.log import add_attempt, add_channel, add_delivery, ago

NOW = ago(seconds=0)


def standing(
    state: str = "delivered",
    count: int = 1,
    *,
    due: float | None = None,
    leased: float | None = None,
    number: int | None = 1,
    began: float | None = -1,
) -> DeliverySnapshot:
    """A delivery; times are seconds from now."""
    due_at, leased_until, started_at = (
        None if seconds is None else NOW + timedelta(seconds=seconds) for seconds in (due, leased, began)
    )
    return DeliverySnapshot(state, count, due_at, leased_until, number, started_at, NOW)


@pytest.mark.parametrize(
    ("one", "wait_s"),
    [
        (standing(), 0),
        (standing("failed", 10, number=10), 0),
        # Made, and not yet tried: nothing is gained by it, nor lost.
        (standing("pending", 0, due=-1, number=None, began=None), 0),
        # Its schedule goes on.
        (standing("pending", 2, due=300, number=2), 0),
        (standing("pending", 1, due=-1, leased=29), 29),
        (standing("pending", 1, due=-1, leased=-1), 0),
        # Sent again, and delivered a second ago.
        (standing(number=2, began=-1), 9),
        (standing(number=2, began=-11), 0),
        # Sent again, and not yet tried.
        (standing("pending", 0, due=-4, number=7, began=-60), 6),
        (standing("pending", 0, due=-11, number=7, began=-60), 0),
        # It waits for a quota, which uses up no attempt of the schedule.
        (standing("pending", 0, due=1800, number=1, began=-60), 0),
        # Sent again, and tried: the schedule goes on.
        (standing("pending", 1, due=300, number=7, began=-60), 0),
    ],
)
def test_when_a_delivery_may_be_sent_again(one: DeliverySnapshot, wait_s: float) -> None:
    assert compute_earliest_replay(one) == NOW + timedelta(seconds=wait_s)


def refused(answer: httpx.Response, code: str) -> int:
    """After how many seconds it may be tried again."""
    assert (answer.status_code, answer.json()["code"]) == (429, code), answer.text
    return int(answer.headers["retry-after"])


async def test_a_delivery_is_sent_again_at_most_each_ten_seconds(
    tenant: Tenant, connection: asyncpg.Connection
) -> None:
    own = UUID(tenant.id)
    endpoint, _ = await add_endpoint(connection, own, "https://example.com/")
    delivery = await add_delivery(connection, own, endpoint)
    await add_attempt(connection, endpoint, delivery)
    path = f"/v1/deliveries/{delivery}/replay"
    answers = await asyncio.gather(*(tenant.client.post(path) for _ in range(3)))
    assert sorted(answer.status_code for answer in answers) == [202, 429, 429]
    again = await tenant.client.post(path)
    assert 1 <= refused(again, "replay_too_soon") <= 10
    assert f"GET /v1/deliveries/{delivery}" in again.json()["detail"]
    # It is under way.
    await connection.execute(
        "UPDATE deliveries SET due_at = now() - interval '1 minute', leased_until = now() + interval '30 s'"
    )
    assert 11 <= refused(await tenant.client.post(path), "replay_too_soon") <= 30
    # It arrived, and a moment later it may be sent again.
    await connection.execute(
        "UPDATE deliveries SET state = 'delivered', due_at = NULL, leased_until = NULL, attempt_count = 1"
    )
    await add_attempt(connection, endpoint, delivery, number=2, started_at=ago(seconds=1))
    assert 1 <= refused(await tenant.client.post(path), "replay_too_soon") <= 9
    await connection.execute(
        "UPDATE delivery_attempts SET started_at = started_at - $1::interval", MIN_REPLAY_INTERVAL
    )
    answer = await tenant.client.post(path)
    assert (answer.status_code, answer.json()["state"]) == (202, "pending")
    assert answer.json()["attempt_total"] == 2


async def test_the_last_attempts_are_shown_and_all_are_counted(
    tenant: Tenant, connection: asyncpg.Connection
) -> None:
    own = UUID(tenant.id)
    endpoint, _ = await add_endpoint(connection, own, "https://example.com/")
    delivery = await add_delivery(connection, own, endpoint, created_at=ago(minutes=1))
    none = await add_delivery(connection, own, endpoint, state="pending")
    for number in range(1, 252):
        await add_attempt(connection, endpoint, delivery, number=number)
    client = tenant.client

    async def numbers(path: str) -> tuple[int, list[int]]:
        answer = (await client.get(path)).json()
        one = answer if "body" in answer else answer["data"][-1]
        assert UUID(one["id"]) == delivery
        return one["attempt_total"], [attempt["number"] for attempt in one["attempts"]]

    for path in ("/v1/deliveries", f"/v1/webhooks/{endpoint}/deliveries"):
        assert await numbers(path) == (251, list(range(232, 252)))
    assert await numbers(f"/v1/deliveries/{delivery}") == (251, list(range(152, 252)))
    untried = (await client.get(f"/v1/deliveries/{none}")).json()
    assert (untried["attempt_total"], untried["attempts"]) == (0, [])
    await delete_old_deliveries(connection, keep_days=30)
    kept = await connection.fetchrow("SELECT min(number), max(number), count(*) FROM delivery_attempts")
    assert tuple(kept or ()) == (52, 251, MOST_ATTEMPTS)
    assert await numbers(f"/v1/deliveries/{delivery}") == (251, list(range(152, 252)))


@pytest.mark.parametrize("noun", ["webhook", "channel"])
async def test_an_endpoint_is_tested_ten_times_a_minute(
    tenant: Tenant, connection: asyncpg.Connection, noun: str
) -> None:
    own = UUID(tenant.id)
    endpoint, other = [
        (await add_endpoint(connection, own, "https://example.com/"))[0]
        if noun == "webhook"
        else await add_channel(connection, own)
        for _ in range(2)
    ]
    path = f"/v1/{noun}s/{endpoint}/test"
    with capture_logs():
        answers = await asyncio.gather(*(tenant.client.post(path) for _ in range(12)))
    assert sorted(answer.status_code for answer in answers) == [202] * 10 + [429] * 2
    assert 11 <= refused(await tenant.client.post(path), "too_many_tests") <= 60
    assert (await tenant.client.post(f"/v1/{noun}s/{other}/test")).status_code == 202
    # Those that were fanned out count too, and none for longer than a minute.
    await connection.execute(
        "UPDATE outbox SET fanned_out_at = now() WHERE payload ->> 'endpoint_id' = $1", str(endpoint)
    )
    for seconds in range(10):
        await add_delivery(
            connection, own, endpoint, type="webhook.test", created_at=ago(seconds=50 + seconds / 10)
        )
    assert 1 <= refused(await tenant.client.post(path), "too_many_tests") <= 10
    await connection.execute("UPDATE deliveries SET created_at = created_at - interval '11 s'")
    assert (await tenant.client.post(path)).status_code == 202


async def test_what_has_no_index_is_looked_for_among_the_newest(
    tenant: Tenant, connection: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery_queries, "SEARCH_LIMIT", 3)
    own = UUID(tenant.id)
    endpoint, _ = await add_endpoint(connection, own, "https://example.com/")
    made = []
    for minutes in range(5, 0, -1):
        made.append(await add_delivery(connection, own, endpoint, created_at=ago(minutes=minutes)))
        await add_attempt(connection, endpoint, made[-1], reason="timeout", status=None)
    foreign = await add_channel(connection, own)
    await add_delivery(connection, own, foreign)

    async def found(query: str) -> list[UUID]:
        answer = await tenant.client.get(f"/v1/webhooks/{endpoint}/deliveries?{query}")
        assert answer.status_code == 200, answer.text
        return [UUID(one["id"]) for one in answer.json()["data"]]

    before = ago(minutes=2.5).isoformat().replace("+00:00", "Z")
    newest = made[:1:-1]
    assert await found("reason=timeout") == newest
    assert await found("type=alert.firing") == newest
    assert await found(f"reason=timeout&to={before}") == made[2::-1]
    assert await found("state=delivered") == made[::-1]
    first = (await tenant.client.get(f"/v1/webhooks/{endpoint}/deliveries?reason=timeout&limit=2")).json()
    rest = f"reason=timeout&limit=2&cursor={first['next']}"
    assert await found(rest) == newest[2:]
    (shown,) = [
        parameter
        for parameter in (await tenant.client.get("/openapi.json")).json()["paths"]["/v1/deliveries"]["get"][
            "parameters"
        ]
        if parameter["name"] == "reason"
    ]
    assert "newest 50,000" in shown["description"]
