"""The HTTP door when something fails that is no fault of what was sent."""

from datetime import UTC, datetime

import asyncpg
import pytest

from app.ingest import group_committer
from app.platform.db.database import Database, RawConnection
from tests.conftest import Tenant


async def test_a_wake_up_that_fails_makes_no_second_commit(
    tenant: Tenant, site_id: str, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(_: RawConnection) -> None:
        raise asyncpg.ConnectionDoesNotExistError("gone")

    monkeypatch.setattr(group_committer, "wake_dispatcher", fail)
    (await tenant.client.post("/v1/boxes", json={"id": "box-1", "site_id": site_id})).raise_for_status()
    condition = {"metric": "pm2_5", "operator": ">", "threshold": 25}
    rule = {"site_id": site_id, "name": "r", "severity": "warning", "condition": condition}
    (await tenant.client.post("/v1/rules", json=rule)).raise_for_status()
    sample = {"time": datetime.now(UTC).isoformat(), "values": {"pm2_5": 30}}
    answer = await tenant.client.post("/v1/telemetry", json={"box": "box-1", "samples": [sample]})
    assert answer.raise_for_status().json()["stored"] == 1
    connection = await database.connect()
    totals = await connection.fetchrow("SELECT sum(stored), sum(duplicate) FROM ingest_totals")
    await connection.close()
    assert tuple(totals or ()) == (1, 0)


async def test_a_schema_that_does_not_fit_is_told_until_it_does(
    tenant: Tenant, site_id: str, database: Database
) -> None:
    (await tenant.client.post("/v1/boxes", json={"id": "box-1", "site_id": site_id})).raise_for_status()
    body = {"box": "box-1", "samples": [{"time": datetime.now(UTC).isoformat(), "values": {"pm2_5": 30}}]}
    connection = await database.connect()
    await connection.execute("ALTER TABLE boxes RENAME COLUMN shared_until TO elsewhere")
    answer = await tenant.client.post("/v1/telemetry", json=body)
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    await connection.execute("ALTER TABLE boxes RENAME COLUMN elsewhere TO shared_until")
    await connection.close()
    assert (await tenant.client.post("/v1/telemetry", json=body)).raise_for_status().json()["stored"] == 1
