"""Rules on indices: each period is judged once, whoever dies, whatever comes late, and whatever changes."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest

from app.alerts import index_rule_worker
from app.platform.db.database import Database
from tests.conftest import Tenant
from tests.integration.rules.indexing import (
    EAQI,
    HOUR,
    START,
    add_box,
    add_rule,
    alerts,
    judging,
    send,
    spans,
)

SOON = 2.1 / 60


async def outbox(database: Database) -> list[str]:
    connection = await database.connect()
    try:
        rows = await connection.fetch("SELECT type FROM outbox WHERE type LIKE 'alert.%' ORDER BY position")
        return [kind for (kind,) in rows]
    finally:
        await connection.close()


@pytest.mark.parametrize("after", ["write_states", "record_transitions"])
async def test_who_dies_before_the_commit_has_done_nothing(
    tenant: Tenant,
    site_id: str,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    after: str,
) -> None:
    box = await add_box(tenant, site_id, "corner")
    await send(tenant, box, [4, 4, 1, 1])
    rule = await add_rule(tenant, site_id)
    async with judging(database) as judge:
        await judge.look(0.5)
    step = getattr(index_rule_worker, after)

    async def die(connection: Any, *given: Any, **named: Any) -> None:  # noqa: ANN401 (of two functions)
        await step(connection, *given, **named)
        # As when the process is killed: the server sees the connection go.
        connection.terminate()
        raise ConnectionResetError

    monkeypatch.setattr(index_rule_worker, after, die)
    async with judging(database) as judge:
        with pytest.raises((ConnectionResetError, asyncpg.InterfaceError)):
            await judge.look(1 + SOON)
    monkeypatch.undo()
    assert await alerts(tenant, rule) == []
    async with judging(database) as judge:
        assert await judge.look(1 + SOON) == 1
        assert await judge.look(3 + SOON) == 1
    async with judging(database) as judge:
        assert await judge.look(3 + SOON) == 0
    assert await spans(tenant, rule) == [(box, 1, 3)]
    assert await outbox(database) == ["alert.firing", "alert.resolved"]


async def test_two_at_once_judge_once(tenant: Tenant, site_id: str, database: Database) -> None:
    boxes = [await add_box(tenant, site_id, f"box-{number}") for number in range(4)]
    for box in boxes:
        await send(tenant, box, [4, 4])
    rule = await add_rule(tenant, site_id)
    async with judging(database) as first, judging(database) as second:
        await asyncio.gather(*(judge.look(1 + SOON) for judge in (first, second)))
        # Who was overtaken begins anew.
        for judge in (first, second):
            await judge.look(1 + SOON)
            await judge.look(1 + SOON)
    assert await spans(tenant, rule) == [(box, 1, None) for box in boxes]
    assert await outbox(database) == ["alert.firing"] * 4


async def test_whoever_was_down_catches_up_period_by_period(
    tenant: Tenant, site_id: str, database: Database
) -> None:
    box = await add_box(tenant, site_id, "corner")
    await send(tenant, box, [1, 4, 1, 5, 5, 2, 4, 4])
    rule = await add_rule(tenant, site_id)
    async with judging(database) as judge:
        await judge.look(1 + SOON)
    async with judging(database) as judge:
        await judge.look(7.5)
    assert await spans(tenant, rule) == [(box, 2, 3), (box, 4, 6), (box, 7, None)]


async def test_what_a_box_had_kept_is_judged_in_its_time(
    tenant: Tenant, site_id: str, database: Database
) -> None:
    box = await add_box(tenant, site_id, "corner")
    await send(tenant, box, [1])
    rule = await add_rule(tenant, site_id)
    async with judging(database) as judge:
        await judge.look(1.05)
        for hour in (2, 3, 4, 5, 6):
            await judge.look(hour + SOON)
        assert await alerts(tenant, rule) == []
        # Off line for five hours: now it delivers, and goes on.
        await send(tenant, box, [1, 4, 5, 1, 1, 1], 1)
        await judge.look(7.2)
    assert await spans(tenant, rule) == [(box, 3, 5)]


async def test_what_is_kept_longer_than_a_week_is_not_judged(
    tenant: Tenant, site_id: str, database: Database
) -> None:
    box, week = await add_box(tenant, site_id, "corner"), 7 * 24
    await send(tenant, box, [1])
    rule = await add_rule(tenant, site_id)
    async with judging(database) as judge:
        await judge.look(1 + SOON)
        for hour in range(24, week + 24, 12):
            await judge.look(hour)
        await send(tenant, box, [5, 5], 1)
        await judge.look(week + 13)
        assert await alerts(tenant, rule) == []
        await send(tenant, box, [5, 5], week + 14)
        await judge.look(week + 16.5)
    assert await spans(tenant, rule) == [(box, week + 15, None)]


async def test_what_changes_a_period_that_was_judged_changes_nothing(
    tenant: Tenant, site_id: str, database: Database
) -> None:
    box = await add_box(tenant, site_id, "corner")
    await send(tenant, box, [1, 1, 1])
    rule = await add_rule(tenant, site_id)
    async with judging(database) as judge:
        await judge.look(0.5)
        await judge.look(1 + SOON)
        # Of the first hour and of the second one, late: the second is not over yet for the rule.
        late = [
            {"time": f"2026-03-02T0{hour}:0{step}:30Z", "values": {"pm2_5": 700}}
            for hour in (0, 1)
            for step in range(6)
        ]
        (await tenant.client.post("/v1/telemetry", json={"box": box, "samples": late})).raise_for_status()
        await judge.roll_up()
        await judge.look(1 + SOON)
        assert await alerts(tenant, rule) == []
        await judge.look(2 + SOON)
    assert await spans(tenant, rule) == [(box, 2, None)]


async def test_a_box_that_is_silent_is_waited_for_an_hour(
    tenant: Tenant, site_id: str, database: Database
) -> None:
    box = await add_box(tenant, site_id, "corner")
    await send(tenant, box, [1, 4], until=1.85)
    rule = await add_rule(tenant, site_id)
    async with judging(database) as judge:
        await judge.look(1 + SOON)
        await judge.look(2.5)
        assert await alerts(tenant, rule) == []
        await judge.look(3.01)
    assert await spans(tenant, rule) == [(box, 2, None)]


async def test_a_rule_that_asks_something_else_begins_anew(
    tenant: Tenant, site_id: str, database: Database
) -> None:
    box = await add_box(tenant, site_id, "corner")
    await send(tenant, box, [5, 5, 5])
    rule = await add_rule(tenant, site_id)
    async with judging(database) as judge:
        await judge.look(1 + SOON)
        body = {"condition": EAQI | {"threshold": 5}}
        (await tenant.client.patch(f"/v1/rules/{rule}", json=body)).raise_for_status()
        (alert,) = await alerts(tenant, rule)
        assert alert["resolution"] == "rule_changed"
        await judge.look(2 + SOON)
        (await tenant.client.patch(f"/v1/rules/{rule}", json={"name": "Bad air"})).raise_for_status()
        await judge.look(2 + SOON)
        (await tenant.client.delete(f"/v1/rules/{rule}")).raise_for_status()
        await judge.look(2 + SOON)
        assert await judge.connection.fetchval("SELECT count(*) FROM index_states") == 0
    assert [alert["resolution"] for alert in await alerts(tenant, rule)] == ["rule_changed", "rule_deleted"]
    assert len(await outbox(database)) == 4


async def test_a_box_that_leaves_the_scope_or_the_site(
    tenant: Tenant, site_id: str, database: Database
) -> None:
    for name in ("stays", "leaves", "goes"):
        await add_box(tenant, site_id, name, tags=["school"])
        await send(tenant, name, [5, 5])
    rule = await add_rule(tenant, site_id, scope={"tags": ["school"]})
    async with judging(database) as judge:
        await judge.look(1 + SOON)
        (await tenant.client.patch("/v1/boxes/leaves", json={"tags": []})).raise_for_status()
        (await tenant.client.delete("/v1/boxes/goes")).raise_for_status()
        await judge.look(1 + SOON)
        await judge.look(1 + SOON)
        assert await judge.connection.fetchval("SELECT count(*) FROM index_states") == 1
    found = {alert["box"]: alert["resolution"] for alert in await alerts(tenant, rule)}
    assert found == {"stays": None, "leaves": "rule_gone", "goes": "box_deleted"}


async def test_a_threshold_is_an_attribute_of_the_box(
    tenant: Tenant, site_id: str, database: Database
) -> None:
    for name, limit in (("strict", 4), ("lenient", 6)):
        await add_box(tenant, site_id, name, attributes={"air_limit": limit})
        await send(tenant, name, [5, 5])
    condition = {"index": "eaqi", "operator": ">=", "threshold": {"attribute": "air_limit"}}
    rule = await add_rule(tenant, site_id, condition)
    async with judging(database) as judge:
        await judge.look(1 + SOON)
    assert await spans(tenant, rule) == [("strict", 1, None)]


async def test_the_role_looks_when_something_is_due_and_not_else(
    tenant: Tenant, site_id: str, database: Database
) -> None:
    async with judging(database) as judge:
        worker = judge.worker

        async def tick() -> bool:
            """Whether anything was looked at."""
            before = worker._task
            await worker.tick(judge.database, judge.connection)
            if worker._task is before:
                return False
            assert worker._task is not None
            await asyncio.wait_for(asyncio.shield(worker._task), 60)
            return True

        assert await tick()
        assert not await tick()
        rule = await add_rule(tenant, site_id)
        box = await add_box(tenant, site_id, "corner")
        hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
        first = (hour - START) / HOUR - 2
        await send(tenant, box, [5, 5], first)
        assert await tick()
        assert not await tick()
        await worker.stop()
    # The hour that is over: of a box that has sent nothing since it is waited for, at most.
    assert {span[1] for span in await spans(tenant, rule)} <= {first + 1, first + 2}
