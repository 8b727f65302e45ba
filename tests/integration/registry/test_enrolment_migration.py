"""Migration 0003 on a database that is in use: what is there stays, and it does not wait for ever."""

import asyncio
import uuid

import asyncpg
import pytest
from sqlalchemy.exc import DBAPIError

from app.platform.config.platform_settings import DatabaseSettings
from app.platform.db.schema_upgrade import downgrade, upgrade
from app.standalone.private_postgres import PrivatePostgres
from tests import shifted_clock

ORGANISATION, SITE = uuid.uuid4(), uuid.uuid4()


@pytest.fixture
async def before(postgres: PrivatePostgres) -> DatabaseSettings:
    """A database at 0002, with a box."""
    url = await postgres.create_database(f"migrate_{uuid.uuid4().hex[:8]}")
    settings = DatabaseSettings(url=url, lock_timeout_s=0.2)
    await asyncio.to_thread(downgrade, settings, "0002")
    connection = await asyncpg.connect(url)
    await connection.execute("INSERT INTO organisations VALUES ($1, 'o', false, now(), now())", ORGANISATION)
    await connection.execute(
        "INSERT INTO sites VALUES ($1, $2, 's', 'street', 'UTC', 1, 2, NULL, 0, now(), now())",
        SITE,
        ORGANISATION,
    )
    await connection.execute(
        "INSERT INTO boxes"
        " (id, organisation_id, site_id, interval_s, ack, password_hash, created_at, updated_at)"
        " VALUES ('box-1', $1, $2, 60, true, '$7$', now(), now())",
        ORGANISATION,
        SITE,
    )
    await connection.close()
    return settings


async def test_boxes_keep_their_credentials_and_claims_go_with_their_site(before: DatabaseSettings) -> None:
    await asyncio.to_thread(upgrade, before, "0003")
    connection = await asyncpg.connect(before.url)
    box = await connection.fetchrow("SELECT password_hash, revoked_at FROM boxes")
    assert box is not None
    assert tuple(box) == ("$7$", None)
    await connection.execute(
        "INSERT INTO claims (id, organisation_id, site_id, hint, hash, boxes, created_at, expires_at)"
        " VALUES ($1, $2, $3, '7Q', '\\x00', 2, now(), now())",
        uuid.uuid4(),
        ORGANISATION,
        SITE,
    )
    with pytest.raises(asyncpg.CheckViolationError):
        await connection.execute("UPDATE claims SET used = 3")
    await connection.execute("DELETE FROM boxes")
    await connection.execute("DELETE FROM sites")
    assert await connection.fetchval("SELECT count(*) FROM claims") == 0
    await connection.close()
    await asyncio.to_thread(downgrade, before, "0002")


@shifted_clock.WAITS_IN_POSTGRESQL
async def test_a_long_transaction_makes_it_fail_soon_and_whole(before: DatabaseSettings) -> None:
    connection = await asyncpg.connect(before.url)
    async with connection.transaction():
        await connection.fetch("SELECT * FROM boxes")
        with pytest.raises(DBAPIError, match="lock timeout"):
            await asyncio.to_thread(upgrade, before, "0003")
    assert await connection.fetchval("SELECT version_num FROM alembic_version") == "0002"
    assert await connection.fetchval("SELECT to_regclass('claims') IS NULL")
    await connection.close()
    await asyncio.to_thread(upgrade, before, "0003")
