"""The migrations of people, and the ways back, on data."""

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


async def test_former_sign_ins_are_told_apart_and_factors_go_on_the_way_back(
    postgres: PrivatePostgres,
) -> None:
    settings = await fresh(postgres)
    await asyncio.to_thread(downgrade, settings, "0040")
    connection = await asyncpg.connect(settings.url)
    await connection.execute("SELECT set_config('vigie.reach', 'all', false)")
    organisation, ada, pia = (UUID(int=number) for number in (1, 2, 3))
    await connection.execute(
        "INSERT INTO organisations (id, name, created_at, updated_at) VALUES ($1, 'o', now(), now())",
        organisation,
    )
    insert = "INSERT INTO users VALUES ($1, $2, 'x', 'en', $3, now(), now())"
    await connection.execute(insert, ada, "ada@example.com", "hash")
    await connection.execute(insert, pia, "pia@example.com", None)
    session = (
        "INSERT INTO user_sessions VALUES ($1, sha256($2), $3, $4, now() - interval '1 day',"
        " now() + interval '1 day', now(), '', '')"
    )
    for person in (ada, pia):
        await connection.execute(session, person, person.bytes, person, organisation)
    logged = "SELECT count(*) FROM audit_log"
    before = await connection.fetchval(logged)
    await asyncio.to_thread(upgrade, settings, "0041")
    assert await connection.fetchval(logged) == before
    rows = await connection.fetch("SELECT * FROM user_sessions ORDER BY id")
    assert [row["method"] for row in rows] == ["password", "provider"]
    assert all(row["authenticated_at"] == row["created_at"] for row in rows)
    assert await connection.fetchval("SELECT second_factor_required FROM organisations") is False
    assert [row["second_factor_at"] for row in await connection.fetch("SELECT * FROM users")] == [None, None]
    # As the version before inserts it.
    await connection.execute(session, UUID(int=4), b"4", ada, organisation)
    await connection.execute("UPDATE user_sessions SET method = 'passkey' WHERE id = $1", UUID(int=4))
    await connection.execute(
        "INSERT INTO passkeys VALUES ($1, $1, '1', '1', 0, '{}', 'phone', now(), NULL)", ada
    )
    actions = "SELECT action FROM audit_log WHERE action LIKE 'passkey%'"
    assert [row["action"] for row in await connection.fetch(actions)] == ["passkey.created"]
    await asyncio.to_thread(downgrade, settings, "0040")
    left = await connection.fetch("SELECT user_id FROM user_sessions ORDER BY id")
    assert [row["user_id"] for row in left] == [ada, pia]
    # Changes of people and organisations are recorded and announced as before.
    await connection.execute("UPDATE users SET locale = 'fr' WHERE id = $1", ada)
    await connection.execute("UPDATE organisations SET name = 'p'")
    last = "SELECT action FROM audit_log WHERE action ~ 'updated' ORDER BY at, position"
    assert [row["action"] for row in await connection.fetch(last)][-2:] == [
        "user.updated",
        "organisation.updated",
    ]
    await asyncio.to_thread(upgrade, settings)
    await connection.close()


async def test_second_factors_wait_for_whoever_signs_in_and_change_nothing_then(
    postgres: PrivatePostgres,
) -> None:
    settings = (await fresh(postgres)).model_copy(update={"lock_timeout_s": 0.2})
    await asyncio.to_thread(downgrade, settings, "0040")
    connection = await asyncpg.connect(settings.url)
    async with connection.transaction():
        await connection.execute("SELECT FROM user_sessions")
        with pytest.raises(Exception, match="lock timeout"):
            await asyncio.to_thread(upgrade, settings, "0041")
    assert await connection.fetchval("SELECT version_num FROM alembic_version") == "0040"
    assert await connection.fetchval("SELECT to_regclass('passkeys')") is None
    await asyncio.to_thread(upgrade, settings, "0041")
    await connection.close()
