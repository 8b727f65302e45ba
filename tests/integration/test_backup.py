"""A backup as docs/operations/backups.md has it: dumped by the owner while all runs, restored elsewhere."""

import asyncio
import uuid
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest

from app.audit.hash_chain import ChainVerifier
from app.audit.verification import verify_log
from app.standalone import private_postgres as programs
from app.standalone.private_postgres import PrivatePostgres
from tests.conftest import Tenant

DOCS = Path(__file__).parents[2] / "docs" / "operations" / "backups.md"
_BIN = programs.find_postgres_binaries() or Path()
_TABLES = """
    SELECT c.oid::regclass::text, relrowsecurity AND relforcerowsecurity
    FROM pg_class c WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace ORDER BY 1
"""


async def _run(program: str, *arguments: str) -> tuple[int, str]:
    running = await asyncio.create_subprocess_exec(
        *(str(_BIN / program), *arguments), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    told, _ = await running.communicate()
    return running.returncode or 0, told.decode()


async def _content(url: str) -> tuple[list[tuple[str, bool]], dict[str, int]]:
    """The tables and whether policies hold in them, and how many rows each has."""
    connection = await asyncpg.connect(url)
    tables = [(str(name), bool(held)) for name, held in await connection.fetch(_TABLES)]
    rows = {name: await connection.fetchval(f"SELECT count(*) FROM {name}") for name, _ in tables}  # noqa: S608
    await connection.close()
    return tables, rows


@pytest.fixture
async def box(tenant: Tenant, other_tenant: Tenant, site_id: str) -> str:
    """A box that has measured, beside another tenant's webhook."""
    (await tenant.client.post("/v1/boxes", json={"id": "box-1", "site_id": site_id})).raise_for_status()
    sample = {"time": "2026-01-02T03:04:05Z", "values": {"pm2_5": 31.2}}
    answer = await tenant.client.post("/v1/telemetry", json={"box": "box-1", "samples": [sample]})
    answer.raise_for_status()
    (await other_tenant.client.post("/v1/webhooks", json={"url": "http://127.0.0.1:9/"})).raise_for_status()
    return "box-1"


@pytest.mark.usefixtures("box")
async def test_what_the_owner_dumps_a_superuser_restores_whole(
    postgres: PrivatePostgres, database_url: str, tenant: Tenant, folder: Path
) -> None:
    dump = folder / "vigie.dump"
    command = ("--enable-row-security", "--format=custom", f"--file={dump}")
    for word in command[:2]:
        assert word in DOCS.read_text()
    status, told = await _run("pg_dump", *command, database_url)
    assert status == 0, told
    # Without it the dump is refused, rather than a part of it made.
    status, told = await _run("pg_dump", "--format=custom", f"--file={folder / 'other'}", database_url)
    assert (status, "row-level security" in told) == (1, True), told

    name = f"restored_{uuid.uuid4().hex[:8]}"
    server = postgres.superuser_url.rpartition("/")[0]
    admin = await asyncpg.connect(postgres.superuser_url)
    await admin.execute(f"CREATE DATABASE {name}")
    await admin.close()
    target = await asyncpg.connect(f"{server}/{name}")
    await target.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")
    await target.execute("SELECT timescaledb_pre_restore()")
    status, told = await _run("pg_restore", f"--dbname={server}/{name}", str(dump))
    assert status == 0, told
    await target.execute("SELECT timescaledb_post_restore()")

    owner = database_url.rpartition("/")[0]
    before, after = await _content(database_url), await _content(f"{owner}/{name}")
    assert after == before
    tables, rows = after
    assert sum(held for _, held in tables) > 20
    assert (rows["samples"], rows["webhook_endpoints"], rows["organisations"]) == (1, 1, 3)
    verifier = ChainVerifier(())
    await target.execute("SET vigie.reach = 'all'")
    async with target.transaction():
        assert [finding async for finding in verify_log(target, verifier, None, lambda _: None)] == []
    assert verifier.entries > 0
    assert await target.fetchval("SELECT count(*) FROM audit_log WHERE organisation_id = $1", UUID(tenant.id))
    await target.close()
