"""What the program tells the log: of its caller's organisations alone, and nothing but what it is for."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator

import asyncpg
import pytest

from app.audit.hash_chain import ChainVerifier
from app.audit.verification import verify_log
from app.platform.config.platform_settings import DatabaseSettings
from app.platform.db.schema_upgrade import downgrade, upgrade
from app.processes.audit_cli import open_log_snapshot
from app.standalone.private_postgres import PrivatePostgres
from tests.integration.access.test_sql import as_role
from tests.integration.audit.logs import entries

MINE, OTHERS = (str(uuid.UUID(int=number)) for number in (1, 2))
NOBODYS = str(uuid.UUID(int=0))
RECORD = "SELECT audit_record($1::text::uuid, $2, $3::text::jsonb, NULL)"


def subject(kind: str) -> str:
    return json.dumps({"kind": kind, "id": None})


@pytest.fixture
async def api(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    async with as_role(database_url, "vigie_api", reach=MINE) as connection:
        yield connection


@pytest.mark.parametrize("action", ["member.read", "audit.read", "access.refused", "session.refused"])
async def test_what_it_is_for(api: asyncpg.Connection, owner: asyncpg.Connection, action: str) -> None:
    await api.execute(RECORD, MINE, action, subject(action.partition(".")[0]))
    (entry,) = await entries(owner, MINE)
    assert (entry["action"], entry["source"]) == (action, "program")


@pytest.mark.parametrize(
    ("action", "kind"),
    [
        ("site.updated", "site"),
        ("organisation.deleted", "organisation"),
        ("session.created", "session"),
        ("member.read", "site"),
        ("member.read.all", "member"),
        ("member.read\n", "member"),
        (".read", ""),
        ("", ""),
    ],
)
async def test_changes_are_not_its_to_tell(
    api: asyncpg.Connection, owner: asyncpg.Connection, action: str, kind: str
) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="is not for the program to record"):
        await api.execute(RECORD, MINE, action, subject(kind))
    for value in ("null", "[]", "{}"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await api.execute(RECORD, MINE, "member.read", value)
    assert await entries(owner, MINE) == []


@pytest.mark.parametrize("whose", [OTHERS, NOBODYS, None])
async def test_nobody_writes_to_anothers_log(
    api: asyncpg.Connection, owner: asyncpg.Connection, whose: str | None
) -> None:
    for reach in (MINE, ""):
        await api.execute("SELECT set_config('vigie.reach', $1, false)", reach)
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="out of reach"):
            await api.execute(RECORD, whose, "member.read", subject("member"))
    assert await owner.fetchval("SELECT count(*) FROM audit_log") == 0
    # Refused sign-ins are told by the program for everybody.
    await api.execute("SELECT set_config('vigie.reach', 'all', false)")
    if whose is not None:
        await api.execute(RECORD, whose, "session.refused", subject("user"))
        assert len(await entries(owner, whose)) == 1


@pytest.mark.parametrize("role", ["vigie_ingest", "vigie_deliver", "vigie_maintain"])
async def test_no_other_process_tells_anything(database_url: str, role: str) -> None:
    async with as_role(database_url, role, reach="all") as connection:
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="permission denied"):
            await connection.execute(RECORD, MINE, "member.read", subject("member"))


async def test_what_was_written_before_entries_said_it_is_still_verified(postgres: PrivatePostgres) -> None:
    url = await postgres.create_database(f"sources_{uuid.uuid4().hex[:8]}")
    settings = DatabaseSettings.model_validate({"url": url})
    await asyncio.to_thread(upgrade, settings)
    made = (
        "INSERT INTO organisations (id, name, kind, platform, created_at, updated_at)"
        " VALUES (gen_random_uuid(), 'o', 'client', false, now(), now())"
    )
    connection = await asyncpg.connect(url)
    await asyncio.to_thread(downgrade, settings, "0016")
    await connection.execute(made)
    first = str(await connection.fetchval("SELECT organisation_id FROM audit_log"))
    await connection.execute("UPDATE organisations SET name = 'before'")
    await asyncio.to_thread(upgrade, settings)
    await connection.execute("UPDATE organisations SET name = 'after'")
    await connection.execute(RECORD, first, "member.read", subject("member"))
    await asyncio.to_thread(downgrade, settings, "0016")
    await connection.execute("UPDATE organisations SET name = 'back'")
    told = [each.get("source") for each in await entries(connection, first)]
    assert told == [None, None, "trigger", "program", None]
    await connection.close()
    verifier = ChainVerifier()
    async with open_log_snapshot(settings) as looking:
        assert [finding async for finding in verify_log(looking, verifier, None, lambda _: None)] == []
    assert verifier.entries == 5
