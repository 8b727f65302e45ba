"""Quarantine on a real database: what is written, listed, counted, deleted, and purged for its age."""

import base64
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest

from app.platform.db.database import Database
from app.quarantine.entry_writer import RejectedInput, purge_quarantine, write_quarantine_entries
from tests.conftest import Tenant
from tests.integration.timeseries.lists import listed

NOW = datetime(2026, 11, 24, 10, tzinfo=UTC)


@pytest.fixture
async def refused(tenant: Tenant, database: Database) -> None:
    """Three refusals of the tenant's, and one of nobody's."""
    own = UUID(tenant.id)
    connection = await database.connect()
    try:
        await write_quarantine_entries(
            connection,
            [
                RejectedInput(
                    own,
                    "box-1",
                    "unknown_metric",
                    "no warp",
                    "vigie/v1/box-1/telemetry",
                    b'{"values":{"warp":1}}',
                ),
                RejectedInput(
                    own, "box-1", "invalid_encoding", "not UTF-8", "vigie/v1/box-1/telemetry", b"\xff\xfe"
                ),
            ],
            door="mqtt",
            now=NOW,
        )
        long = ("é" * 40_000).encode()
        await write_quarantine_entries(
            connection,
            [
                RejectedInput(own, "box-2", "unknown_metric", "no warp", None, b"x" + long),
                RejectedInput(None, "gh\x00ost", "unknown_box", "who?", None, b""),
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
        {"code": "invalid_encoding", "door": "mqtt", "count": 1, "replayed": 0},
        {"code": "unknown_metric", "door": "mqtt", "count": 1, "replayed": 0},
    ]
    everything = await listed(api, "/v1/quarantine/counts")
    assert {"code": "unknown_box", "door": "http", "count": 1, "replayed": 0} in everything
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


async def pages(client: httpx.AsyncClient, **params: Any) -> list[dict[str, Any]]:  # noqa: ANN401 (a query)
    """All rows of the counts, two a page."""
    rows: list[dict[str, Any]] = []
    cursor = None
    while True:
        asked = {**params, "limit": 2} | ({} if cursor is None else {"cursor": cursor})
        page = (await client.get("/v1/quarantine/counts", params=asked)).raise_for_status().json()
        rows += page["data"]
        cursor = page["next"]
        if cursor is None:
            return rows


async def test_counts_come_by_reason_box_and_day_in_pages(
    tenant: Tenant, api: httpx.AsyncClient, database: Database
) -> None:
    own = UUID(tenant.id)
    connection = await database.connect()
    try:
        days: list[list[str | None]] = [["a", "b", "c"], ["a", "b", None], ["a", None]]
        for day, boxes in enumerate(days):
            refused = [
                RejectedInput(own, box, f"code_{box or 'none'}", "d", "t", b"x")
                for box in boxes
                for _ in range(2)
            ]
            await write_quarantine_entries(connection, refused, door="mqtt", now=NOW + timedelta(days=day))
        await write_quarantine_entries(
            connection, [RejectedInput(None, "z", "code_z", "d", None, b"x")], door="http", now=NOW
        )
        await connection.execute("UPDATE quarantine SET replayed_at = now() WHERE box = 'b'")
    finally:
        await connection.close()
    client = tenant.client
    assert [(row["box"], row["count"], row["replayed"]) for row in await pages(client, group_by="box")] == [
        ("a", 6, 0),
        (None, 4, 0),
        ("b", 4, 4),
        ("c", 2, 0),
    ]
    assert [(row["code"], row["door"], row["count"]) for row in await pages(api)] == [
        ("code_a", "mqtt", 6),
        ("code_b", "mqtt", 4),
        ("code_none", "mqtt", 4),
        ("code_c", "mqtt", 2),
        ("code_z", "http", 1),
    ]
    assert await pages(client, group_by="day") == [
        {"day": "2026-11-26", "count": 4, "replayed": 0},
        {"day": "2026-11-25", "count": 6, "replayed": 2},
        {"day": "2026-11-24", "count": 6, "replayed": 2},
    ]
    assert await pages(client, group_by="code", replayed="true") == [
        {"code": "code_b", "door": "mqtt", "count": 4, "replayed": 4}
    ]
    first = (await client.get("/v1/quarantine/counts", params={"group_by": "box", "limit": 1})).json()["next"]
    for params in ({"group_by": "hour"}, {"group_by": "day", "cursor": first}, {"cursor": "x"}):
        assert (await client.get("/v1/quarantine/counts", params=params)).status_code == 422


@pytest.mark.usefixtures("refused")
async def test_an_entry_is_deleted_by_whose_it_is(
    tenant: Tenant, other_tenant: Tenant, api: httpx.AsyncClient
) -> None:
    rows = await listed(tenant.client, "/v1/quarantine")
    address = f"/v1/quarantine/{rows[0]['id']}"
    assert (await other_tenant.client.delete(address)).status_code == 404
    assert (await tenant.client.delete(address)).status_code == 204
    assert (await tenant.client.delete(address)).status_code == 404
    assert (await tenant.client.get(address)).status_code == 404
    assert len(await listed(api, "/v1/quarantine")) == 3


@pytest.mark.usefixtures("refused")
async def test_what_is_old_is_purged_but_what_is_being_replayed(database: Database) -> None:
    connection, other = await database.connect(), await database.connect()
    try:
        await connection.execute(
            "UPDATE quarantine SET received_at = now() - interval '31 days' WHERE box = 'box-1'"
        )
        await connection.execute(
            "UPDATE quarantine SET received_at = now() - interval '29 days' WHERE box <> 'box-1'"
        )
        assert await purge_quarantine(connection, keep_days=0) == 0
        async with other.transaction():
            await other.execute("SELECT FROM quarantine WHERE code = 'invalid_encoding' FOR UPDATE")
            assert await purge_quarantine(connection, keep_days=30) == 1
        assert await purge_quarantine(connection, keep_days=30) == 1
        assert await connection.fetchval("SELECT count(*) FROM quarantine WHERE box = 'box-2'") == 1
    finally:
        await connection.close()
        await other.close()
