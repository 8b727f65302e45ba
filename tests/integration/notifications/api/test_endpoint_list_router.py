"""Webhooks and channels in one list, with their health."""

from typing import Any
from uuid import UUID

import asyncpg

from tests.conftest import Tenant
from tests.integration.notifications.helpers import add_endpoint
from tests.integration.notifications.log import add_channel, add_delivery

_STATE = """
INSERT INTO endpoint_states (endpoint_id, consecutive_failures, failing_since, last_failure_at,
    last_success_at, last_reason, last_status, open_until, slow_step)
VALUES ($1, $2, now() - interval '1 hour', CASE WHEN $2 > 0 THEN now() END, now() - interval '2 hours',
    CASE WHEN $2 > 0 THEN 'http_error' END, CASE WHEN $2 > 0 THEN 503 END, $3::timestamptz, $4)
"""


async def _list(tenant: Tenant, **query: str) -> list[dict[str, Any]]:
    answer = await tenant.client.get("/v1/endpoints", params=query)
    assert answer.status_code == 200, answer.text
    data: list[dict[str, Any]] = answer.json()["data"]
    return data


async def test_what_needs_a_person_comes_first(tenant: Tenant, connection: asyncpg.Connection) -> None:
    owner = UUID(tenant.id)
    made = {
        name: (await add_endpoint(connection, owner, f"https://{name}.example.com/secret-path"))[0]
        for name in ("off", "fine", "slow", "gone", "failing")
    }
    channel = await add_channel(connection, owner)
    await connection.execute("UPDATE webhook_endpoints SET enabled = false WHERE id = $1", made["off"])
    await connection.execute(
        "UPDATE webhook_endpoints SET enabled = false, disabled_reason = 'gone' WHERE id = $1", made["gone"]
    )
    for name, failures, slow in (("fine", 0, 0), ("slow", 0, 2), ("gone", 3, 0), ("failing", 7, 0)):
        await connection.execute(_STATE, made[name], failures, None, slow)
    await add_delivery(connection, owner, made["failing"], state="pending")
    rows = await _list(tenant)
    assert [each["id"] for each in rows[:3]] == [str(made[name]) for name in ("failing", "gone", "slow")]
    assert {each["id"] for each in rows[3:5]} == {str(made["fine"]), str(channel)}
    assert rows[-1]["id"] == str(made["off"])
    failing = rows[0]
    assert failing["state"] == "failing"
    assert (failing["pending"], failing["consecutive_failures"]) == (1, 7)
    assert (failing["last_failure"]["reason"], failing["last_failure"]["status"]) == ("http_error", 503)
    # A path may be a secret.
    assert failing["target"] == "https://failing.example.com"
    assert failing["recipient"] is failing["min_severity"] is failing["site_ids"] is None
    assert [each["state"] for each in rows if each["id"] == str(made["fine"])] == ["healthy"]
    assert [each["state"] for each in rows if each["id"] == str(channel)] == ["idle"]
    assert {each["id"] for each in await _list(tenant, enabled="false")} == {
        str(made["off"]),
        str(made["gone"]),
    }


async def test_pages_continue_in_both_orders(
    tenant: Tenant, other_tenant: Tenant, connection: asyncpg.Connection
) -> None:
    owner = UUID(tenant.id)
    made = [str((await add_endpoint(connection, owner, "https://example.com/"))[0]) for _ in range(3)]
    await connection.execute(_STATE, UUID(made[2]), 1, None, 0)
    for sort, wanted in (("attention", [made[2], made[0], made[1]]), ("-created_at", made[::-1])):
        found: list[str] = []
        cursor: str | None = None
        while True:
            query = {"sort": sort, "limit": "1", **({"cursor": cursor} if cursor else {})}
            page = (await tenant.client.get("/v1/endpoints", params=query)).raise_for_status().json()
            found += [each["id"] for each in page["data"]]
            cursor = page["next"]
            if cursor is None:
                break
        assert found == wanted, sort
    assert await _list(other_tenant) == []
    assert (await tenant.client.get("/v1/endpoints", params={"sort": "colour"})).status_code == 422
