"""Sending many deliveries again: asked for by REST, carried out a slice at a time."""

import asyncio
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from app.notifications.delivery import replay_scheduling
from app.notifications.delivery.replay_scheduling import replay_next_slice
from app.platform.db.database import Database
from app.settings import VigieSettings
from tests.conftest import Tenant
from tests.integration.notifications.helpers import add_endpoint, dispatching, until, with_webhooks
from tests.integration.notifications.log import add_channel, add_delivery, ago
from tests.integration.notifications.receivers import receiving, status


async def _endpoint(connection: asyncpg.Connection, tenant: Tenant, **other: Any) -> UUID:  # noqa: ANN401 (fields of an endpoint)
    endpoint, _ = await add_endpoint(connection, UUID(tenant.id), "https://example.com/", **other)
    return endpoint


async def _ask(tenant: Tenant, endpoint: UUID, since: datetime, **body: Any) -> dict[str, Any]:  # noqa: ANN401 (a JSON body)
    wanted = {"since": since.isoformat(), **body}
    answer = await tenant.client.post(f"/v1/webhooks/{endpoint}/replays", json=wanted)
    assert answer.status_code == 202, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def _look(tenant: Tenant, made: dict[str, Any]) -> dict[str, Any]:
    seen: dict[str, Any] = (await tenant.client.get(f"/v1/replays/{made['id']}")).raise_for_status().json()
    return seen


