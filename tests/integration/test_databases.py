"""What a test gets is as new, whatever was done to it before."""

import asyncpg
import pytest

from app.standalone.private_postgres import PrivatePostgres
from tests.conftest import Settlement
from tests.databases import Databases

TEN_DAYS = """
    INSERT INTO samples (box_key, time) SELECT 1, t
    FROM generate_series(now(), now() + interval '9 days', '1 day') t
"""


async def left(databases: Databases, url: str, *statements: str) -> bool:
    """Whether a database can be given out again after these."""
    connection = await asyncpg.connect(url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()
    return await databases.clean(url)


async def test_rows_numbers_and_chunks_are_gone(databases: Databases, database_url: str) -> None:
    assert await left(
        databases,
        database_url,
        TEN_DAYS,
        "INSERT INTO heartbeats VALUES ('ingest', 'here', 'consuming', now())",
        "SELECT nextval('boxes_key_seq')",
        "UPDATE registry SET version = version + 1",
        "DELETE FROM metrics",
        "CREATE TEMPORARY TABLE passing (a int)",
    )
    connection = await asyncpg.connect(database_url)
    try:
        assert await connection.fetchval("SELECT count(*) FROM show_chunks('samples')") == 0
        assert await connection.fetchval("SELECT count(*) FROM samples") == 0
        assert await connection.fetchval("SELECT count(*) FROM heartbeats") == 0
        assert await connection.fetchval("SELECT nextval('boxes_key_seq')") == 1
        assert await connection.fetchval("SELECT count(*) FROM metrics WHERE name = 'pm2_5'") == 1
    finally:
        await connection.close()


async def test_one_that_tenants_begin_with_comes_back_too(settlement: Settlement) -> None:
    url = await settlement.with_site.take()
    assert await left(settlement.with_site, url, "DELETE FROM sites", "DELETE FROM register_changes")
    connection = await asyncpg.connect(url)
    try:
        assert await connection.fetchval("SELECT id::text FROM sites") == settlement.site_id
    finally:
        await connection.close()
    settlement.with_site.give_back(url)


async def test_rows_are_gone_also_when_the_server_has_counted_anew(
    databases: Databases, database_url: str, postgres: PrivatePostgres
) -> None:
    heartbeat = "INSERT INTO heartbeats VALUES ('ingest', 'here', 'consuming', now())"
    # In a new database no row was counted: an equal count must not pass for what was known before.
    assert await left(databases, database_url)
    connection = await asyncpg.connect(
        f"{postgres.superuser_url.rpartition('/')[0]}/{database_url.rpartition('/')[2]}"
    )
    try:
        await connection.execute(heartbeat)
        await connection.execute("SELECT pg_stat_force_next_flush()")
        await connection.execute("SELECT pg_stat_reset()")
    finally:
        await connection.close()
    assert await left(databases, database_url)
    connection = await asyncpg.connect(database_url)
    try:
        assert await connection.fetchval("SELECT count(*) FROM heartbeats") == 0
    finally:
        await connection.close()


@pytest.mark.parametrize("statement", ["TRUNCATE metrics", "DELETE FROM metrics"])
async def test_first_rows_come_back(databases: Databases, database_url: str, statement: str) -> None:
    assert await left(databases, database_url)
    assert await left(databases, database_url, statement)
    connection = await asyncpg.connect(database_url)
    try:
        assert await connection.fetchval("SELECT count(*) FROM metrics WHERE name = 'pm2_5'") == 1
    finally:
        await connection.close()


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE samples ADD CONSTRAINT poison CHECK (pm2_5 <> 666)",
        "ALTER TABLE boxes DISABLE TRIGGER USER",
        "ALTER TABLE boxes RENAME COLUMN name TO called",
        "ALTER TABLE boxes ALTER COLUMN name SET DEFAULT 'x'",
        "CREATE TABLE another ()",
        "CREATE SCHEMA another",
        "CREATE INDEX another ON boxes (name)",
        "DROP INDEX ix_quarantine_box",
        "GRANT SELECT ON boxes TO public",
        "ALTER TABLE metrics ENABLE ROW LEVEL SECURITY",
        "ALTER TABLE boxes SET (fillfactor = 50)",
        "CREATE FUNCTION another() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET jit = off', current_database()); END $$",
    ],
)
async def test_another_schema_is_not_given_out(
    databases: Databases, database_url: str, statement: str
) -> None:
    assert not await left(databases, database_url, statement)


async def test_nor_one_that_grew_or_that_somebody_uses(databases: Databases, database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        assert not await databases.clean(database_url)
    finally:
        await connection.close()
    assert await left(databases, database_url)
    long = "SELECT 'a', 'b', string_agg(md5(n::text), ''), now() FROM generate_series(1, 500000) n"
    assert not await left(databases, database_url, "INSERT INTO heartbeats " + long)
