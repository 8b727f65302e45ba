"""The same attempted directly in SQL, under the role of each process: what a forgotten filter would give."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import asyncpg
import pytest

from tests.integration.access.privileges import PRIVILEGES
from tests.integration.access.world import TenantsUnderTest

ROLES: Final = ("vigie_api", "vigie_ingest", "vigie_deliver", "vigie_maintain")
_EVENT: Final = (
    "(id, organisation_id, type, payload, created_at)"
    " VALUES (gen_random_uuid(), gen_random_uuid(), '{}', '{{}}', now())"
)
# Of no tenant: catalogue, counters and heartbeats of the installation.
SHARED: Final = {
    "alembic_version",
    "claim_attempts",
    "heartbeats",
    "ingest_totals",
    "metrics",
    "registry",
}
# Written by functions of the owner alone.
AUDIT: Final = {"audit_heads", "audit_log", "audit_pending"}
# Hypertables. A policy would not hold for their chunks: the API has no right on them, and reads views.
BY_VIEW: Final = {"samples", "hourly", "daily"}


@asynccontextmanager
async def as_role(url: str, role: str, **settings: str) -> AsyncIterator[asyncpg.Connection]:
    told = {"role": role, "vigie.reach": "", "vigie.sites": ""} | {
        f"vigie.{name}": value for name, value in settings.items()
    }
    connection = await asyncpg.connect(url, server_settings=told)
    try:
        yield connection
    finally:
        await connection.close()


async def tables(connection: asyncpg.Connection) -> dict[str, asyncpg.Record]:
    rows = await connection.fetch(
        "SELECT relname, relrowsecurity, relforcerowsecurity, pg_get_userbyid(relowner) AS owner"
        " FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')"
    )
    return {row["relname"]: row for row in rows}


async def of_tenants(connection: asyncpg.Connection) -> list[str]:
    return sorted(set(await tables(connection)) - SHARED - BY_VIEW)


async def count(connection: asyncpg.Connection, table: str) -> int | None:
    """How many rows a role sees; None where it may not read the table."""
    try:
        found: int = await connection.fetchval(f'SELECT count(*) FROM "{table}"')
    except asyncpg.InsufficientPrivilegeError:
        return None
    return found


async def test_every_table_of_tenants_has_forced_policies(database_url: str) -> None:
    owner = await asyncpg.connect(database_url)
    found = await tables(owner)
    await owner.close()
    assert set(found) >= SHARED | BY_VIEW
    bare = [
        name
        for name, row in found.items()
        if name not in SHARED | BY_VIEW and not (row["relrowsecurity"] and row["relforcerowsecurity"])
    ]
    assert bare == []
    assert not {row["owner"] for row in found.values()} & set(ROLES)


async def test_roles_cannot_help_themselves(database_url: str) -> None:
    owner = await asyncpg.connect(database_url)
    for role in ROLES:
        row = await owner.fetchrow(
            "SELECT rolsuper OR rolbypassrls OR rolcreaterole OR rolcreatedb AS may_much,"
            " has_schema_privilege(rolname, 'public', 'CREATE') AS may_create,"
            " pg_has_role(rolname, 'vigie', 'SET') AS may_be_owner FROM pg_roles WHERE rolname = $1",
            role,
        )
        assert row is not None
        assert dict(row) == {"may_much": False, "may_create": False, "may_be_owner": False}, role
    await owner.close()
    for role in ROLES:
        async with as_role(database_url, role) as connection:
            for statement in (
                "ALTER TABLE sites DISABLE ROW LEVEL SECURITY",
                "ALTER TABLE sites NO FORCE ROW LEVEL SECURITY",
                "DROP POLICY reach ON sites",
                "TRUNCATE sites CASCADE",
            ):
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await connection.execute(statement)


async def test_whoever_says_nothing_sees_nothing(world: TenantsUnderTest, database_url: str) -> None:
    del world
    owner = await asyncpg.connect(database_url)
    names = await of_tenants(owner)
    filled = [name for name in names if await count(owner, name)]
    assert len(filled) > 20
    # FORCE: not even the owner, where it is not told that it may; but for the log that its functions write.
    await owner.execute("SET vigie.reach = ''")
    seen = {name for name in names if await count(owner, name)}
    await owner.close()
    assert seen <= AUDIT
    async with as_role(database_url, "vigie_api") as api:
        assert {name: found for name in names if (found := await count(api, name))} == {}
        assert await count(api, "tenant_samples") == 0


async def owners(connection: asyncpg.Connection, table: str) -> set[str]:
    columns = await connection.fetch(
        "SELECT column_name FROM information_schema.columns WHERE table_name = $1", table
    )
    column = "id" if table == "organisations" else "organisation_id"
    if column not in {row["column_name"] for row in columns}:
        return set()
    return {str(row[0]) for row in await connection.fetch(f'SELECT DISTINCT {column} FROM "{table}"')}


@pytest.mark.parametrize("whose", ["client", "sibling", "stranger", "integrator"])
async def test_the_api_sees_its_callers_rows_alone(
    world: TenantsUnderTest, database_url: str, whose: str
) -> None:
    mine = {getattr(world, whose).id}
    reach = mine | ({world.client.id, world.sibling.id} if whose == "integrator" else set())
    async with as_role(database_url, "vigie_api", reach=",".join(reach)) as api:
        for name in await of_tenants(api):
            seen = await owners(api, name) if await count(api, name) is not None else set()
            # An integrator's own row and those whose parent it is.
            assert seen <= reach, name
        # Tables without an owner's column hang on others: the client alone has rows there.
        for name in ("box_states", "rule_versions", "delivery_attempts", "site_states", "tenant_samples"):
            found = await count(api, name)
            if world.client.id not in reach:
                assert found == 0, name
        if world.client.id in reach:
            assert await count(api, "tenant_samples") == 1
            assert await count(api, "box_states") == 1


async def tried(connection: asyncpg.Connection, statement: str, *values: Any) -> int:  # noqa: ANN401 (SQL's)
    """How many rows a statement touched; none where it was refused."""
    transaction = connection.transaction()
    await transaction.start()
    try:
        done = await connection.execute(statement, *values)
        return int(done.rpartition(" ")[2])
    except (asyncpg.InsufficientPrivilegeError, asyncpg.ForeignKeyViolationError):
        return 0
    finally:
        await transaction.rollback()


async def columns_of(connection: asyncpg.Connection, table: str) -> Sequence[str]:
    rows = await connection.fetch(
        "SELECT column_name FROM information_schema.columns WHERE table_name = $1"
        " AND is_generated = 'NEVER' AND identity_generation IS NULL ORDER BY ordinal_position",
        table,
    )
    return [row["column_name"] for row in rows]


async def test_the_api_changes_its_callers_rows_alone(world: TenantsUnderTest, database_url: str) -> None:
    async with as_role(database_url, "vigie_api", reach=world.sibling.id) as api:
        for name in await of_tenants(api):
            if name in AUDIT:
                column = "organisation_id"
                assert await tried(api, f'UPDATE "{name}" SET {column} = {column}') == 0, name
                assert await tried(api, f'DELETE FROM "{name}"') == 0, name
                continue
            columns = await columns_of(api, name)
            if not columns:
                # A role is shown the columns on which it has any right.
                assert await count(api, name) is None, name
                continue
            first = columns[0]
            assert await tried(api, f'UPDATE "{name}" SET "{first}" = "{first}"') == await own(api, name), (
                name
            )
            assert await tried(api, f'DELETE FROM "{name}"') <= await own(api, name), name
        site = (
            "INSERT INTO sites (id, organisation_id, name, kind, timezone, longitude, latitude, created_at,"
            " updated_at) VALUES (gen_random_uuid(), $1::text::uuid, 'x', 'street', 'UTC', 0, 0, now(),"
            " now())"
        )
        assert await tried(api, site, world.sibling.id) == 1
        assert await tried(api, site, world.client.id) == 0
        # Nor can what is its own be given away.
        assert await tried(api, "UPDATE api_keys SET organisation_id = $1::text::uuid", world.client.id) == 0


async def own(connection: asyncpg.Connection, table: str) -> int:
    return await count(connection, table) or 0


async def test_samples_cannot_be_read_past_the_view(world: TenantsUnderTest, database_url: str) -> None:
    owner = await asyncpg.connect(database_url)
    chunks = [row[0] for row in await owner.fetch("SELECT show_chunks('samples')::text")]
    await owner.close()
    assert chunks
    async with as_role(database_url, "vigie_api", reach=world.client.id) as api:
        for table in ("samples", *chunks):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await api.fetchval(f"SELECT count(*) FROM {table}")
        # A function that tells its arguments must not be given rows of others before they are filtered.
        await api.execute(
            "CREATE FUNCTION pg_temp.tell(real) RETURNS boolean LANGUAGE plpgsql COST 0.0001 AS"
            " $$ BEGIN RAISE EXCEPTION 'told %', $1; END $$"
        )
        await api.execute("SELECT set_config('vigie.reach', $1, false)", world.sibling.id)
        assert await api.fetch("SELECT * FROM tenant_samples WHERE pg_temp.tell(pm2_5)") == []


@pytest.mark.parametrize(
    ("role", "statement"),
    [
        ("vigie_ingest", "SELECT hash FROM api_keys"),
        ("vigie_ingest", "SELECT password_hash FROM boxes"),
        ("vigie_ingest", "SELECT secret FROM webhook_endpoints"),
        ("vigie_ingest", "SELECT hash FROM claims"),
        ("vigie_ingest", "SELECT hash FROM provisioning_keys"),
        ("vigie_ingest", "SELECT password_hash FROM broker_accounts"),
        ("vigie_ingest", "DELETE FROM samples"),
        ("vigie_ingest", "UPDATE boxes SET organisation_id = organisation_id"),
        ("vigie_deliver", "SELECT hash FROM api_keys"),
        ("vigie_deliver", "SELECT password_hash FROM boxes"),
        ("vigie_deliver", "SELECT count(*) FROM samples"),
        ("vigie_deliver", "SELECT hash FROM provisioning_keys"),
        ("vigie_maintain", "SELECT hash FROM api_keys"),
        ("vigie_maintain", "UPDATE organisations SET platform = true"),
        ("vigie_maintain", "SELECT hash FROM provisioning_keys"),
        ("vigie_maintain", "INSERT INTO provisioning_keys (id) VALUES (gen_random_uuid())"),
        ("vigie_maintain", "UPDATE boxes SET password_hash = ''"),
        ("vigie_maintain", "UPDATE broker_accounts SET password_hash = ''"),
        ("vigie_maintain", "UPDATE webhook_endpoints SET url = 'https://example.com/'"),
        ("vigie_maintain", "INSERT INTO samples (box_key, time) VALUES (1, now())"),
        ("vigie_maintain", f"INSERT INTO outbox {_EVENT.format('endpoint.disabled')}"),
        ("vigie_deliver", "INSERT INTO webhook_endpoints (id) VALUES (gen_random_uuid())"),
        ("vigie_deliver", "UPDATE webhook_endpoints SET url = 'https://example.com/'"),
        ("vigie_deliver", f"INSERT INTO outbox {_EVENT.format('alert.firing')}"),
        ("vigie_deliver", "SELECT count(*) FROM rules"),
        ("vigie_ingest", f"INSERT INTO outbox {_EVENT.format('quota.exceeded')}"),
        ("vigie_api", "INSERT INTO samples (box_key, time) VALUES (1, now())"),
    ],
    ids=lambda value: value if value.startswith("vigie") else value[:40],
)
async def test_a_role_may_not_do_what_its_process_does_not(
    database_url: str, role: str, statement: str
) -> None:
    async with as_role(database_url, role, reach="all") as connection:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(statement)


async def test_maintenance_removes_deleted_boxes_alone(world: TenantsUnderTest, database_url: str) -> None:
    owner = await asyncpg.connect(database_url)
    boxes = await owner.fetchval("SELECT count(*) FROM boxes")
    assert boxes
    async with as_role(database_url, "vigie_maintain", reach="all") as maintain:
        assert await tried(maintain, "DELETE FROM boxes") == 0
        await owner.execute("UPDATE boxes SET deleted_at = now() WHERE organisation_id = $1", world.client.id)
        gone = await owner.fetchval("SELECT count(*) FROM boxes WHERE deleted_at IS NOT NULL")
        assert await tried(maintain, "DELETE FROM boxes") == gone > 0
    await owner.close()


async def test_a_caller_limited_to_a_site_sees_what_is_there_alone(
    world: TenantsUnderTest, database_url: str
) -> None:
    nowhere = "00000000-0000-0000-0000-000000000000"
    at_sites = (
        *("sites", "boxes", "rules", "alerts", "claims", "provisioning_keys", "backtests", "quarantine"),
        *("box_states", "box_configs", "rule_versions", "alert_timeline", "tenant_samples"),
        "corrections",
    )
    async with as_role(database_url, "vigie_api", reach=world.client.id, sites=world.ids["site_id"]) as api:
        for name in at_sites:
            assert await count(api, name), name
        await api.execute("SELECT set_config('vigie.sites', $1, false)", nowhere)
        for name in at_sites:
            assert await count(api, name) == 0, name


async def test_published_views_hold_their_reader_to_the_rules_of_their_tables(
    world: TenantsUnderTest, database_url: str
) -> None:
    owner = await asyncpg.connect(database_url)
    rows = await owner.fetch("SELECT relname FROM pg_class WHERE 'security_invoker=true' = ANY (reloptions)")
    await owner.close()
    views = {row["relname"] for row in rows}
    for role in ROLES:
        readable = views & PRIVILEGES[role].keys()
        assert readable, role
        async with as_role(database_url, role, reach="all") as connection:
            for name in readable:
                # Each role has its rights on all columns of the view, or this fails.
                await connection.fetch(f"SELECT * FROM {name}")
    async with as_role(database_url, "vigie_api", reach=world.client.id) as api:
        everywhere = {name: await count(api, name) for name in ("registry_boxes", "registry_sites")}
        assert all(everywhere.values())
        await api.execute("SELECT set_config('vigie.reach', '', false)")
        assert {name: await count(api, name) for name in everywhere} == dict.fromkeys(everywhere, 0)