def _counts(seen: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(seen[name] for name in ("state", "total", "replayed", "delivered", "failed", "pending"))


async def test_what_failed_is_sent_again(
    tenant: Tenant, database: Database, connection: asyncpg.Connection, settings: VigieSettings
) -> None:
    async with receiving(status(204)) as receiver:
        endpoint, _ = await add_endpoint(connection, UUID(tenant.id), receiver.url)
        owner = UUID(tenant.id)
        failed = [
            await add_delivery(connection, owner, endpoint, state="failed", created_at=ago(hours=hours))
            for hours in (3, 2, 1)
        ]
        await add_delivery(connection, owner, endpoint, created_at=ago(hours=2))
        made = await _ask(tenant, endpoint, ago(hours=2, minutes=30))
        assert _counts(made) == ("running", 2, 0, 0, 0, 0)
        assert (made["states"], made["types"], made["endpoint_id"]) == (["failed"], None, str(endpoint))
        while await replay_next_slice(connection):
            pass
        due = await _look(tenant, made)
        assert _counts(due) == ("done", 2, 2, 0, 0, 2)
        async with dispatching(with_webhooks(settings), database):
            await receiver.wait(2)

            async def delivered() -> bool:
                return bool((await _look(tenant, made))["delivered"] == 2)

            await until(delivered)
    assert due["finished_at"] is not None
    log = (await tenant.client.get(f"/v1/deliveries?replay={made['id']}")).json()["data"]
    assert [UUID(one["id"]) for one in log] == failed[:0:-1]
    assert [one["attempts"][-1]["reason"] for one in log] == ["delivered"] * 2
    assert len(receiver.got) == 2


async def test_states_types_and_times_say_which(tenant: Tenant, connection: asyncpg.Connection) -> None:
    endpoint, owner = await _endpoint(connection, tenant), UUID(tenant.id)
    other = await _endpoint(connection, tenant)

    async def one(hours: float, where: UUID = endpoint, **columns: Any) -> UUID:  # noqa: ANN401 (values of columns)
        return await add_delivery(connection, owner, where, created_at=ago(hours=hours), **columns)

    delivered = await one(5)
    pending = await one(4, state="pending", attempt_count=7)
    # Made an hour after it happened: it goes by when it happened.
    late = await one(3, state="failed", made_at=ago(hours=1))
    resolved = await one(2, state="failed", type="alert.resolved")
    await one(10, state="failed")
    await one(3, other, state="failed")
    everything = {"states": ["failed", "delivered", "pending"]}
    until_then = {"until": ago(hours=2, minutes=30).isoformat()}
    for body, meant in (
        ({}, {late, resolved}),
        (until_then, {late}),
        ({"types": ["alert.resolved", "alert.group"]}, {resolved}),
        ({"states": ["delivered"]}, {delivered}),
        ({"states": ["pending"], **until_then}, {pending}),
        (everything, {delivered, pending, late, resolved}),
    ):
        made = await _ask(tenant, endpoint, ago(hours=6), **body)
        before = await connection.fetch("SELECT * FROM deliveries ORDER BY id")
        while await replay_next_slice(connection):
            pass
        rows = await connection.fetch("SELECT * FROM deliveries ORDER BY id")
        assert made["total"] == len(meant)
        assert _counts(await _look(tenant, made)) == ("done", len(meant), len(meant), 0, 0, len(meant))
        assert {row["id"] for row in rows if row["replay_id"] == UUID(made["id"])} == meant
        for row in rows:
            if row["id"] in meant:
                assert (row["state"], row["attempt_count"], row["leased_until"]) == ("pending", 0, None)
                assert row["due_at"] <= datetime.now(row["due_at"].tzinfo)
        await _put_back(connection, before)


async def _put_back(connection: asyncpg.Connection, rows: list[asyncpg.Record]) -> None:
    await connection.executemany(
        "UPDATE deliveries SET state = $2, attempt_count = $3, due_at = $4, replay_id = NULL WHERE id = $1",
        [(row["id"], row["state"], row["attempt_count"], row["due_at"]) for row in rows],
    )


async def test_it_goes_in_slices_and_stops_where_it_is_cancelled(
    tenant: Tenant, connection: asyncpg.Connection
) -> None:
    endpoint, owner = await _endpoint(connection, tenant), UUID(tenant.id)
    for minutes in range(10, 0, -1):
        await add_delivery(connection, owner, endpoint, state="failed", created_at=ago(minutes=minutes))
    made = await _ask(tenant, endpoint, ago(hours=1))
    later = await _ask(tenant, endpoint, ago(hours=1))
    assert await replay_next_slice(connection, slice_=4)
    assert _counts(await _look(tenant, made)) == ("running", 10, 4, 0, 0, 4)
    assert await replay_next_slice(connection, slice_=4)
    assert (await tenant.client.delete(f"/v1/replays/{made['id']}")).status_code == 204
    assert (await tenant.client.delete(f"/v1/replays/{made['id']}")).status_code == 204
    cancelled = await _look(tenant, made)
    assert _counts(cancelled) == ("cancelled", 10, 8, 0, 0, 8)
    assert cancelled["finished_at"] is not None
    while await replay_next_slice(connection, slice_=4):
        pass
    assert _counts(await _look(tenant, made)) == ("cancelled", 10, 8, 0, 0, 8)
    # What the one before had made due has not failed any more.
    assert _counts(await _look(tenant, later)) == ("done", 10, 2, 0, 0, 2)
    refused = await tenant.client.delete(f"/v1/replays/{later['id']}")
    assert (refused.status_code, refused.json()["code"]) == (409, "replay_finished")
    assert not await replay_next_slice(connection)
    listed = (await tenant.client.get(f"/v1/webhooks/{endpoint}/replays?limit=1")).json()
    assert [one["id"] for one in listed["data"]] == [later["id"]]
    rest = (await tenant.client.get(f"/v1/webhooks/{endpoint}/replays?cursor={listed['next']}")).json()
    assert ([one["id"] for one in rest["data"]], rest["next"]) == ([made["id"]], None)


async def test_long_stretches_without_any_are_passed(
    tenant: Tenant, connection: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay_scheduling, "_SCANNED", 3)
    endpoint, owner = await _endpoint(connection, tenant), UUID(tenant.id)
    for minutes in range(20, 0, -1):
        state = "failed" if minutes in {20, 7, 1} else "delivered"
        await add_delivery(connection, owner, endpoint, state=state, created_at=ago(minutes=minutes))
    made = await _ask(tenant, endpoint, ago(hours=1), states=["failed", "pending"])
    steps = 1
    while await replay_next_slice(connection):
        steps += 1
    assert 7 <= steps <= 9
    assert _counts(await _look(tenant, made)) == ("done", 3, 3, 0, 0, 3)


async def test_what_somebody_holds_is_waited_for_not_skipped(
    tenant: Tenant, database: Database, connection: asyncpg.Connection
) -> None:
    endpoint, owner = await _endpoint(connection, tenant), UUID(tenant.id)
    ids = [
        await add_delivery(connection, owner, endpoint, state="failed", created_at=ago(minutes=minutes))
        for minutes in (3, 2, 1)
    ]
    made = await _ask(tenant, endpoint, ago(hours=1))
    holder = await database.connect()
    async with asyncio.timeout(20), holder.transaction():
        await holder.execute("SELECT FROM deliveries WHERE id = $1 FOR UPDATE", ids[1])
        assert await replay_next_slice(connection)
        assert _counts(await _look(tenant, made)) == ("running", 3, 1, 0, 0, 1)
        # Nothing can be done by now: no busy loop.
        assert not await replay_next_slice(connection)
    await holder.close()
    while await replay_next_slice(connection):
        pass
    assert _counts(await _look(tenant, made)) == ("done", 3, 3, 0, 0, 3)


async def test_two_that_step_at_once_do_each_once(
    tenant: Tenant, database: Database, connection: asyncpg.Connection
) -> None:
    endpoint, owner = await _endpoint(connection, tenant), UUID(tenant.id)
    for minutes in range(30, 0, -1):
        await add_delivery(connection, owner, endpoint, state="failed", created_at=ago(minutes=minutes))
    made = [await _ask(tenant, endpoint, ago(hours=1), types=["alert.firing"]) for _ in range(2)]
    other = await database.connect()

    async def work(mine: asyncpg.Connection) -> None:
        # A step does nothing while the other connection holds both replays, so their count says little.
        while await mine.fetchval("SELECT EXISTS (SELECT FROM delivery_replays WHERE state = 'running')"):
            await replay_next_slice(mine, slice_=2)

    async with asyncio.timeout(30):
        await asyncio.gather(work(connection), work(other))
    await other.close()
    seen = [await _look(tenant, each) for each in made]
    assert [each["state"] for each in seen] == ["done", "done"]
    assert sum(each["replayed"] for each in seen) == 30


async def test_a_disabled_endpoints_wait(
    tenant: Tenant, database: Database, connection: asyncpg.Connection, settings: VigieSettings
) -> None:
    async with receiving(status(204)) as receiver:
        endpoint, _ = await add_endpoint(connection, UUID(tenant.id), receiver.url, enabled=False)
        await add_delivery(connection, UUID(tenant.id), endpoint, state="failed")
        made = await _ask(tenant, endpoint, ago(hours=1), until=(ago() + timedelta(hours=1)).isoformat())
        while await replay_next_slice(connection):
            pass
        async with dispatching(with_webhooks(settings, poll_s=0.1), database):
            await asyncio.sleep(0.5)
            assert receiver.got == []
            await tenant.client.patch(f"/v1/webhooks/{endpoint}", json={"enabled": True})
            await receiver.wait(1)
    assert made["total"] == 1


async def test_an_endpoint_has_few_that_run(tenant: Tenant, connection: asyncpg.Connection) -> None:
    endpoint = await _endpoint(connection, tenant)
    await add_delivery(connection, UUID(tenant.id), endpoint, state="failed", created_at=ago(minutes=1))
    made = [await _ask(tenant, endpoint, ago(hours=1)) for _ in range(5)]
    body = {"since": ago(hours=1).isoformat()}
    refused = await tenant.client.post(f"/v1/webhooks/{endpoint}/replays", json=body)
    assert (refused.status_code, refused.json()["code"]) == (409, "too_many_replays")
    await tenant.client.delete(f"/v1/replays/{made[0]['id']}")
    await _ask(tenant, endpoint, ago(hours=1))


async def test_one_without_any_is_done_at_once(tenant: Tenant, connection: asyncpg.Connection) -> None:
    endpoint = await _endpoint(connection, tenant)
    made = await _ask(tenant, endpoint, ago(hours=1))
    assert _counts(made) == ("done", 0, 0, 0, 0, 0)
    assert made["finished_at"] is not None


async def test_channels_have_them_too(tenant: Tenant, connection: asyncpg.Connection) -> None:
    channel = await add_channel(connection, UUID(tenant.id))
    await add_delivery(connection, UUID(tenant.id), channel, state="failed", created_at=ago(minutes=1))
    body = {"since": ago(hours=1).isoformat()}
    made = await tenant.client.post(f"/v1/channels/{channel}/replays", json=body)
    assert (made.status_code, made.json()["total"]) == (202, 1)
    listed = (await tenant.client.get(f"/v1/channels/{channel}/replays")).json()["data"]
    assert [one["id"] for one in listed] == [made.json()["id"]]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "missing_field"),
        ({"since": "yesterday"}, "invalid_time"),
        ({"since": "2026-01-01T00:00:00"}, "time_without_zone"),
        ({"since": None}, "wrong_type"),
        ({"since": True}, "wrong_type"),
        ({"since": "2026-01-01T00:00:00Z", "until": "2026-01-01T00:00:00Z"}, "range_reversed"),
        ({"since": "2099-01-01T00:00:00Z"}, "range_reversed"),
        ({"since": "2026-01-01T00:00:00Z", "states": []}, "invalid_value"),
        ({"since": "2026-01-01T00:00:00Z", "states": ["lost"]}, "invalid_value"),
        ({"since": "2026-01-01T00:00:00Z", "states": "failed"}, "wrong_type"),
        ({"since": "2026-01-01T00:00:00Z", "types": []}, "invalid_value"),
        ({"since": "2026-01-01T00:00:00Z", "types": ["alert.exploded"]}, "unknown_event_type"),
        ({"since": "2026-01-01T00:00:00Z", "from": "2026-01-01T00:00:00Z"}, "unknown_field"),
    ],
)
async def test_what_is_no_replay(
    tenant: Tenant, connection: asyncpg.Connection, body: dict[str, Any], code: str
) -> None:
    endpoint = await _endpoint(connection, tenant)
    answer = await tenant.client.post(f"/v1/webhooks/{endpoint}/replays", json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, code), answer.text
    if str(body.get("since")).startswith("2099"):
        assert answer.json()["detail"] == "`since` is in the future."


