"""The migration of the quarantine, on a database that has data."""

import asyncio
import uuid

import asyncpg

from app.platform.config.platform_settings import DatabaseSettings
from app.platform.db.schema_upgrade import downgrade, upgrade
from app.standalone.private_postgres import PrivatePostgres

_DATA = (
    "INSERT INTO organisations (id, name, created_at, updated_at) VALUES ($1, 'o', now(), now())",
    """
    INSERT INTO sites (id, organisation_id, name, kind, timezone, longitude, latitude, created_at, updated_at)
    VALUES ($1, $1, 's', 'street', 'UTC', 0, 0, now(), now())
    """,
    """
    INSERT INTO boxes
        (id, organisation_id, site_id, interval_s, ack, password_hash, created_at, updated_at, deleted_at)
    SELECT id, $1, $1, 60, false, '', now(), now(), now() - days * interval '1 day'
    FROM (VALUES ('here', NULL), ('gone', 2), ('gone', 1)) AS b (id, days)
    """,
    """
    INSERT INTO quarantine (id, received_at, organisation_id, box, door, code, detail, payload, payload_bytes)
    SELECT gen_random_uuid(), now(), $1, 'here', 'mqtt', 'topic', '', 'x', 1 FROM generate_series(1, 1000)
    """,
)


async def test_it_goes_up_on_data_and_down_again(postgres: PrivatePostgres) -> None:
    url = await postgres.create_database(f"migrate_{uuid.uuid4().hex[:8]}")
    settings = DatabaseSettings(url=url, lock_timeout_s=1)
    await asyncio.to_thread(downgrade, settings, "0003")
    organisation = uuid.uuid4()
    connection = await asyncpg.connect(url)
    try:
        for statement in _DATA:
            await connection.execute(statement, organisation)
        # A transaction that reads other tables meanwhile is not in its way.
        async with connection.transaction():
            await connection.execute("SELECT FROM samples")
            await asyncio.to_thread(upgrade, settings, "0004")
        row = await connection.fetchrow("SELECT count(*), sum(attempts), count(replayed_at) FROM quarantine")
        assert row is not None
        assert tuple(row) == (1000, 0, 0)
        former = await connection.fetch("SELECT box, until > now() - interval '25 hours' FROM former_boxes")
        assert [tuple(row) for row in former] == [("gone", True)]
        # Purged boxes leave their name; boxes that go from now on do so at once.
        await connection.execute("DELETE FROM boxes WHERE deleted_at IS NOT NULL")
        await connection.execute("UPDATE boxes SET deleted_at = now()")
        former = await connection.fetch("SELECT box FROM former_boxes ORDER BY box")
        assert [box for (box,) in former] == ["gone", "here"]
        await asyncio.to_thread(downgrade, settings, "0003")
        assert await connection.fetchval("SELECT count(*) FROM quarantine") == 1000
    finally:
        await connection.close()
