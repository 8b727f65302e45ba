"""Events over REST, on a real database."""

from datetime import UTC, datetime, timedelta

import pytest

from app.platform.db.database import Database
from app.timeseries.storage.event_writer import EventRow, store_events
from tests.conftest import Tenant
from tests.integration.timeseries.lists import listed

NOW = datetime(2026, 11, 24, 10, tzinfo=UTC)
PISTOL = {"class": "pistol", "model": "glock-17", "confidence": 0.81}


@pytest.fixture
async def events(tenant: Tenant, site_id: str, database: Database) -> list[str]:
    """Two boxes with an event each, and a second type on the first."""
    for box in ("box-1", "box-2"):
        (await tenant.client.post("/v1/boxes", json={"id": box, "site_id": site_id})).raise_for_status()
    connection = await database.connect()
    try:
        boxes = await connection.fetch("SELECT key, organisation_id FROM boxes ORDER BY id")
        times = [round((NOW + timedelta(seconds=second)).timestamp() * 1e6) for second in range(3)]
        (one, organisation), (two, _) = boxes
        rows = [
            EventRow(one, organisation, times[0], "gunshot", 7, [PISTOL], 118.2, 0.4),
            EventRow(two, organisation, times[1], "gunshot", None, [], None, None),
            EventRow(one, organisation, times[2], "tamper", 8, [], None, None),
        ]
        for row in rows:
            await store_events(connection, [row], now=NOW)
    finally:
        await connection.close()
    return ["box-1", "box-2"]


async def test_events_are_listed_by_box_type_and_time(
    tenant: Tenant, site_id: str, events: list[str]
) -> None:
    client = tenant.client
    (tamper, shot) = await listed(client, f"/v1/boxes/{events[0]}/events")
    assert (tamper["type"], shot["type"]) == ("tamper", "gunshot")
    assert {
        name: shot[name]
        for name in ("box", "site_id", "time", "seq", "candidates", "level_db", "clock_error_ms")
    } == {
        "box": "box-1",
        "site_id": site_id,
        "time": "2026-11-24T10:00:00Z",
        "seq": 7,
        "candidates": [PISTOL],
        "level_db": 118.2,
        "clock_error_ms": 0.4,
    }
    assert len(await listed(client, "/v1/events")) == 3
    assert len(await listed(client, "/v1/events", type="gunshot")) == 2
    assert len(await listed(client, "/v1/events", site=site_id)) == 3
    assert await listed(client, "/v1/events", site="01936f3c-6f0a-7c1e-9a51-0d9f3b8e7a10") == []
    later = await listed(client, "/v1/events", from_="2026-11-24T10:00:01Z", to="2026-11-24T10:00:02Z")
    assert [row["box"] for row in later] == ["box-2"]
    page = (await client.get("/v1/events", params={"limit": 2})).json()
    rest = await listed(client, "/v1/events", limit=2, cursor=page["next"])
    assert [row["id"] for row in page["data"] + rest] == [
        row["id"] for row in await listed(client, "/v1/events")
    ]


async def test_another_organisations_events_do_not_exist(other_tenant: Tenant, events: list[str]) -> None:
    assert await listed(other_tenant.client, "/v1/events") == []
    assert (await other_tenant.client.get(f"/v1/boxes/{events[0]}/events")).status_code == 404


@pytest.mark.parametrize(
    "params",
    [
        {"type": "Gun Shot"},
        {"from": "2026-11-24T10:00:00Z", "to": "2026-11-24T09:00:00Z"},
        {"site": "nope"},
        {"limit": "-1"},
        {"cursor": "x"},
    ],
)
async def test_a_faulty_query_for_events_is_refused(tenant: Tenant, params: dict[str, str]) -> None:
    assert (await tenant.client.get("/v1/events", params=params)).status_code == 422