async def test_what_is_new_does_not_queue_behind_all_of_the_past(
    tenant: Tenant, connection: asyncpg.Connection
) -> None:
    """An endpoint that has enough to do is not given more; another one's replay goes on meanwhile."""
    endpoint, owner = await _endpoint(connection, tenant), UUID(tenant.id)
    other = await _endpoint(connection, tenant)
    for _ in range(4):
        await add_delivery(connection, owner, endpoint, state="failed", created_at=ago(minutes=9))
    await connection.execute(
        "INSERT INTO deliveries (id, organisation_id, endpoint_id, event_id, type, body, state, "
        "attempt_count, due_at, created_at) SELECT gen_random_uuid(), $1, $2, gen_random_uuid(), "
        "'alert.firing', '{}', 'pending', 0, now(), now() FROM generate_series(1, $3)",
        *(owner, endpoint, replay_scheduling.MAX_DUE_DELIVERIES),
    )
    await add_delivery(connection, owner, other, state="failed", created_at=ago(minutes=9))
    busy, free = await _ask(tenant, endpoint, ago(hours=1)), await _ask(tenant, other, ago(hours=1))
    while await replay_next_slice(connection):
        pass
    assert _counts(await _look(tenant, busy))[:3] == ("running", 4, 0)
    assert _counts(await _look(tenant, free))[:3] == ("done", 1, 1)
    await connection.execute(
        "DELETE FROM deliveries WHERE id = ANY (ARRAY(SELECT id FROM deliveries WHERE state = 'pending' "
        "AND endpoint_id = $1 LIMIT 3))",
        endpoint,
    )
    while await replay_next_slice(connection):
        pass
    assert _counts(await _look(tenant, busy))[:3] == ("running", 4, 3)


