"""What is forgotten of deliveries and of events, and what is not."""

from uuid import UUID, uuid4

import asyncpg
import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from app.notifications.delivery.retention import RemovedDeliveries, delete_old_deliveries
from app.notifications.events.event_types import MESSAGES_DROPPED
from app.notifications.events.operator_events import prune_outbox
from app.platform.kernel.ids import new_id
from tests.integration.notifications.helpers import add_endpoint, add_organisation
from tests.integration.notifications.log import add_attempt, add_delivery, ago, id_at


async def _left(connection: asyncpg.Connection, table: str) -> set[UUID]:
    return {row["id"] for row in await connection.fetch(f"SELECT id FROM {table}")}  # noqa: S608 (names of ours)


def _expired() -> float:
    return REGISTRY.get_sample_value("vigie_deliveries_expired_total") or 0.0


@pytest.mark.parametrize("slice_", [1, 2, 1000])
async def test_deliveries_go_with_their_attempts_once_they_are_old(
    connection: asyncpg.Connection, slice_: int
) -> None:
    owner = await add_organisation(connection)
    enabled, _ = await add_endpoint(connection, owner, "https://example.com/")
    disabled, _ = await add_endpoint(connection, owner, "https://example.com/", enabled=False)
    gone = []
    for state in ("delivered", "failed", "delivered"):
        old = await add_delivery(connection, owner, enabled, state=state, created_at=ago(days=31))
        await add_attempt(connection, enabled, old)
        gone.append(old)
    gone.append(await add_delivery(connection, owner, disabled, state="pending", created_at=ago(days=31)))
    kept = {
        await add_delivery(connection, owner, enabled, state="pending", created_at=ago(days=40)),
        await add_delivery(connection, owner, enabled, created_at=ago(days=29)),
        # Made of an old event a short while ago: the dispatcher was away.
        await add_delivery(connection, owner, enabled, created_at=ago(days=31), made_at=ago(days=29)),
        await add_delivery(connection, owner, disabled, state="pending", created_at=ago(days=29)),
    }
    before = _expired()
    with capture_logs() as logs:
        assert await delete_old_deliveries(connection, keep_days=30, slice_=slice_) == RemovedDeliveries(4, 1)
    assert await _left(connection, "deliveries") == kept
    assert await _left(connection, "delivery_attempts") == set()
    assert _expired() - before == 1
    assert [line["deliveries"] for line in logs if line["event"] == "pending_deliveries_expired"] == [1]
    assert await delete_old_deliveries(connection, keep_days=30, slice_=slice_) == RemovedDeliveries(0, 0)


async def test_one_that_is_being_recorded_is_left_for_the_next_time(
    connection: asyncpg.Connection, database_url: str
) -> None:
    owner = await add_organisation(connection)
    endpoint, _ = await add_endpoint(connection, owner, "https://example.com/")
    held = await add_delivery(connection, owner, endpoint, created_at=ago(days=32))
    await add_delivery(connection, owner, endpoint, created_at=ago(days=31))
    holder = await asyncpg.connect(database_url)
    async with holder.transaction():
        await holder.execute("SELECT FROM deliveries WHERE id = $1 FOR UPDATE", held)
        assert await delete_old_deliveries(connection, keep_days=30) == RemovedDeliveries(1, 0)
    await holder.close()
    assert await delete_old_deliveries(connection, keep_days=30) == RemovedDeliveries(1, 0)


async def test_replays_go_as_late(connection: asyncpg.Connection) -> None:
    owner = await add_organisation(connection)
    endpoint, _ = await add_endpoint(connection, owner, "https://example.com/")
    made = {}
    for name, days, state in (
        ("old", 31, "done"),
        ("cancelled", 31, "cancelled"),
        ("running", 31, "running"),
        ("new", 29, "done"),
    ):
        made[name] = id_at(ago(days=days))
        await connection.execute(
            "INSERT INTO delivery_replays (id, organisation_id, endpoint_id, since, until, states, state, "
            "total, created_at, finished_at) VALUES ($1, $2, $3, $4, $4, '{failed}', $5, 1, $4, $6)",
            *(made[name], owner, endpoint, ago(days=days), state),
            None if state == "running" else ago(days=days),
        )
    await delete_old_deliveries(connection, keep_days=30)
    assert await _left(connection, "delivery_replays") == {made["running"], made["new"]}


