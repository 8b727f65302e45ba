"""Back-tests as jobs: queued, worked on, cancelled, left and taken up again, removed."""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID

import asyncpg
import pytest

from app.platform.db.database import Database
from app.platform.runtime.process_runner import ProcessContext
from app.processes.maintain import run_maintain
from app.rules.backtests import job_leases, sample_reader
from app.rules.backtests.backtest_run import BacktestProgress
from app.rules.backtests.worker import BacktestWorker
from app.settings import VigieSettings
from tests.conftest import Tenant
from tests.integration.rules.backtesting import (
    RANGE,
    SITE,
    ask,
    box,
    rule,
    store,
    working,
)
from tests.roles import working_as


@pytest.fixture
async def connection(database: Database) -> AsyncIterator[asyncpg.Connection]:
    opened = await database.connect()
    yield opened
    await opened.close()


async def test_202_then_its_result(
    tenant: Tenant, site_id: str, database: Database, connection: asyncpg.Connection
) -> None:
    await box(tenant, site_id, "one")
    await store(connection, "one", [30, 10])
    waiting = await ask(tenant, wait=0, status=202, rule=rule(), site_id=site_id)
    assert (waiting["state"], waiting["result"]) == ("queued", None)
    assert waiting["progress"]["samples_total"] is None
    async with working(database):
        async with asyncio.timeout(60):
            while True:
                found = (await tenant.client.get(f"/v1/rules/backtests/{waiting['id']}")).json()
                if found["state"] == "done":
                    break
                await asyncio.sleep(0.02)
    assert found["result"]["summary"]["alerts"] == 1


async def test_three_may_wait_and_cancelled_ones_make_room(tenant: Tenant, site_id: str) -> None:
    answers = await asyncio.gather(
        *(
            tenant.client.post(
                "/v1/rules/backtest?wait=0", json={"rule": rule(), "site_id": site_id, **RANGE}
            )
            for _ in range(6)
        )
    )
    assert sorted(answer.status_code for answer in answers) == [202, 202, 202, 429, 429, 429]
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert refused.json()["code"] == "too_many_backtests"
    assert int(refused.headers["retry-after"]) > 0
    made = next(answer.json()["id"] for answer in answers if answer.status_code == 202)
    path = f"/v1/rules/backtests/{made}"
    assert (await tenant.client.delete(path)).status_code == 204
    assert (await tenant.client.delete(path)).status_code == 204
    assert (await tenant.client.get(path)).json()["state"] == "cancelled"
    await ask(tenant, wait=0, status=202, rule=rule(), site_id=site_id)


async def test_a_finished_one_is_not_cancelled(tenant: Tenant, site_id: str, database: Database) -> None:
    async with working(database):
        found = await ask(tenant, rule=rule(), site_id=site_id)
    assert found["result"]["summary"]["boxes"] == 0
    refused = await tenant.client.delete(f"/v1/rules/backtests/{found['id']}")
    assert (refused.status_code, refused.json()["code"]) == (409, "backtest_finished")


async def test_organisations_take_turns(
    tenant: Tenant, other_tenant: Tenant, site_id: str, connection: asyncpg.Connection
) -> None:
    theirs = (await other_tenant.client.post("/v1/sites", json=SITE)).raise_for_status().json()["id"]
    for _ in range(3):
        await ask(tenant, wait=0, status=202, rule=rule(), site_id=site_id)
    for _ in range(2):
        await ask(other_tenant, wait=0, status=202, rule=rule(), site_id=theirs)
    turns = []
    while (held := await job_leases.lease_backtest(connection)) is not None:
        turns.append(str(held.request.organisation_id))
        await job_leases.finish_backtest(connection, held, BacktestProgress(), result={})
    assert turns == [tenant.id, other_tenant.id, tenant.id, other_tenant.id, tenant.id]


async def test_what_was_left_is_begun_again_and_given_up_in_the_end(
    tenant: Tenant, site_id: str, connection: asyncpg.Connection
) -> None:
    made = await ask(tenant, wait=0, status=202, rule=rule(), site_id=site_id)
    path = f"/v1/rules/backtests/{made['id']}"
    held = None
    for attempt in range(1, job_leases.ATTEMPTS_LIMIT + 1):
        held = await job_leases.lease_backtest(connection)
        assert held is not None
        assert held.attempt == attempt
        assert (await tenant.client.get(path)).json()["state"] == "running"
        assert await job_leases.lease_backtest(connection) is None
        # Whoever worked on it died, and a minute passed.
        await connection.execute("UPDATE backtests SET leased_until = now() - interval '1 second'")
    assert await job_leases.lease_backtest(connection) is None
    found = (await tenant.client.get(path)).json()
    assert (found["state"], found["error"]) == ("failed", "interrupted")
    # The one that was overtaken has nothing to say any more.
    assert held is not None
    assert not await job_leases.renew_lease(connection, held, BacktestProgress())


