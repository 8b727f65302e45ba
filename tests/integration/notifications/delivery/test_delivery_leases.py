from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from app.notifications.delivery.attempt_repository import AttemptRecord, write_attempt_records
from app.notifications.delivery.delivery_leases import (
    PREFETCH_FACTOR,
    EndpointLoad,
    KindCapacity,
    compute_next_due_s,
    count_pending_deliveries,
    lease_due_deliveries,
    release_leases,
)
from app.notifications.delivery.fanout import fan_out_events
from app.notifications.delivery.transport_types import AttemptOutcome, LeasedDelivery
from app.notifications.events.outbox import enqueue_events
from app.notifications.settings import WebhookSettings
from app.platform.db.database import Database
from app.platform.kernel.ids import new_id
from app.settings import VigieSettings
from tests.integration.notifications.helpers import (
    add_endpoint,
    add_organisation,
    attempts,
    event,
    states,
)

FAILED = AttemptOutcome("http_error", 500, "no", 1.5)
DELIVERED = AttemptOutcome("delivered", 204, None, 1.5)
SETTINGS = WebhookSettings(endpoint_concurrency=10)


async def _prepare(connection: asyncpg.Connection, settings: VigieSettings, count: int) -> UUID:
    organisation = await add_organisation(connection)
    endpoint, _ = await add_endpoint(connection, organisation, "https://example.com/")
    await enqueue_events(connection, [event(organisation) for _ in range(count)])
    await fan_out_events(connection, settings.webhooks)
    # As different events would be: each at its own time.
    await connection.execute(
        "UPDATE deliveries SET due_at = due_at - number * interval '1 microsecond' FROM ("
        "SELECT id, row_number() OVER (ORDER BY id DESC) AS number FROM deliveries WHERE endpoint_id = $1"
        ") AS numbered WHERE numbered.id = deliveries.id",
        endpoint,
    )
    return endpoint


async def _claim(
    connection: asyncpg.Connection,
    *busy: EndpointLoad,
    limit: int = 10,
    suspects: int | None = None,
    **changes: Any,  # noqa: ANN401 (whatever a setting holds)
) -> list[LeasedDelivery]:
    chosen = SETTINGS.model_copy(update=changes)
    some = limit if suspects is None else suspects
    leases = await lease_due_deliveries(connection, chosen, limit=limit, suspects=some, busy=busy)
    return [lease.claimed for lease in leases]


async def _record(
    connection: asyncpg.Connection, claimed: LeasedDelivery, outcome: AttemptOutcome
) -> int | None:
    due = claimed.now + timedelta(seconds=60)
    one = AttemptRecord(new_id(), claimed, outcome, claimed.now, claimed.now, due)
    return (await write_attempt_records(connection, [one])).get(claimed.id)


async def _state(connection: asyncpg.Connection, endpoint: UUID, **columns: Any) -> None:  # noqa: ANN401
    """Set columns of an endpoint's state; texts are SQL."""
    names = ", ".join(columns)
    values = ", ".join(str(value) for value in columns.values())
    await connection.execute(
        f"INSERT INTO endpoint_states (endpoint_id, {names}) VALUES ($1, {values}) "  # noqa: S608 (ours)
        f"ON CONFLICT (endpoint_id) DO UPDATE SET ({names}) = ROW({values})",
        endpoint,
    )


def _count(claims: list[LeasedDelivery], *endpoints: UUID) -> list[int]:
    ids = [claimed.endpoint_id for claimed in claims]
    return [ids.count(endpoint) for endpoint in endpoints]


async def test_what_is_leased_is_nobody_elses_until_it_runs_out(
    connection: asyncpg.Connection, settings: VigieSettings
) -> None:
    await _prepare(connection, settings, 3)
    first = await _claim(connection)
    assert len(first) == 3
    assert await _claim(connection) == []
    # Its time passes.
    await connection.execute("UPDATE deliveries SET leased_until = now()")
    again = await _claim(connection)
    assert {one.id for one in again} == {one.id for one in first}
    assert {one.message_id for one in again} == {one.message_id for one in first}


