"""`deploy/roles.sql`, on a server where nobody else made the roles, by `psql` as an administrator would."""

import asyncio
import json
import os
import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import text

from app.platform.config.platform_settings import DatabaseSettings
from app.platform.db.database import Database
from app.platform.db.schema_upgrade import upgrade
from app.platform.kernel.tenant_scope import FULL_SCOPE, ScopedCaller, run_as_caller
from app.platform.secrets.sealing import generate_encryption_key
from app.standalone import doctor_database, private_postgres
from app.standalone.private_postgres import LOGINS, PrivatePostgres

SCRIPT = Path(__file__).parents[2] / "deploy" / "roles.sql"
NAME = "city"
_PSQL = (private_postgres.find_postgres_binaries() or Path()) / "psql"


async def psql(url: str, *arguments: str) -> tuple[int, str]:
    program = str(_PSQL) if _PSQL.exists() else shutil.which("psql")
    assert program is not None
    running = await asyncio.create_subprocess_exec(
        *(program, "-X", "-q", *arguments, url),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    told, _ = await running.communicate()
    return running.returncode or 0, told.decode()


@pytest.fixture
async def bare(tmp_path: Path) -> AsyncIterator[tuple[str, DatabaseSettings]]:
    """A server without the roles: the administrator's address, and an owner who may do nothing but own."""
    async with PrivatePostgres(tmp_path / "pg", durable=False) as server:
        admin = server.superuser_url
        connection = await asyncpg.connect(admin)
        for name in (*LOGINS, "vigie_public"):
            await connection.execute(f"DROP ROLE {name}")
        await connection.execute(f"CREATE ROLE {NAME} LOGIN PASSWORD 'of-the-owner'")
        await connection.execute(f"CREATE DATABASE {NAME} OWNER {NAME}")
        await connection.close()
        inside = await asyncpg.connect(admin, database=NAME)
        await inside.execute("CREATE EXTENSION timescaledb")
        await inside.close()
        url = f"postgresql://{NAME}:of-the-owner@127.0.0.1:{server.port}/{NAME}"
        yield admin, DatabaseSettings.model_validate({"url": url})


async def test_an_administrator_makes_the_roles_and_an_owner_without_rights_migrates(
    bare: tuple[str, DatabaseSettings],
) -> None:
    admin, settings = bare
    # Without them the migration says what is missing, and doctor what to run.
    with pytest.raises(
        Exception, match="the roles vigie_api, vigie_deliver, vigie_ingest, vigie_maintain are"
    ):
        await asyncio.to_thread(upgrade, settings)
    (missing,) = await asyncio.to_thread(lambda: list(doctor_database.examine_roles(settings)))
    assert missing.state == "missing"
    assert missing.fix == f"psql -v owner={NAME} -f deploy/roles.sql, as an administrator of the server"
    for _ in range(2):
        done = await psql(admin, "-v", f"owner={NAME}", "-f", str(SCRIPT))
        assert done == (0, "")
    connection = await asyncpg.connect(admin)
    rows = await connection.fetch(
        "SELECT rolname, rolcanlogin, rolsuper, rolbypassrls FROM pg_roles WHERE rolname = ANY ($1)", LOGINS
    )
    assert sorted(map(tuple, rows)) == sorted((name, True, False, False) for name in LOGINS)
    assert not await connection.fetchval(
        "SELECT rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = $1", NAME
    )
    await connection.close()
    await asyncio.to_thread(upgrade, settings)
    found = await asyncio.to_thread(lambda: list(doctor_database.examine_roles(settings)))
    assert [each.state for each in found] == ["ok", "note"]
    assert "owns the tables" in found[1].detail
    # The one login for all: it works as the API, and sees what that one's caller may.
    database = Database(settings, application="tests", role="vigie_api", tenants=True)
    who, count = text("SELECT current_user"), text("SELECT count(*) FROM organisations")
    with run_as_caller(ScopedCaller(FULL_SCOPE)):
        async with database.read() as session:
            assert await session.scalar(who) == "vigie_api"
            assert await session.scalar(count) == 0
    await database.close()
    # A login of its own, with a password that the administrator gave.
    connection = await asyncpg.connect(admin)
    await connection.execute("ALTER ROLE vigie_api PASSWORD 'of-the-api'")
    await connection.close()
    own = settings.model_copy(
        update={"url": settings.url.replace(f"{NAME}:of-the-owner", "vigie_api:of-the-api")}
    )
    database = Database(own, application="tests", role="vigie_api", tenants=True)
    async with database.read() as session:
        assert await session.scalar(who) == "vigie_api"
    await database.close()
    as_ingest = await Database(own, application="tests", role="vigie_ingest").connect()
    assert await as_ingest.fetchval("SELECT current_user") == "vigie_ingest"
    await as_ingest.close()


# One process for all: to load the modules takes longer than to look at a login.
_ADMITTED = """
import os, sys
from app.standalone.startup_settings_check import load_admitted_settings
for url, role in zip(sys.argv[1::2], sys.argv[2::2]):
    if not os.fork():
        os.environ["VIGIE_DATABASE__URL"] = url
        load_admitted_settings(role)
        break
    _, status = os.wait()
    print(f"\\0{os.waitstatus_to_exitcode(status)}", end="\\1", flush=True)
"""


async def start(*cases: tuple[str, str]) -> list[tuple[int, str]]:
    """Whether roles would start, each with its address: the exit code of each, and what it says."""
    environment = {
        "PATH": os.environ["PATH"],
        "VIGIE_BROKER__PASSWORD": "Qd7_zzP01mmv",
        "VIGIE_INGEST__CLIENT_ID": "ingest-4f1c",
        "VIGIE_ENCRYPTION__KEYS": json.dumps([generate_encryption_key()]),
    }
    running = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _ADMITTED, *(word for case in cases for word in case)),
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    told, _ = await running.communicate()
    found = [each.partition("\0") for each in told.decode().split("\1")[:-1]]
    assert len(found) == len(cases), told
    return [(int(status), text) for text, _, status in found]


