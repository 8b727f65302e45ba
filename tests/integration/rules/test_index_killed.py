"""Rules on indices, and a maintain role that is killed while it judges: each alert once, each event once."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from app.platform.db.database import Database
from tests.conftest import Tenant
from tests.integration.rules.indexing import HOUR, LEVELS, add_rule, alerts
from tests.scenarios.processes import RoleProcess, until

BOXES = 30
_MINE = "SELECT payload->>'box' FROM outbox WHERE type = 'alert.firing'"


# In the first minutes of an hour it waits until the hour before has settled.
@pytest.mark.timeout(300)
async def test_each_alert_once_whenever_it_is_killed(
    tenant: Tenant, site_id: str, database: Database, tmp_path: Path
) -> None:
    boxes = [f"box-{number:03}" for number in range(BOXES)]
    bodies = [{"id": box, "site_id": site_id, "interval_s": 600} for box in boxes]
    (await tenant.client.post("/v1/boxes/bulk", json={"boxes": bodies})).raise_for_status()
    # The hour that is over, and the one that follows: so no box is waited for.
    now = datetime.now(UTC) - timedelta(minutes=3)
    hour = now.replace(minute=0, second=0, microsecond=0) - HOUR
    times = [hour + timedelta(minutes=10 * step) for step in range(12)]
    samples = [
        {"time": time.isoformat(), "values": {"pm2_5": LEVELS[5]}}
        for time in (*(each for each in times if each < now), datetime.now(UTC) + timedelta(minutes=5))
    ]
    for box in boxes:
        (await tenant.client.post("/v1/telemetry", json={"box": box, "samples": samples})).raise_for_status()
    rule = await add_rule(tenant, site_id)
    connection = await database.connect()

    async def begun() -> bool:
        return bool(await connection.fetchval("SELECT count(*) FROM index_states"))

    async def fired(least: int) -> bool:
        return len(await connection.fetch(_MINE)) >= least

    # It has begun, and computes, or judges, as it dies.
    process = RoleProcess("maintain", tmp_path / "maintain.log")
    await process.start()
    await until(begun)
    await process.kill()
    process = RoleProcess("maintain", tmp_path / "maintain.log")
    await process.start()
    await until(lambda: fired(BOXES), patience_s=240)
    await process.terminate()
    told = Counter(box for (box,) in await connection.fetch(_MINE))
    await connection.close()
    assert told == Counter(boxes)
    found = await alerts(tenant, rule, limit=200)
    assert sorted(alert["box"] for alert in found) == boxes
    assert {alert["state"] for alert in found} == {"firing"}