async def test_places_and_shares_bound_a_claim(
    connection: asyncpg.Connection, settings: VigieSettings
) -> None:
    one, other = await _prepare(connection, settings, 10), await _prepare(connection, settings, 10)
    taken = await _claim(connection, EndpointLoad(one, 3), limit=7, endpoint_concurrency=4)
    assert _count(taken, one, other) == [1, 4]
    full = (EndpointLoad(one, 4), EndpointLoad(other, 9))
    assert await _claim(connection, *full, limit=7, endpoint_concurrency=4) == []
    assert len(await _claim(connection, limit=2, endpoint_concurrency=8)) == 2


async def test_what_another_process_has_leased_holds_nothing_up(
    connection: asyncpg.Connection, settings: VigieSettings
) -> None:
    """It may have died: what it had comes when the leases end, the rest goes out meanwhile."""
    await _prepare(connection, settings, 10)
    first = await _claim(connection, endpoint_concurrency=4)
    others = await _claim(connection, endpoint_concurrency=4)
    assert len(first) == len(others) == 4
    assert not {one.id for one in first} & {one.id for one in others}
    assert len(await _claim(connection, endpoint_concurrency=4)) == 2


async def test_what_others_have_leased_counts_where_one_is_tried_at_a_time(
    connection: asyncpg.Connection, settings: VigieSettings
) -> None:
    endpoint = await _prepare(connection, settings, 10)
    await _state(connection, endpoint, slow_step="1")
    assert len(await _claim(connection)) == 1
    assert await _claim(connection) == []


async def test_an_endpoints_own_limit(connection: asyncpg.Connection, settings: VigieSettings) -> None:
    endpoint = await _prepare(connection, settings, 30)
    await connection.execute("UPDATE webhook_endpoints SET concurrency = 2")
    # What it is known for does not matter: more than it wants is never under way, in whatever process.
    assert len(await _claim(connection, EndpointLoad(endpoint, 0, quick=True))) == 2
    assert await _claim(connection) == []
    await connection.execute("UPDATE webhook_endpoints SET concurrency = 100")
    assert len(await _claim(connection, endpoint_concurrency=3)) == 1


async def test_one_that_answers_soon_has_leases_ahead(
    connection: asyncpg.Connection, settings: VigieSettings
) -> None:
    endpoint = await _prepare(connection, settings, 50)
    await _state(connection, endpoint, last_success_at="now()")
    taken = await lease_due_deliveries(
        connection,
        SETTINGS.model_copy(update={"endpoint_concurrency": 3}),
        limit=100,
        suspects=9,
        busy=[EndpointLoad(endpoint, 1, quick=True)],
    )
    assert len(taken) == 3 * PREFETCH_FACTOR - 1
    assert {(lease.concurrency, lease.suspect) for lease in taken} == {(3, False)}


async def test_every_endpoints_first_comes_before_anybodys_second(
    connection: asyncpg.Connection, settings: VigieSettings
) -> None:
    first = await _prepare(connection, settings, 20)
    later = [await _prepare(connection, settings, 2) for _ in range(4)]
    assert _count(await _claim(connection, limit=5), first, *later) == [1] * 5
    assert _count(await _claim(connection, limit=6), first, *later) == [2, 1, 1, 1, 1]


async def test_what_waits_for_time(connection: asyncpg.Connection, settings: VigieSettings) -> None:
    broken, disabled = await _prepare(connection, settings, 5), await _prepare(connection, settings, 5)
    await _state(connection, broken, open_until="now() + interval '30 seconds'")
    await connection.execute("UPDATE webhook_endpoints SET enabled = false WHERE id = $1", disabled)
    assert await _claim(connection) == []
    due_in = await compute_next_due_s(connection, SETTINGS)
    assert due_in is not None
    assert 0 < due_in <= 30
    await _state(connection, broken, open_until="now()")
    assert _count(await _claim(connection), broken) == [5]


@pytest.mark.parametrize(
    "state", [{"consecutive_failures": SETTINGS.breaker_failures}, {"slow_step": 1}], ids=str
)
async def test_one_at_a_time(
    connection: asyncpg.Connection, settings: VigieSettings, state: dict[str, int]
) -> None:
    endpoint = await _prepare(connection, settings, 5)
    await _state(connection, endpoint, **state)
    assert len(await _claim(connection, EndpointLoad(endpoint, 0, quick=True))) == 1
    assert await _claim(connection) == []
    # Another process has it: there is nothing to come before its lease ends.
    due_in = await compute_next_due_s(connection, SETTINGS)
    assert due_in is not None
    assert due_in > SETTINGS.lease_s / 2


