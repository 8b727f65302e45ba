"""Whose turn it is: at an endpoint that is tried one at a time, among those that fail, and behind replays."""

import asyncio
from collections.abc import Sequence
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from app.notifications.delivery.delivery_leases import EndpointLoad, compute_next_due_s, lease_due_deliveries
from app.notifications.delivery.transport_types import LeasedDelivery
from app.notifications.settings import WebhookSettings
from app.platform.db.database import Database
from tests.integration.notifications.helpers import add_endpoint, add_organisation
from tests.integration.notifications.log import add_delivery, ago

SETTINGS = WebhookSettings(endpoint_concurrency=8)


async def _endpoint(connection: asyncpg.Connection, **columns: Any) -> UUID:  # noqa: ANN401 (values of columns)
    endpoint, _ = await add_endpoint(connection, await add_organisation(connection), "https://example.com/")
    for name, value in columns.items():
        await connection.execute(
            f"UPDATE webhook_endpoints SET {name} = $2 WHERE id = $1",  # noqa: S608 (a name of ours)
            *(endpoint, value),
        )
    return endpoint


async def _state(connection: asyncpg.Connection, endpoint: UUID, **columns: Any) -> None:  # noqa: ANN401 (the same)
    names = ", ".join(columns)
    places = ", ".join(f"${place}" for place in range(2, len(columns) + 2))
    await connection.execute(
        f"INSERT INTO endpoint_states (endpoint_id, {names}) VALUES ($1, {places})",  # noqa: S608 (names of ours)
        *(endpoint, *columns.values()),
    )


async def _due(connection: asyncpg.Connection, endpoint: UUID, count: int, **columns: Any) -> list[UUID]:  # noqa: ANN401 (the same)
    """Make deliveries that fell due at the same moment."""
    owner = await connection.fetchval("SELECT organisation_id FROM webhook_endpoints WHERE id = $1", endpoint)
    usual = {"due_at": ago(seconds=60), "attempt_count": 0, **columns}
    return [await add_delivery(connection, owner, endpoint, state="pending", **usual) for _ in range(count)]


async def _claim(
    connection: asyncpg.Connection, *busy: EndpointLoad, limit: int = 50, suspects: int = 50
) -> list[LeasedDelivery]:
    leases = await lease_due_deliveries(connection, SETTINGS, limit=limit, suspects=suspects, busy=busy)
    return [lease.claimed for lease in leases]


def _ids(claims: Sequence[LeasedDelivery]) -> list[UUID]:
    return [claimed.id for claimed in claims]


@pytest.mark.parametrize("limit", [1, 3])
async def test_an_endpoints_own_limit_holds_where_all_fell_due_at_once(
    connection: asyncpg.Connection, database: Database, limit: int
) -> None:
    endpoint = await _endpoint(connection, concurrency=limit)
    ids = sorted(await _due(connection, endpoint, 20))
    assert sorted(_ids(await _claim(connection))) == ids[:limit]
    other = await database.connect()
    assert await _claim(other) == []
    due_in = await compute_next_due_s(other, SETTINGS)
    assert due_in is not None
    assert due_in > SETTINGS.lease_s / 2
    await connection.execute("UPDATE deliveries SET state = 'delivered' WHERE id = $1", ids[0])
    both = await asyncio.gather(_claim(connection, EndpointLoad(endpoint, limit - 1)), _claim(other))
    assert sorted(_ids([*both[0], *both[1]])) == [ids[limit]]
    await other.close()


async def test_what_is_written_late_does_not_hide_what_is_leased(connection: asyncpg.Connection) -> None:
    """Of two that fan out at once, the one that began first may commit last."""
    endpoint = await _endpoint(connection, concurrency=1)
    await _due(connection, endpoint, 2)
    assert len(await _claim(connection)) == 1
    await _due(connection, endpoint, 30, due_at=ago(seconds=61))
    assert await _claim(connection) == []
    due_in = await compute_next_due_s(connection, SETTINGS)
    assert due_in is not None
    assert due_in > SETTINGS.lease_s / 2