async def states(url: str) -> list[str]:
    """What `vigie doctor` says of a login."""
    settings = DatabaseSettings.model_validate({"url": url})
    return [
        each.state for each in await asyncio.to_thread(lambda: list(doctor_database.examine_roles(settings)))
    ]


ROLES = ("api", "ingest", "deliver", "maintain")


async def test_no_role_starts_as_whoever_could_switch_policies_off(
    bare: tuple[str, DatabaseSettings],
) -> None:
    admin, settings = bare
    await psql(admin, "-v", f"owner={NAME}", "-f", str(SCRIPT))
    await asyncio.to_thread(upgrade, settings)
    connection = await asyncpg.connect(admin)
    others = {
        "chief": "SUPERUSER",
        "blind": "BYPASSRLS",
        "member": f"IN ROLE {NAME}",
        "several": "IN ROLE vigie_api, vigie_ingest, vigie_deliver, vigie_maintain",
    }
    for name, options in others.items():
        await connection.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'Rk2-aVw81nq' {options}")
    for role in ROLES:
        await connection.execute(f"ALTER ROLE vigie_{role} PASSWORD 'Rk2-aVw81nq'")
    await connection.close()

    def named(name: str) -> str:
        return settings.url.replace(f"{NAME}:of-the-owner", f"{name}:Rk2-aVw81nq")

    codes = {
        NAME: "database_owner",
        "member": "database_owner",
        "chief": "database_superuser",
        "blind": "database_superuser",
    }
    refused = [(name, role) for name in codes for role in ROLES]
    welcome = [
        *(("several", role) for role in ROLES),
        *((f"vigie_{role}", role) for role in ROLES),
        # Who changes tables owns them.
        (NAME, "migrate"),
    ]
    found = await start(
        *((settings.url if name == NAME else named(name), role) for name, role in refused + welcome)
    )
    for (name, role), (status, told) in zip(refused, found, strict=False):
        assert (status, codes[name] in told) == (2, True), (name, role, told)
        assert "Rk2-aVw81nq" not in told
    assert found[len(refused) :] == [(0, "")] * len(welcome)
    for role in ROLES:
        assert await states(named(f"vigie_{role}")) == ["ok"]
    looked = {name: await states(named(name)) for name in ("chief", "several")}
    assert looked == {"chief": ["ok", "missing"], "several": ["ok", "note"]}


async def test_a_database_that_is_not_there_keeps_no_role_from_starting() -> None:
    ((status, told),) = await start(("postgresql://vigie_api:Rk2-aVw81nq@127.0.0.1:1/vigie", "api"))
    assert status == 0
    assert json.loads(told)["event"] == "database_login_not_looked_at"


async def test_a_name_of_nobody_changes_nothing(bare: tuple[str, DatabaseSettings]) -> None:
    admin, _ = bare
    status, told = await psql(admin, "-v", "owner=nobody", "-f", str(SCRIPT))
    assert status != 0
    assert 'role "nobody" does not exist' in told
    connection = await asyncpg.connect(admin)
    assert await connection.fetchval("SELECT count(*) FROM pg_roles WHERE rolname LIKE 'vigie\\_%'") == 0
    await connection.close()


async def test_a_role_that_may_not_be_taken_is_told_of(bare: tuple[str, DatabaseSettings]) -> None:
    admin, settings = bare
    await psql(admin, "-v", f"owner={NAME}", "-f", str(SCRIPT))
    connection = await asyncpg.connect(admin)
    await connection.execute(f"REVOKE vigie_deliver FROM {NAME}")
    await connection.close()
    (found,) = await asyncio.to_thread(lambda: list(doctor_database.examine_roles(settings)))
    assert (found.state, "vigie_deliver" in found.detail) == ("missing", True)
    assert "deploy/roles.sql" in found.fix