async def test_one_that_is_cancelled_under_way_ends(
    tenant: Tenant,
    site_id: str,
    database: Database,
    connection: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await box(tenant, site_id, "one")
    await store(connection, "one", [1.0] * 500)
    monkeypatch.setattr(sample_reader, "PAGE_LIMIT", 1)
    monkeypatch.setattr("app.rules.backtests.worker._RENEW_INTERVAL_S", 0.0)
    made = await ask(tenant, wait=0, status=202, rule=rule(), site_id=site_id)
    path = f"/v1/rules/backtests/{made['id']}"
    worker = BacktestWorker()
    await worker.tick(database, connection)
    async with asyncio.timeout(60):
        while not (await tenant.client.get(path)).json()["progress"]["samples"]:  # noqa: ASYNC110 (a row)
            await asyncio.sleep(0.005)
    assert (await tenant.client.delete(path)).status_code == 204
    async with asyncio.timeout(60):
        await worker.idle()
    found = (await tenant.client.get(path)).json()
    assert (found["state"], found["result"]) == ("cancelled", None)
    assert 0 < found["progress"]["samples"] < 500


async def test_one_that_is_stopped_is_left_to_the_next(
    tenant: Tenant,
    site_id: str,
    database: Database,
    connection: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await box(tenant, site_id, "one")
    await store(connection, "one", [30.0] * 500)
    monkeypatch.setattr(sample_reader, "PAGE_LIMIT", 1)
    made = await ask(tenant, wait=0, status=202, rule=rule(), site_id=site_id)
    worker = BacktestWorker()
    await worker.tick(database, connection)
    await worker.stop()
    path = f"/v1/rules/backtests/{made['id']}"
    assert (await tenant.client.get(path)).json()["state"] == "queued"
    monkeypatch.setattr(sample_reader, "PAGE_LIMIT", 10_000)
    again = BacktestWorker()
    await again.tick(database, connection)
    await again.idle()
    found = (await tenant.client.get(path)).json()
    assert (found["state"], found["result"]["summary"]["alerts"]) == ("done", 1)


async def test_one_that_fails_is_told(
    tenant: Tenant, site_id: str, database: Database, connection: asyncpg.Connection
) -> None:
    await box(tenant, site_id, "one")
    made = await ask(tenant, wait=0, status=202, rule=rule(), site_id=site_id)
    # A definition that no validation would let through.
    await connection.execute("UPDATE backtests SET rule = jsonb_set(rule, '{definition,levels}', '[]')")
    worker = BacktestWorker()
    await worker.tick(database, connection)
    await worker.idle()
    found = (await tenant.client.get(f"/v1/rules/backtests/{made['id']}")).json()
    assert (found["state"], found["error"], found["result"]) == ("failed", "internal", None)


async def test_what_is_a_week_old_goes(
    tenant: Tenant, site_id: str, database: Database, connection: asyncpg.Connection
) -> None:
    async with working(database):
        old = await ask(tenant, rule=rule(), site_id=site_id)
        new = await ask(tenant, rule=rule(), site_id=site_id)
    await connection.execute(
        "UPDATE backtests SET finished_at = now() - interval '8 days' WHERE id = $1", UUID(old["id"])
    )
    await job_leases.prune_backtests(connection)
    left = (await tenant.client.get("/v1/rules/backtests")).json()["data"]
    assert [each["id"] for each in left] == [new["id"]]


async def test_lists_come_in_pages(tenant: Tenant, site_id: str) -> None:
    made = [(await ask(tenant, wait=0, status=202, rule=rule(), site_id=site_id))["id"] for _ in range(3)]
    first = (await tenant.client.get("/v1/rules/backtests?limit=2")).json()
    second = (await tenant.client.get(f"/v1/rules/backtests?limit=2&cursor={first['next']}")).json()
    assert [each["id"] for each in (*first["data"], *second["data"])] == made[::-1]
    assert second["next"] is None


async def test_the_maintain_role_works_on_them_beside_its_other_duties(
    tenant: Tenant,
    site_id: str,
    database: Database,
    connection: asyncpg.Connection,
    settings: VigieSettings,
) -> None:
    await box(tenant, site_id, "one")
    await store(connection, "one", [30, 10])
    await connection.execute(
        "INSERT INTO heartbeats VALUES ('api', 'gone', 'serving', now() - interval '1 hour')"
    )
    async with working_as("maintain", database) as opened:
        role = ProcessContext("maintain", opened)
        maintaining = asyncio.create_task(run_maintain(settings, role))
        found = await ask(tenant, rule=rule(), site_id=site_id)
        role.stop.set()
        await asyncio.wait_for(maintaining, 60)
    assert found["result"]["summary"]["alerts"] == 1
    assert await connection.fetchval("SELECT count(*) FROM heartbeats WHERE instance = 'gone'") == 0