async def test_of_those_that_fail_who_was_tried_the_longest_ago_is_next(
    connection: asyncpg.Connection,
) -> None:
    minutes = {}
    for tried in (1, 3, 2):
        failing = await _endpoint(connection)
        await _state(connection, failing, consecutive_failures=2, last_failure_at=ago(minutes=tried))
        await _due(connection, failing, 3, due_at=ago(hours=1))
        minutes[failing] = tried
    new, well = await _endpoint(connection), await _endpoint(connection)
    minutes |= {new: 99, well: 0}
    await _due(connection, new, 3, due_at=ago(seconds=1))
    await _state(connection, well, last_success_at=ago(), last_failure_at=ago(hours=2))
    await _due(connection, well, 1, due_at=ago(seconds=2))

    async def next_two() -> list[int]:
        return sorted(minutes[claimed.endpoint_id] for claimed in await _claim(connection, suspects=2))

    assert await next_two() == [0, 3, 99]
    # What this process has leased of it already is a turn too.
    busy = [EndpointLoad(endpoint, 1) for endpoint, tried in minutes.items() if tried in {3, 99}]
    taken = await _claim(connection, *busy, suspects=2)
    assert sorted(minutes[claimed.endpoint_id] for claimed in taken) == [1, 2]


async def test_few_places_go_to_both_those_that_fail_and_those_that_do_not(
    connection: asyncpg.Connection,
) -> None:
    well = []
    for number in range(8):
        endpoint = await _endpoint(connection)
        state = {"last_success_at": ago()} if number % 2 else {"consecutive_failures": 1}
        if number % 2:
            well.append(endpoint)
        await _state(connection, endpoint, **state)
        # Those that fail have waited for longer.
        await _due(connection, endpoint, 1, due_at=ago(minutes=1 if number % 2 else 9))
    taken = await _claim(connection, limit=4)
    assert len(taken) == 4
    assert sum(claimed.endpoint_id in well for claimed in taken) == 2


async def test_what_is_new_goes_before_what_is_replayed(connection: asyncpg.Connection) -> None:
    endpoint = await _endpoint(connection)
    await _state(connection, endpoint, last_success_at=ago())
    replay = await connection.fetchval(
        "INSERT INTO delivery_replays (id, organisation_id, endpoint_id, since, until, states, state, total, "
        "created_at) SELECT gen_random_uuid(), organisation_id, id, now(), now(), '{failed}', 'running', 9, "
        "now() FROM webhook_endpoints RETURNING id"
    )
    await _due(connection, endpoint, 1, replay_id=replay)
    await connection.execute(
        "INSERT INTO deliveries (id, organisation_id, endpoint_id, event_id, type, body, state, "
        "attempt_count, due_at, created_at, replay_id) "
        "SELECT gen_random_uuid(), organisation_id, endpoint_id, gen_random_uuid(), type, body, "
        "state, 0, due_at, now(), replay_id "
        "FROM deliveries, generate_series(1, 499)"
    )
    new = await _due(connection, endpoint, 2, due_at=ago(seconds=1))
    taken = _ids(await _claim(connection))
    assert len(taken) == SETTINGS.endpoint_concurrency
    assert set(new) <= set(taken)
    # So it is while the last of it waits.
    await connection.execute("UPDATE delivery_replays SET state = 'done', finished_at = now()")
    late = await _due(connection, endpoint, 1, due_at=ago(seconds=1))
    assert set(late) <= set(_ids(await _claim(connection)))


async def test_an_alerts_deliveries_go_in_the_order_of_the_outbox(connection: asyncpg.Connection) -> None:
    """The process that made the second one has a clock that is behind."""
    endpoint, alert = await _endpoint(connection), uuid4()
    await _state(connection, endpoint, last_success_at=ago())
    (end,) = await _due(connection, endpoint, 1, alert_id=alert, position=8, made_at=ago(hours=1))
    (begin,) = await _due(connection, endpoint, 1, alert_id=alert, position=7)
    (other,) = await _due(connection, endpoint, 1, alert_id=uuid4(), position=9)
    # Made before there were positions, perhaps in one millisecond: then their ids have any order.
    old = sorted(await _due(connection, endpoint, 2, alert_id=alert))
    done: list[UUID] = []
    for expected in ({old[0], other}, {old[1]}, {begin}, {end}):
        taken = _ids(await _claim(connection))
        assert set(taken) == expected
        done += taken
        await connection.execute("UPDATE deliveries SET state = 'delivered' WHERE id = ANY ($1)", done)


