"""Counts of what doors refuse for its purpose or its content: added by day, folded when the day is over."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from app.platform.db.database import Database
from app.registry.privacy_refusal_counts import RefusalCountKey, add_refusal_counts, fold_refusal_counts

NOW = datetime(2026, 11, 24, 10, 0, tzinfo=UTC)
NOBODY = RefusalCountKey(None, None, "forbidden_content", None)


@pytest.fixture
async def connection(database: Database) -> AsyncIterator[asyncpg.Connection]:
    opened = await database.connect()
    yield opened
    await opened.close()


async def rows(connection: asyncpg.Connection) -> list[tuple[Any, ...]]:
    found = await connection.fetch(
        "SELECT day, site_id, code, purpose, writer <> 0, refused FROM door_refusals ORDER BY day, code"
    )
    return [tuple(row) for row in found]


async def test_counts_of_a_day_add_up_in_one_row_of_each(
    connection: asyncpg.Connection, site_id: str
) -> None:
    owner = await connection.fetchval("SELECT organisation_id FROM sites")
    ended = RefusalCountKey(owner, UUID(site_id), "purpose_ended", "noise")
    for _ in range(2):
        await add_refusal_counts(connection, {NOBODY: 1, ended: 3}, door="mqtt", now=NOW)
    await add_refusal_counts(connection, {}, door="mqtt", now=NOW)
    assert await rows(connection) == [
        (NOW.date(), None, "forbidden_content", None, True, 2),
        (NOW.date(), UUID(site_id), "purpose_ended", "noise", True, 6),
    ]


async def test_days_that_are_over_are_folded_whoever_wrote_them(
    connection: asyncpg.Connection, database: Database
) -> None:
    other = await database.connect()
    for writer in (connection, other):
        await add_refusal_counts(writer, {NOBODY: 2}, door="http", now=NOW)
    await other.close()
    tomorrow = NOW + timedelta(days=1)
    await add_refusal_counts(connection, {NOBODY: 1}, door="http", now=tomorrow)
    await fold_refusal_counts(connection, tomorrow)
    today = (tomorrow.date(), None, "forbidden_content", None, True, 1)
    assert await rows(connection) == [(NOW.date(), None, "forbidden_content", None, False, 4), today]
    # A batch that began before midnight, and was slow.
    await add_refusal_counts(connection, {NOBODY: 5}, door="http", now=NOW)
    await fold_refusal_counts(connection, tomorrow)
    assert await rows(connection) == [(NOW.date(), None, "forbidden_content", None, False, 9), today]