async def test_those_that_fail_share_what_is_theirs(
    connection: asyncpg.Connection, settings: VigieSettings
) -> None:
    failing = [await _prepare(connection, settings, 4) for _ in range(4)]
    good = await _prepare(connection, settings, 4)
    await _state(connection, good, last_success_at="now()")
    # The last one is new: nothing is known of it yet.
    for endpoint in failing[:-1]:
        await _state(connection, endpoint, consecutive_failures=1, last_success_at="now()")
    taken = await _claim(connection, limit=20, suspects=3)
    assert sum(_count(taken, *failing)) == 3
    assert _count(taken, good) == [4]
    assert await _claim(connection, limit=20, suspects=0) == []
    # It waits for one of these to end, not for time.
    assert await compute_next_due_s(connection, SETTINGS, suspects=0, busy=[EndpointLoad(good, 10)]) is None


async def test_a_kind_has_a_bound_of_its_own(connection: asyncpg.Connection, settings: VigieSettings) -> None:
    mails = [await _prepare(connection, settings, 3) for _ in range(3)]
    await connection.execute("UPDATE webhook_endpoints SET kind = 'email', url = NULL, target = '{}'")
    hook = await _prepare(connection, settings, 3)
    few, none = [KindCapacity("email", 2), KindCapacity("mqtt", 5)], [KindCapacity("email", 0)]
    # All of them are new: those of the kind are not of the share of such.
    leases = await lease_due_deliveries(connection, SETTINGS, limit=20, suspects=1, kinds=few)
    taken = [lease.claimed for lease in leases]
    assert (sum(_count(taken, *mails)), _count(taken, hook)) == (2, [1])
    leases = await lease_due_deliveries(connection, SETTINGS, limit=20, suspects=5, kinds=none)
    assert _count([lease.claimed for lease in leases], hook) == [2]
    assert len(leases) == 2
    await connection.execute("DELETE FROM deliveries WHERE endpoint_id = $1", hook)
    assert await compute_next_due_s(connection, SETTINGS, kinds=none) is None
    assert (await compute_next_due_s(connection, SETTINGS, suspects=0, kinds=few) or 0) <= 0


async def test_one_with_an_attempt_that_lasts_gets_no_more(
    connection: asyncpg.Connection, settings: VigieSettings
) -> None:
    endpoint = await _prepare(connection, settings, 5)
    held = EndpointLoad(endpoint, 1, held=True)
    assert await _claim(connection, held) == []
    assert await compute_next_due_s(connection, SETTINGS, busy=[held]) is None
    assert len(await _claim(connection, EndpointLoad(endpoint, 1))) == 5


async def test_a_rate_is_kept(connection: asyncpg.Connection, settings: VigieSettings) -> None:
    await _prepare(connection, settings, 10)
    await connection.execute("UPDATE webhook_endpoints SET rate_per_s = 0.01")
    # The first claim makes its bucket, and nobody sleeps for that.
    assert await _claim(connection) == []
    due_in = await compute_next_due_s(connection, SETTINGS)
    assert due_in is not None
    assert due_in <= 0
    assert len(await _claim(connection)) == 1
    assert await _claim(connection) == []
    due_in = await compute_next_due_s(connection, SETTINGS)
    assert due_in is not None
    assert 0 < due_in <= 100
    await connection.execute("UPDATE endpoint_states SET tokens_at = tokens_at - interval '100 seconds'")
    assert len(await _claim(connection)) == 1
    # However long it had nothing, a tenth of a second's worth is the most.
    await connection.execute("UPDATE webhook_endpoints SET rate_per_s = 30")
    await connection.execute("UPDATE endpoint_states SET tokens_at = tokens_at - interval '1 hour'")
    assert len(await _claim(connection)) == 3


async def test_several_dispatchers_share_a_rate(
    connection: asyncpg.Connection, database: Database, settings: VigieSettings
) -> None:
    endpoint = await _prepare(connection, settings, 10)
    await connection.execute("UPDATE webhook_endpoints SET rate_per_s = 0.01")
    await _state(connection, endpoint, tokens="NULL")
    other = await database.connect()
    async with other.transaction():
        await other.execute("SELECT FROM endpoint_states FOR UPDATE")
        # Another one is at it: not waited for, and asked again.
        assert await _claim(connection) == []
        assert (await compute_next_due_s(connection, SETTINGS) or 0) <= 0
    assert len(await _claim(connection)) + len(await _claim(other)) == 1
    await other.close()


