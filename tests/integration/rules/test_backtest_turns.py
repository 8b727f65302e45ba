"""Back-tests of several organisations at once, the work that one may be, and the metrics of them."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from prometheus_client import REGISTRY

from app.platform.db.database import Database
from app.rules.backtests import backtest_run, sample_reader
from app.rules.backtests import worker as backtest_worker
from app.rules.backtests.worker import BacktestWorker
from tests.conftest import Tenant
from tests.integration.rules.backtesting import CONDITION, SITE, ask, box, rule, store, working


@pytest.fixture
async def connection(database: Database) -> AsyncIterator[asyncpg.Connection]:
    opened = await database.connect()
    yield opened
    await opened.close()


async def _read(tenant: Tenant, backtest_id: str) -> dict[str, Any]:
    found: dict[str, Any] = (await tenant.client.get(f"/v1/rules/backtests/{backtest_id}")).json()
    return found


async def test_a_long_one_keeps_no_other_organisation_waiting(  # noqa: PLR0917 (fixtures)
    tenant: Tenant,
    other_tenant: Tenant,
    site_id: str,
    database: Database,
    connection: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun, go_on, read = asyncio.Event(), asyncio.Event(), sample_reader.SampleReader._read

    async def slow(reader: sample_reader.SampleReader, *what: Any) -> Any:  # noqa: ANN401 (a page)
        if not begun.is_set():
            begun.set()
            await go_on.wait()
        return await read(reader, *what)

    monkeypatch.setattr(sample_reader.SampleReader, "_read", slow)
    await box(tenant, site_id, "one")
    await store(connection, "one", [1.0])
    theirs = (await other_tenant.client.post("/v1/sites", json=SITE)).raise_for_status().json()["id"]
    await box(other_tenant, theirs, "other")
    await store(connection, "other", [30.0, 10.0])
    long = [(await ask(tenant, wait=0, status=202, rule=rule(), site_id=site_id))["id"] for _ in range(2)]
    worker = BacktestWorker()
    await worker.tick(database, connection)
    # It is under way when somebody else asks for a short one.
    async with asyncio.timeout(60):
        await begun.wait()
    short = await ask(other_tenant, wait=0, status=202, rule=rule(), site_id=theirs)
    await worker.tick(database, connection)
    async with asyncio.timeout(60):
        while (found := await _read(other_tenant, short["id"]))["state"] != "done":  # noqa: ASYNC110 (a row)
            await asyncio.sleep(0.01)
    assert found["result"]["summary"]["alerts"] == 1
    # One of each organisation at a time.
    assert [(await _read(tenant, each))["state"] for each in long] == ["running", "queued"]
    stopping = asyncio.create_task(worker.stop())
    await asyncio.sleep(0)
    go_on.set()
    await stopping
    assert [(await _read(tenant, each))["state"] for each in long] == ["queued", "queued"]


async def test_only_so_many_are_under_way(  # noqa: PLR0917 (fixtures)
    tenant: Tenant,
    other_tenant: Tenant,
    site_id: str,
    database: Database,
    connection: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(backtest_worker, "CONCURRENCY_LIMIT", 1)
    theirs = (await other_tenant.client.post("/v1/sites", json=SITE)).raise_for_status().json()["id"]
    first = await ask(tenant, wait=0, status=202, rule=rule(), site_id=site_id)
    second = await ask(other_tenant, wait=0, status=202, rule=rule(), site_id=theirs)
    worker = BacktestWorker()
    await worker.tick(database, connection)
    await worker.idle()
    assert (await _read(tenant, first["id"]))["state"] == "done"
    assert (await _read(other_tenant, second["id"]))["state"] == "queued"


async def test_what_would_take_too_long_fails_and_says_what_to_do(
    tenant: Tenant,
    site_id: str,
    database: Database,
    connection: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await box(tenant, site_id, "one")
    await store(connection, "one", [30.0] * 10)
    monkeypatch.setattr(backtest_run, "WORK_LIMIT", 29)
    several = {"all": [CONDITION, CONDITION]}
    shot = {"event": "gunshot", "window": "PT1M"}
    async with working(database):
        fits = await ask(tenant, rule=rule(), site_id=site_id)
        found = await ask(tenant, rule=rule(several), site_id=site_id)
        shorter = await ask(tenant, rule=rule(several), site_id=site_id, to="2026-03-01T00:09:00Z")
        # Samples are not read at all.
        event = await ask(tenant, rule=rule({"all": [shot] * 40}), site_id=site_id)
    assert (fits["state"], shorter["state"], event["state"]) == ("done", "done", "done")
    assert fits["error_detail"] is None
    assert (found["state"], found["error"], found["result"]) == ("failed", "too_much_work", None)
    assert "shorter range" in found["error_detail"]


async def test_they_are_counted(
    tenant: Tenant, site_id: str, database: Database, connection: asyncpg.Connection
) -> None:
    def shown(name: str, **labels: str) -> float:
        return REGISTRY.get_sample_value(f"vigie_backtests_{name}", labels) or 0.0

    before = {state: shown("finished_total", state=state) for state in ("done", "failed", "cancelled")}
    made = [(await ask(tenant, wait=0, status=202, rule=rule(), site_id=site_id))["id"] for _ in range(3)]
    await connection.execute("UPDATE backtests SET created_at = now() - interval '90 seconds'")
    await connection.execute(
        "UPDATE backtests SET rule = jsonb_set(rule, '{definition,levels}', '[]') WHERE id = $1", made[1]
    )
    for _ in range(2):
        assert (await tenant.client.delete(f"/v1/rules/backtests/{made[2]}")).status_code == 204
    worker = BacktestWorker()
    await worker.tick(database, connection)
    assert (shown("waiting"), shown("running")) == (1, 1)
    assert 90 <= shown("oldest_waiting_seconds") < 120
    await worker.idle()
    worker = BacktestWorker()
    await worker.tick(database, connection)
    await worker.idle()
    after = {state: shown("finished_total", state=state) for state in before}
    assert {state: after[state] - before[state] for state in before} == {
        "done": 1,
        "failed": 1,
        "cancelled": 1,
    }
    await BacktestWorker().tick(database, connection)
    assert (shown("waiting"), shown("running"), shown("oldest_waiting_seconds")) == (0, 0, 0)
