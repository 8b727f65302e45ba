"""Events and quarantine over REST, on a real database."""

import base64
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest

from app.core.database import Database
from app.observations.events import EventRow, store_events
from app.observations.quarantine import Refused, quarantine
from tests.conftest import Tenant

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


async def listed(client: httpx.AsyncClient, url: str, **params: Any) -> list[dict[str, Any]]:  # noqa: ANN401 (a query)
    if "from_" in params:
        params["from"] = params.pop("from_")
    answer = await client.get(url, params=params)
    assert answer.status_code == 200, answer.text
    rows: list[dict[str, Any]] = answer.json()["data"]
    return rows


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


@pytest.fixture
async def refused(tenant: Tenant, database: Database) -> None:
    """Three refusals of the tenant's, and one of nobody's."""
    own = UUID(tenant.id)
    connection = await database.connect()
    try:
        await quarantine(
            connection,
            [
                Refused(
                    own,
                    "box-1",
                    "unknown_metric",
                    "no warp",
                    "vigie/v1/box-1/telemetry",
                    b'{"values":{"warp":1}}',
                ),
                Refused(
                    own, "box-1", "invalid_encoding", "not UTF-8", "vigie/v1/box-1/telemetry", b"\xff\xfe"
                ),
            ],
            door="mqtt",
            now=NOW,
        )
        long = ("é" * 40_000).encode()
        await quarantine(
            connection,
            [
                Refused(own, "box-2", "unknown_metric", "no warp", None, b"x" + long),
                Refused(None, "gh\x00ost", "unknown_box", "who?", None, b""),
            ],
            door="http",
            now=NOW + timedelta(minutes=1),
        )
    finally:
        await connection.close()


@pytest.mark.usefixtures("refused")
async def test_quarantine_is_listed_newest_first(tenant: Tenant, api: httpx.AsyncClient) -> None:
    rows = await listed(tenant.client, "/v1/quarantine")
    assert [(row["box"], row["door"], row["code"]) for row in rows] == [
        ("box-2", "http", "unknown_metric"),
        ("box-1", "mqtt", "invalid_encoding"),
        ("box-1", "mqtt", "unknown_metric"),
    ]
    long, binary, plain = rows
    assert (plain["payload"], plain["payload_encoding"]) == ('{"values":{"warp":1}}', "utf-8")
    assert plain["topic"] == "vigie/v1/box-1/telemetry"
    assert plain["received_at"] == "2026-11-24T10:00:00Z"
    assert (base64.b64decode(binary["payload"]), binary["payload_encoding"]) == (b"\xff\xfe", "base64")
    # Cut in the middle of a character, which is left out.
    assert (long["payload"], long["payload_bytes"]) == ("x" + "é" * 1023, 80_001)
    whole = (await tenant.client.get(f"/v1/quarantine/{long['id']}")).json()
    assert whole["payload"] == "x" + "é" * 32_767
    assert len(await listed(api, "/v1/quarantine")) == 4


@pytest.mark.usefixtures("refused")
async def test_quarantine_is_filtered_and_counted(tenant: Tenant, api: httpx.AsyncClient) -> None:
    client = tenant.client
    assert len(await listed(client, "/v1/quarantine", box="box-1")) == 2
    assert len(await listed(client, "/v1/quarantine", code="unknown_metric")) == 2
    assert len(await listed(client, "/v1/quarantine", door="http")) == 1
    assert len(await listed(client, "/v1/quarantine", from_="2026-11-24T10:00:30Z")) == 1
    assert len(await listed(client, "/v1/quarantine", to="2026-11-24T10:00:30Z", limit=1)) == 1
    assert await listed(client, "/v1/quarantine/counts", box="box-1") == [
        {"code": "invalid_encoding", "door": "mqtt", "count": 1},
        {"code": "unknown_metric", "door": "mqtt", "count": 1},
    ]
    everything = await listed(api, "/v1/quarantine/counts")
    assert {"code": "unknown_box", "door": "http", "count": 1} in everything
    for params in ({"door": "window"}, {"code": "A B"}, {"limit": 0}, {"from": "x"}, {"box": "a\x00"}):
        assert (await client.get("/v1/quarantine", params=params)).status_code == 422, params


@pytest.mark.usefixtures("refused")
async def test_another_organisations_quarantine_does_not_exist(
    tenant: Tenant, other_tenant: Tenant, api: httpx.AsyncClient
) -> None:
    assert await listed(other_tenant.client, "/v1/quarantine") == []
    for row in await listed(api, "/v1/quarantine"):
        assert (await other_tenant.client.get(f"/v1/quarantine/{row['id']}")).status_code == 404
    assert (await tenant.client.get("/v1/quarantine/nope")).status_code == 404