async def test_a_released_lease_is_free_at_once(
    connection: asyncpg.Connection, settings: VigieSettings
) -> None:
    await _prepare(connection, settings, 2)
    first = await _claim(connection)
    await release_leases(connection, first)
    second = await _claim(connection)
    assert len(second) == 2
    # A late release of the lease before does not free the present one.
    await release_leases(
        connection, [one._replace(leased_until=one.leased_until - timedelta(1)) for one in first]
    )
    assert await _claim(connection) == []


async def test_a_failure_under_a_lost_lease_changes_nothing(
    connection: asyncpg.Connection, settings: VigieSettings
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
    connection: asyncpg.Connection, settings: VigieSettings, late: AttemptOutcome
) -> None:
    await _prepare(connection, settings, 1)
    (lost,) = await _claim(connection, lease_s=0.01)
    await connection.execute("SELECT pg_sleep(0.02)")
    (held,) = await _claim(connection)
    assert await _record(connection, lost, DELIVERED) == 1
    assert await _record(connection, held, late) == 2
    assert await states(connection) == {"delivered": 1}
    assert await count_pending_deliveries(connection) == 0
    assert await _claim(connection) == []


async def test_a_deleted_delivery_takes_no_record(
    connection: asyncpg.Connection, settings: VigieSettings
) -> None:
    await _prepare(connection, settings, 1)
    (claimed,) = await _claim(connection)
    await connection.execute("DELETE FROM webhook_endpoints")
    assert await _record(connection, claimed, DELIVERED) is None
    assert await attempts(connection) == []


async def test_when_the_next_is_due(connection: asyncpg.Connection, settings: VigieSettings) -> None:
    assert await compute_next_due_s(connection, SETTINGS) is None
    await _prepare(connection, settings, 2)
    claimed = await _claim(connection, lease_s=300)
    await _record(connection, claimed[0], FAILED)
    due_in = await compute_next_due_s(connection, SETTINGS, busy=[])
    assert due_in is not None
    assert 0 < due_in <= 60
    assert await count_pending_deliveries(connection) == 2


async def test_many_waiting_for_one_endpoint_do_not_hide_those_of_others(
    connection: asyncpg.Connection, settings: VigieSettings
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
    taken = await _claim(connection, EndpointLoad(one, 2), endpoint_concurrency=2)
    assert [claimed.endpoint_id for claimed in taken] == [other]


async def test_what_is_recorded_again_counts_once(
    connection: asyncpg.Connection, settings: VigieSettings
) -> None:
    """A connection that is lost at the commit does not say whether it was one."""
    await _prepare(connection, settings, 2)
    one, other = await _claim(connection)
    failed, delivered = (
        AttemptRecord(new_id(), claimed, outcome, one.now, one.now, one.now)
        for claimed, outcome in ((one, FAILED), (other, DELIVERED))
    )
    assert await write_attempt_records(connection, [failed, delivered]) == {one.id: 1, other.id: 1}
    assert await write_attempt_records(connection, [failed, delivered]) == {}
    assert len(await attempts(connection)) == 2
    assert await states(connection) == {"pending": 1, "delivered": 1}
    assert await connection.fetchval("SELECT max(attempt_count) FROM deliveries") == 1


async def test_a_claim_planned_without_a_backlog_does_not_read_one(
    connection: asyncpg.Connection, settings: VigieSettings
) -> None:
    """The planner knows of no pending delivery, as after months without an outage."""
    endpoint = await _prepare(connection, settings, 40)
    await connection.execute("UPDATE deliveries SET state = 'delivered', due_at = NULL")
    await connection.execute("VACUUM (ANALYZE) deliveries")
    for _ in range(10):  # the connection caches plans after a few
        assert await _claim(connection) == []
    await connection.execute(
        "INSERT INTO deliveries (id, organisation_id, endpoint_id, event_id, type, format, body, state,"
        " attempt_count, due_at, created_at) SELECT gen_random_uuid(), organisation_id, $1,"
        " gen_random_uuid(), type, format, body, 'pending', 0, now(), now()"
        " FROM deliveries CROSS JOIN generate_series(1, 100)",
        endpoint,
    )
    read = "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relname = 'deliveries'"
    async with connection.transaction():
        before = await connection.fetchval(read)
        assert len(await _claim(connection)) == 10
        assert await connection.fetchval(read) - before < 200
