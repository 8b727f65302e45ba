"""Statuses of a box that come through several edges, as they are stored."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import asyncpg
import pytest

from app.platform.broker.edges import EdgeReport, report_edge
from app.platform.db.database import Database
from app.registry.box_status_writer import StatusRow, store_statuses
from tests.conftest import Tenant

NOW = datetime.now(UTC)


@pytest.fixture
async def connection(database: Database) -> AsyncIterator[asyncpg.Connection]:
    connection = await database.connect()
    for edge in "ab":
        report = EdgeReport(edge, "127.0.0.1", 1883, NOW, True, NOW, 1, 0, None)
        await report_edge(connection, report)
    yield connection
    await connection.close()


@pytest.fixture
async def key(tenant: Tenant, site_id: str, connection: asyncpg.Connection) -> int:
    (await tenant.client.post("/v1/boxes", json={"id": "box-1", "site_id": site_id})).raise_for_status()
    found: int = await connection.fetchval("SELECT key FROM boxes")
    return found


@pytest.mark.parametrize(
    ("batch", "stored"),
    [
        ("offline@b", ("offline", "b")),
        ("offline@a", ("online", "b")),
        ("online@a", ("online", "a")),
        ("online@a offline@a", ("offline", "a")),
        ("offline@b online@a offline@a", ("offline", "a")),
        ("online@a offline@b", ("online", "a")),
        ("online@a offline@a offline@b", ("offline", "a")),
        ("online@a offline@a online@b", ("online", "b")),
    ],
)
@pytest.mark.parametrize("is_split", [False, True], ids=["one batch", "a batch each"])
async def test_a_box_that_was_online_through_one_edge_is_as_the_newest_one_says(
    connection: asyncpg.Connection,
    key: int,
    batch: str,
    stored: tuple[str, str],
    is_split: bool,  # noqa: FBT001 (a parameter of the test)
) -> None:
    await store_statuses(connection, {key: StatusRow("online", None, None, None, ("b",))}, now=NOW)
    rows: list[StatusRow] = []
    for each in batch.split():
        state, edge = each.split("@")
        row = StatusRow(state, None, None, None, (edge,))
        rows = [*rows, row] if is_split else [row.over(rows[0] if rows else None)]
    for row in rows:
        await store_statuses(connection, {key: row}, now=NOW)
    (found,) = await connection.fetch("SELECT state, edge FROM boxes")
    assert tuple(found) == stored