async def test_a_rate_begins_anew_when_the_clock_was_put_back(connection: asyncpg.Connection) -> None:
    endpoint = await _endpoint(connection, rate_per_s=0.01)
    await _due(connection, endpoint, 9)
    await _state(connection, endpoint, last_success_at=ago(), tokens=0.3, tokens_at=ago(hours=-1))
    assert (await compute_next_due_s(connection, SETTINGS) or 0) <= 0
    assert len(await _claim(connection)) == 1
    assert await _claim(connection) == []


async def test_a_moment_ahead_is_another_processs_clock(connection: asyncpg.Connection) -> None:
    """Who began to claim first may be the second to take from the bucket: what is left is left."""
    endpoint = await _endpoint(connection, rate_per_s=0.01)
    await _due(connection, endpoint, 9)
    await _state(connection, endpoint, last_success_at=ago(), tokens=0.3, tokens_at=ago(seconds=-2))
    assert await _claim(connection) == []


async def _endpoints(
    connection: asyncpg.Connection, owner: UUID, many: int, body: bytes = b"{}"
) -> list[UUID]:
    """Endpoints that answer, with a delivery each that is due."""
    ids = []
    for _ in range(many):
        endpoint, _ = await add_endpoint(connection, owner, "https://example.com/")
        ids.append(endpoint)
    await connection.execute(
        "INSERT INTO endpoint_states (endpoint_id, last_success_at) SELECT unnest($1::uuid[]), now()", ids
    )
    await connection.execute(
        "INSERT INTO deliveries (id, organisation_id, endpoint_id, event_id, type, body, state, "
        "attempt_count, due_at, created_at) SELECT gen_random_uuid(), $2, endpoint, gen_random_uuid(), "
        "'alert.firing', $3, 'pending', 0, now(), now() FROM unnest($1::uuid[]) AS endpoint",
        *(ids, owner, body),
    )
    return ids


async def test_an_organisation_with_many_endpoints_waits_for_its_turn(connection: asyncpg.Connection) -> None:
    """However many it has, and however long they have been due: each one's first comes before its second."""
    many, few = await add_organisation(connection), await add_organisation(connection)
    await _endpoints(connection, many, 30)
    wanted = set(await _endpoints(connection, few, 2))
    settings = WebhookSettings(concurrency=8)
    first = await lease_due_deliveries(connection, settings, limit=4, suspects=4)
    assert wanted < {lease.claimed.endpoint_id for lease in first}
    # What it has leased here counts: the other one comes first again, and it has no more than its part.
    busy = [
        EndpointLoad(lease.claimed.endpoint_id, 1) for lease in first if lease.claimed.organisation_id == many
    ]
    more = await lease_due_deliveries(connection, settings, limit=100, suspects=4, busy=busy)
    assert len(busy) + len(more) == 16


async def test_an_organisations_failing_endpoints_leave_room_for_others(
    connection: asyncpg.Connection,
) -> None:
    many, few = await add_organisation(connection), await add_organisation(connection)
    await _endpoints(connection, many, 30)
    await connection.execute(
        "UPDATE endpoint_states SET consecutive_failures = 1, last_failure_at = now() - interval '1 hour'"
    )
    settings = WebhookSettings(concurrency=32)
    first = await lease_due_deliveries(connection, settings, limit=100, suspects=16)
    assert len(first) == 8
    (new,) = await _endpoints(connection, few, 1)
    await connection.execute("DELETE FROM endpoint_states WHERE endpoint_id = $1", new)
    busy = [EndpointLoad(lease.claimed.endpoint_id, 1) for lease in first]
    more = await lease_due_deliveries(connection, settings, limit=100, suspects=8, busy=busy)
    assert [lease.claimed.endpoint_id for lease in more] == [new]


async def test_a_claim_ends_where_it_has_taken_enough_bytes(connection: asyncpg.Connection) -> None:
    owner = await add_organisation(connection)
    await _endpoints(connection, owner, 6, body=b"x" * 100_000)
    first = await lease_due_deliveries(
        connection, WebhookSettings(), limit=100, suspects=4, most_bytes=250_000
    )
    assert len(first) == 3
    # One is always taken, however large it is.
    assert (
        len(await lease_due_deliveries(connection, WebhookSettings(), limit=100, suspects=4, most_bytes=1))
        == 1
    )
