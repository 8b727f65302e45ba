"""The migration that lets an e-mail address have several accounts, and the way back, on data."""

import asyncio
from uuid import UUID

import asyncpg
import pytest

from app.platform.db.schema_upgrade import downgrade, upgrade
from app.standalone.private_postgres import PrivatePostgres
from tests.integration.test_migrations import fresh


async def test_each_address_has_one_account_again(postgres: PrivatePostgres) -> None:
    settings = await fresh(postgres)
    await asyncio.to_thread(downgrade, settings, "0016")
    connection = await asyncpg.connect(settings.url)
    insert = "INSERT INTO users VALUES ($1, $2, 'Ada', 'en', 'hash', now(), now())"
    first, second, other = (UUID(int=number) for number in (1, 2, 3))
    await connection.execute(insert, first, "ada@example.com")
    with pytest.raises(asyncpg.UniqueViolationError):
        await connection.execute(insert, second, "ada@example.com")
    await asyncio.to_thread(upgrade, settings, "0017")
    await connection.execute(insert, second, "ada@example.com")
    await connection.execute(insert, other, "bob@example.com")
    await asyncio.to_thread(downgrade, settings, "0016")
    rows = await connection.fetch("SELECT email, password_hash FROM users ORDER BY id")
    # Nothing of the later account is lost but its address.
    assert [row["email"] for row in rows] == [
        "ada@example.com",
        f"ada+{second}@example.com",
        "bob@example.com",
    ]
    assert {row["password_hash"] for row in rows} == {"hash"}
    with pytest.raises(asyncpg.UniqueViolationError):
        await connection.execute(insert, UUID(int=4), "ada@example.com")
    await asyncio.to_thread(upgrade, settings)
    await connection.close()