async def test_events_are_kept_for_streams_and_the_newest_of_the_platforms_for_ever(
    connection: asyncpg.Connection,
) -> None:
    owner = await add_organisation(connection)

    async def event(days: float, type_: str = "alert.firing", *, fanned_out: bool = True) -> UUID:
        identifier = new_id()
        await connection.execute(
            "INSERT INTO outbox (id, organisation_id, type, payload, created_at, fanned_out_at, "
            "stream_position) VALUES ($1, $2, $3, '{}', $4, $5, nextval('outbox_stream'))",
            *(identifier, owner, type_, ago(days=days), ago(days=days) if fanned_out else None),
        )
        return identifier

    await event(20, MESSAGES_DROPPED)
    newest = await event(9, MESSAGES_DROPPED)
    await event(8)
    waiting = await event(8, fanned_out=False)
    await event(7.5)
    kept = await event(6.5)
    await prune_outbox(connection, keep_days=7)
    assert await _left(connection, "outbox") == {newest, waiting, kept}
    newer = await event(1, MESSAGES_DROPPED)
    await prune_outbox(connection, keep_days=7)
    assert await _left(connection, "outbox") == {newer, waiting, kept}


async def test_many_events_go_in_pieces(
    connection: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.notifications.events.operator_events._SLICE", 7)
    owner = await add_organisation(connection)
    await connection.executemany(
        "INSERT INTO outbox (id, organisation_id, type, payload, created_at, fanned_out_at) "
        "VALUES ($1, $2, 'alert.firing', '{}', $3, $3)",
        [(uuid4(), owner, ago(days=10)) for _ in range(30)],
    )
    await prune_outbox(connection, keep_days=7)
    assert await _left(connection, "outbox") == set()


async def test_what_waits_in_groups_of_disabled_endpoints_goes_as_late(
    connection: asyncpg.Connection,
) -> None:
    owner = await add_organisation(connection)
    enabled, _ = await add_endpoint(connection, owner, "https://example.com/")
    disabled, _ = await add_endpoint(connection, owner, "https://example.com/", enabled=False)
    groups: dict[str, UUID] = {}
    for name, endpoint, days in (
        ("enabled", enabled, [31]),
        ("old", disabled, [31, 40, 32]),
        ("both", disabled, [31, 29]),
        ("new", disabled, [29]),
    ):
        groups[name] = new_id()
        await connection.execute(
            "INSERT INTO delivery_groups (id, organisation_id, endpoint_id, key, due_at, created_at) "
            "VALUES ($1, $2, $3, $4, $5, $5)",
            *(groups[name], owner, endpoint, name, ago(days=max(days))),
        )
        for age in days:
            await connection.execute(
                "INSERT INTO group_events (group_id, alert_id, position, events_count, sequence, firing, "
                "event_id, type, body, created_at) VALUES ($1, $2, 1, 1, 1, true, $2, 'alert.firing', '{}', "
                "$3)",
                *(groups[name], uuid4(), ago(days=age)),
            )
    counted = REGISTRY.get_sample_value("vigie_grouped_events_expired_total") or 0.0
    with capture_logs() as logs:
        assert await delete_old_deliveries(connection, keep_days=30, slice_=2) == RemovedDeliveries(0, 0)
    rows = await connection.fetch("SELECT group_id, count(*) AS count FROM group_events GROUP BY group_id")
    assert {row["group_id"]: row["count"] for row in rows} == {
        groups["enabled"]: 1,
        groups["both"]: 1,
        groups["new"]: 1,
    }
    assert await _left(connection, "delivery_groups") == {groups[name] for name in ("enabled", "both", "new")}
    assert REGISTRY.get_sample_value("vigie_grouped_events_expired_total") == counted + 4
    assert [line["alerts"] for line in logs if line["event"] == "grouped_events_expired"] == [4]
