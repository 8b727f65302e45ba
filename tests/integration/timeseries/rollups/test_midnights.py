"""Days whose midnight comes twice: on the Azores clocks go back from one o'clock to midnight."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from app.timeseries.erasure.worker import ErasureWorker
from tests.conftest import Tenant
from tests.integration.timeseries.rollups.street import Door, Maintainer, register

AZORES = {
    "name": "Ponta Delgada",
    "kind": "street",
    "timezone": "Atlantic/Azores",
    "location": {"type": "Point", "coordinates": [-25.7, 37.7]},
}
# It is midnight at 00:00 UTC, and again at 01:00.
DAY = datetime(2025, 10, 26, tzinfo=UTC)
HOURS = [DAY + timedelta(hours=hour) for hour in range(-24, 49)]


@pytest.fixture
async def island(tenant: Tenant, connection: asyncpg.Connection) -> str:
    site = (await tenant.client.post("/v1/sites", json=AZORES)).raise_for_status().json()["id"]
    await register(tenant.client, site, ["island"], interval_s=3600)
    samples = [{"time": hour.isoformat(), "values": {"pm2_5": 5.0}} for hour in HOURS]
    assert (await Door(connection).take(("island", samples))).stored == len(HOURS)
    return "island"


async def days(tenant: Tenant, **params: Any) -> list[tuple[str, int, float]]:  # noqa: ANN401 (a query)
    asked = {"metric": "pm2_5", "bucket": "1d", "from": HOURS[0].isoformat(), "to": HOURS[-1].isoformat()}
    answer = (await tenant.client.get("/v1/boxes/island/readings", params=asked | params)).raise_for_status()
    return [(point["time"], point["count"], point["coverage"]) for point in answer.json()["points"]]


async def test_a_day_has_both_of_its_midnights_whatever_it_is_read_from(
    tenant: Tenant, connection: asyncpg.Connection, maintainer: Maintainer, island: str
) -> None:
    expected = [
        ("2025-10-25T00:00:00Z", 24, 100.0),
        ("2025-10-26T00:00:00Z", 25, 100.0),
        ("2025-10-27T01:00:00Z", 23, 95.83),
    ]
    assert island
    for _ in range(2):
        assert await days(tenant) == expected
        for more in ({"fill": "null"}, {"fill": "linear"}, {"exclude": "late"}):
            assert await days(tenant, **more) == expected, more
        # It ends while it is the same day still.
        cut = await days(tenant, to="2025-10-26T00:30:00Z", fill="null")
        assert cut[-1][:2] == ("2025-10-26T00:00:00Z", 1)
        await maintainer.finish()
    rows = await connection.fetch("SELECT day, count FROM daily ORDER BY day")
    assert [tuple(row) for row in rows] == [
        (DAY - timedelta(days=1), 24),
        (DAY, 25),
        (DAY + timedelta(hours=25), 24),
    ]


async def test_an_erasure_from_such_a_midnight_on_leaves_the_day_before(
    tenant: Tenant, connection: asyncpg.Connection, maintainer: Maintainer, island: str
) -> None:
    await maintainer.finish()
    body = {"from": DAY.isoformat(), "until": (DAY + timedelta(hours=25)).isoformat(), "reason": "A request"}
    asked = (await tenant.client.post(f"/v1/boxes/{island}/erasures", json=body)).raise_for_status().json()
    while await ErasureWorker().run_once(maintainer.connection):
        pass
    removed = await connection.fetchval("SELECT removed FROM erasures WHERE id = $1", UUID(asked["id"]))
    assert '"samples": 25' in removed
    assert '"daily": 1' in removed
    rows = await connection.fetch("SELECT day, count FROM daily ORDER BY day")
    assert [tuple(row) for row in rows] == [(DAY - timedelta(days=1), 24), (DAY + timedelta(hours=25), 24)]
