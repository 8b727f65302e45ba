"""The totals on the screen are the database's: a second start does not look like a loss."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import date
from uuid import uuid4

import asyncpg
import pytest

from app.settings import VigieSettings
from app.standalone.traffic_counts import DatabaseTotals, StackMetrics

FRESH = StackMetrics(
    messages=3, stored=2, duplicates=0, quarantined=0, firing=1, deliveries={"delivered": 1.0}
)


@pytest.fixture
async def connection(settings: VigieSettings) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(settings.database.url)
    # Attempts without the deliveries, endpoints and alerts that they would need.
    await connection.execute(
        "ALTER TABLE delivery_attempts DROP CONSTRAINT delivery_attempts_delivery_id_fkey"
    )
    await connection.executemany(
        "INSERT INTO ingest_totals (day, door, backend, stored, duplicate, conflict, rejected, late) "
        "VALUES ($1, $2, 1, $3, $4, 0, $5, 0)",
        [(date(2026, 11, 27), "mqtt", 5000, 7, 3), (date(2026, 11, 28), "http", 200, 1, 0)],
    )
    yield connection
    await connection.close()


async def attempt(connection: asyncpg.Connection, reason: str) -> None:
    await connection.execute(
        "INSERT INTO delivery_attempts "
        "(id, delivery_id, endpoint_id, number, started_at, duration_ms, reason) "
        "VALUES ($1, $2, $3, 1, now(), 5, $4)",
        *(uuid4(), uuid4(), uuid4(), reason),
    )


async def test_a_second_start_goes_on_from_what_is_stored(
    settings: VigieSettings, connection: asyncpg.Connection
) -> None:
    for reason in ("delivered", "delivered", "delivered", "timeout"):
        await attempt(connection, reason)
    async with aclosing(DatabaseTotals(settings.database.url)) as totals:
        shown = await totals.complete(FRESH)
        assert shown is not None
        assert (shown.messages, shown.firing) == (3, 1)
        assert (shown.stored, shown.duplicates, shown.quarantined) == (5200, 8, 3)
        # One of the three was made by the processes of this start.
        assert shown.deliveries == {"delivered": 3, "timeout": 1}
        await attempt(connection, "delivered")
        await connection.execute("UPDATE ingest_totals SET stored = stored + 10 WHERE door = 'http'")
        later = await totals.complete(StackMetrics(deliveries={"delivered": 2.0}))
        assert later is not None
        assert (later.stored, later.deliveries) == (5210, {"delivered": 4, "timeout": 1})
        # The processes count anew.
        again = await totals.complete(StackMetrics(deliveries={}))
        assert again is not None
        assert again.deliveries == {"delivered": 4, "timeout": 1}


async def test_a_database_that_goes_away_leaves_the_totals_as_they_were(
    settings: VigieSettings, connection: asyncpg.Connection
) -> None:
    async with aclosing(DatabaseTotals(settings.database.url)) as totals:
        await totals.complete(FRESH)
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'vigie-screen'"
        )
        await connection.execute("UPDATE ingest_totals SET stored = stored + 10 WHERE door = 'http'")
        shown = [await totals.complete(FRESH) for _ in range(2)]
        assert [each and each.stored for each in shown] == [5200, 5210]
        assert await totals.complete(None) is None


@pytest.mark.parametrize("database", [None, "postgresql://nobody@127.0.0.1:1/none"])
async def test_without_a_database_the_processes_figures_are_shown(database: str | None) -> None:
    async with aclosing(DatabaseTotals(database)) as totals:
        assert await totals.complete(FRESH) == FRESH