async def test_the_dispatcher_carries_a_replay_out(
    tenant: Tenant, database: Database, connection: asyncpg.Connection, settings: VigieSettings
) -> None:
    async with receiving(status(204)) as receiver, dispatching(with_webhooks(settings), database):
        endpoint, _ = await add_endpoint(connection, UUID(tenant.id), receiver.url)
        for minutes in range(7):
            created = ago(minutes=minutes + 1)
            await add_delivery(connection, UUID(tenant.id), endpoint, state="failed", created_at=created)
        made = await _ask(tenant, endpoint, ago(hours=1))

        async def done() -> bool:
            return _counts(await _look(tenant, made)) == ("done", 7, 7, 7, 0, 0)

        await until(done)
    assert len(receiver.got) == 7


async def test_what_is_being_sent_is_left_out(tenant: Tenant, connection: asyncpg.Connection) -> None:
    endpoint, owner = await _endpoint(connection, tenant), UUID(tenant.id)
    usual: dict[str, Any] = {"state": "pending", "attempt_count": 3, "created_at": ago(minutes=9)}
    leased = await add_delivery(connection, owner, endpoint, leased_until=ago(seconds=-30), **usual)
    run_out = await add_delivery(connection, owner, endpoint, leased_until=ago(seconds=30), **usual)
    free = await add_delivery(connection, owner, endpoint, **usual)
    await _ask(tenant, endpoint, ago(hours=1), states=["pending"])
    while await replay_next_slice(connection):
        pass
    rows = await connection.fetch("SELECT id, attempt_count, leased_until FROM deliveries")
    found = {row["id"]: (row["attempt_count"], row["leased_until"] is None) for row in rows}
    assert found == {leased: (3, False), run_out: (0, True), free: (0, True)}
    assert await connection.fetchval("SELECT state FROM delivery_replays") == "done"


async def test_of_what_is_slow_little_is_made_due(tenant: Tenant, connection: asyncpg.Connection) -> None:
    endpoint, owner = await _endpoint(connection, tenant), UUID(tenant.id)
    for minutes in range(20, 0, -1):
        await add_delivery(connection, owner, endpoint, state="failed", created_at=ago(minutes=minutes))
    await connection.execute("UPDATE webhook_endpoints SET rate_per_s = 0.1")
    made = await _ask(tenant, endpoint, ago(hours=1))
    while await replay_next_slice(connection):
        pass
    assert _counts(await _look(tenant, made))[:3] == ("running", 20, 6)
