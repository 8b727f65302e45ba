"""What goes with an endpoint that is deleted, and who waits for it meanwhile: nobody."""

import asyncio
from uuid import UUID

import asyncpg
import pytest

from app.notifications.delivery import endpoint_deliveries_deletion
from tests.conftest import Tenant
from tests.integration.notifications.helpers import until
from tests.integration.notifications.log import add_attempt, add_delivery

URL = "https://example.com/hooks/vigie"
CHANNELS = [("webhooks", {"url": URL}), ("channels", {"kind": "mqtt"})]


async def _filled(connection: asyncpg.Connection, tenant: Tenant, path: str, body: dict[str, str]) -> UUID:
    """An endpoint with seven deliveries and three groups."""
    answer = await tenant.client.post(f"/v1/{path}", json=body)
    assert answer.status_code == 201, answer.text
    endpoint, owner = UUID(answer.json()["id"]), UUID(tenant.id)
    for number in range(7):
        made = await add_delivery(connection, owner, endpoint, state="pending" if number % 2 else "failed")
        await add_attempt(connection, endpoint, made)
    await connection.execute(
        "INSERT INTO delivery_groups (id, organisation_id, endpoint_id, key, due_at, created_at) "
        "SELECT gen_random_uuid(), $1, $2, key, now() + interval '1 hour', now() "
        "FROM unnest('{a,b,c}'::text[]) AS key",
        *(owner, endpoint),
    )
    await connection.execute(
        "INSERT INTO group_events (group_id, alert_id, position, events_count, sequence, firing, event_id, "
        "type, body, created_at) SELECT id, gen_random_uuid(), 1, 1, 1, true, gen_random_uuid(), "
        "'alert.firing', '{}', now() FROM delivery_groups WHERE endpoint_id = $1",
        endpoint,
    )
    return endpoint


async def _left(connection: asyncpg.Connection) -> dict[str, int]:
    tables = ("webhook_endpoints", "deliveries", "delivery_attempts", "delivery_groups", "group_events")
    return {table: await connection.fetchval(f"SELECT count(*) FROM {table}") for table in tables}  # noqa: S608


@pytest.mark.parametrize("channel", CHANNELS, ids=["webhook", "mqtt"])
@pytest.mark.parametrize("slice_", [1, 3, 7, 5000])
async def test_all_of_an_endpoint_goes_and_nothing_of_others(
    connection: asyncpg.Connection,
    tenant: Tenant,
    monkeypatch: pytest.MonkeyPatch,
    channel: tuple[str, dict[str, str]],
    slice_: int,
) -> None:
    monkeypatch.setattr(endpoint_deliveries_deletion, "DELIVERIES_PER_TRANSACTION", slice_)
    monkeypatch.setattr(endpoint_deliveries_deletion, "_GROUPS_PER_TRANSACTION", min(slice_, 2))
    kept = await _filled(connection, tenant, "webhooks", {"url": URL})
    path, body = channel
    gone = await _filled(connection, tenant, path, body)
    assert (await tenant.client.delete(f"/v1/{path}/{gone}")).status_code == 204
    assert (await tenant.client.delete(f"/v1/{path}/{gone}")).status_code == 404
    assert (await _left(connection)) == {
        "webhook_endpoints": 1,
        "deliveries": 7,
        "delivery_attempts": 7,
        "delivery_groups": 3,
        "group_events": 3,
    }
    assert await connection.fetchval("SELECT enabled FROM webhook_endpoints WHERE id = $1", kept)


async def test_what_another_organisation_deletes_is_not_touched(
    connection: asyncpg.Connection, tenant: Tenant, other_tenant: Tenant
) -> None:
    endpoint = await _filled(connection, tenant, "webhooks", {"url": URL})
    assert (await other_tenant.client.delete(f"/v1/webhooks/{endpoint}")).status_code == 404
    assert (await tenant.client.delete(f"/v1/channels/{endpoint}")).status_code == 404
    assert (await _left(connection))["deliveries"] == 7
    assert await connection.fetchval("SELECT enabled FROM webhook_endpoints")


async def test_the_endpoint_is_disabled_and_not_locked_while_its_deliveries_go(
    connection: asyncpg.Connection, database_url: str, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoint_deliveries_deletion, "DELIVERIES_PER_TRANSACTION", 2)
    endpoint = await _filled(connection, tenant, "webhooks", {"url": URL})
    locker = await asyncpg.connect(database_url)
    async with locker.transaction():
        # The one whose turn comes last: what is before it has gone by then.
        await locker.execute("SELECT FROM deliveries ORDER BY event_id DESC LIMIT 1 FOR UPDATE")
        deleting = asyncio.create_task(tenant.client.delete(f"/v1/webhooks/{endpoint}"))

        async def nearly() -> bool:
            return (await _left(connection))["deliveries"] == 1

        await until(nearly)
        assert not deleting.done()
        enabled = await connection.fetchval("SELECT enabled FROM webhook_endpoints FOR UPDATE NOWAIT")
        assert enabled is False
    assert (await deleting).status_code == 204
    await locker.close()
    assert set((await _left(connection)).values()) == {0}
