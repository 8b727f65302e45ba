from datetime import timedelta
from uuid import UUID

import asyncpg
import pytest

from app.core.settings import Settings
from app.webhooks.claims import claim, count_pending, next_due_in, record, release
from app.webhooks.fanout import fan_out
from app.webhooks.outbox import enqueue
from app.webhooks.transport import Claim, Outcome
from tests.integration.webhooks.helpers import add_endpoint, add_organisation, attempts, event, states

FAILED = Outcome("http_error", 500, "no", 1.5)
DELIVERED = Outcome("delivered", 204, None, 1.5)


async def _prepare(connection: asyncpg.Connection, settings: Settings, count: int) -> UUID:
    organisation = await add_organisation(connection)
    endpoint, _ = await add_endpoint(connection, organisation, "https://example.com/")
    await enqueue(connection, [event(organisation) for _ in range(count)])
    await fan_out(connection, settings.webhooks)
    return endpoint


async def _claim(connection: asyncpg.Connection, *, lease_s: float = 30.0, places: int = 10) -> list[Claim]:
    return await claim(connection, places=places, share=10, busy={}, lease_s=lease_s)


async def _record(connection: asyncpg.Connection, claimed: Claim, outcome: Outcome) -> int | None:
    due = claimed.now + timedelta(seconds=60)
    return await record(
        connection, claimed, outcome, started_at=claimed.now, ended_at=claimed.now, due_at=due
    )


async def test_what_is_leased_is_nobody_elses_until_it_runs_out(
    connection: asyncpg.Connection, settings: Settings
) -> None:
    await _prepare(connection, settings, 3)
    first = await _claim(connection, lease_s=0.05)
    assert len(first) == 3
    assert await _claim(connection, lease_s=0.05) == []
    await connection.execute("SELECT pg_sleep(0.06)")
    again = await _claim(connection)
    assert {one.id for one in again} == {one.id for one in first}
    assert {one.message_id for one in again} == {one.message_id for one in first}


async def test_places_and_shares_bound_a_claim(connection: asyncpg.Connection, settings: Settings) -> None:
    one, other = await _prepare(connection, settings, 10), await _prepare(connection, settings, 10)
    taken = await claim(connection, places=7, share=4, busy={one: 3}, lease_s=30)
    by_endpoint = [claimed.endpoint_id for claimed in taken]
    assert (by_endpoint.count(one), by_endpoint.count(other)) == (1, 4)
    assert await claim(connection, places=7, share=4, busy={one: 4, other: 9}, lease_s=30) == []
    assert len(await claim(connection, places=2, share=4, busy={}, lease_s=30)) == 2


async def test_a_released_lease_is_free_at_once(connection: asyncpg.Connection, settings: Settings) -> None:
    await _prepare(connection, settings, 2)
    first = await _claim(connection)
    await release(connection, first)
    second = await _claim(connection)
    assert len(second) == 2
    # A late release of the lease before does not free the present one.
    await release(connection, [one._replace(leased_until=one.leased_until - timedelta(1)) for one in first])
    assert await _claim(connection) == []


async def test_a_failure_under_a_lost_lease_changes_nothing(
    connection: asyncpg.Connection, settings: Settings
) -> None:
    await _prepare(connection, settings, 1)
    (lost,) = await _claim(connection, lease_s=0.01)
    await connection.execute("SELECT pg_sleep(0.02)")
    (held,) = await _claim(connection)
    assert await _record(connection, lost, FAILED) == 1
    row = await connection.fetchrow("SELECT state, attempt_count, leased_until FROM deliveries")
    assert row is not None
    assert tuple(row) == ("pending", 0, held.leased_until)
    assert await _record(connection, held, FAILED) == 2
    row = await connection.fetchrow("SELECT state, attempt_count, leased_until, due_at FROM deliveries")
    assert row is not None
    assert tuple(row) == ("pending", 1, None, held.now + timedelta(seconds=60))
    assert await attempts(connection) == [(1, "http_error", 500), (2, "http_error", 500)]


@pytest.mark.parametrize("late", [FAILED, DELIVERED])
async def test_delivered_is_delivered_whoever_says_so(
    connection: asyncpg.Connection, settings: Settings, late: Outcome
) -> None:
    await _prepare(connection, settings, 1)
    (lost,) = await _claim(connection, lease_s=0.01)
    await connection.execute("SELECT pg_sleep(0.02)")
    (held,) = await _claim(connection)
    assert await _record(connection, lost, DELIVERED) == 1
    assert await _record(connection, held, late) == 2
    assert await states(connection) == {"delivered": 1}
    assert await count_pending(connection) == 0
    assert await _claim(connection) == []


async def test_a_deleted_delivery_takes_no_record(connection: asyncpg.Connection, settings: Settings) -> None:
    await _prepare(connection, settings, 1)
    (claimed,) = await _claim(connection)
    await connection.execute("DELETE FROM webhook_endpoints")
    assert await _record(connection, claimed, DELIVERED) is None
    assert await attempts(connection) == []


async def test_when_the_next_is_due(connection: asyncpg.Connection, settings: Settings) -> None:
    assert await next_due_in(connection) is None
    await _prepare(connection, settings, 2)
    claimed = await _claim(connection)
    await _record(connection, claimed[0], FAILED)
    due_in = await next_due_in(connection)
    assert due_in is not None
    assert 55 < due_in <= 60
    assert await count_pending(connection) == 2


async def test_many_waiting_for_one_endpoint_do_not_hide_those_of_others(
    connection: asyncpg.Connection, settings: Settings
) -> None:
    one, other = await _prepare(connection, settings, 1), await _prepare(connection, settings, 1)
    await connection.execute(
        "INSERT INTO deliveries (id, organisation_id, endpoint_id, event_id, type, body, state, "
        "attempt_count, due_at, created_at) "
        "SELECT gen_random_uuid(), organisation_id, $1, gen_random_uuid(), type, body, "
        "'pending', 0, now() - interval '1 hour', now() FROM deliveries, generate_series(1, 20000) "
        "WHERE endpoint_id = $1",
        one,
    )
    await connection.execute("ANALYZE deliveries")
    taken = await claim(connection, places=10, share=2, busy={one: 2}, lease_s=30)
    assert [claimed.endpoint_id for claimed in taken] == [other]
