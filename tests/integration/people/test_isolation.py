"""What the database itself keeps of people from those whom it is not for, under each process's role."""

from datetime import timedelta
from uuid import UUID

import asyncpg
import httpx
import pytest
from fastapi import FastAPI

from app.people.repository import purge_people_data
from app.people.sign_in_dependencies import PeopleContext
from app.platform.db.database import Database
from app.platform.kernel.application_resources import get_resource
from app.platform.kernel.tenant_scope import ScopedCaller, TenantScope, format_actor
from tests.conftest import Tenant
from tests.integration.people.authenticator import SoftwareAuthenticator
from tests.integration.people.factors import enrol_passkey, enrol_totp
from tests.integration.people.folk import OrganisationPeople
from tests.roles import working_as

FACTORS = ("totp_secrets", "passkeys", "recovery_codes")
TABLES = (
    *("users", "memberships", "invitations", "user_sessions", "password_resets", "oidc_identities"),
    *FACTORS,
)


async def told(connection: asyncpg.Connection, caller: ScopedCaller) -> None:
    for name, value in caller.settings().items():
        await connection.execute("SELECT set_config($1, $2, false)", name, value)


async def counts(connection: asyncpg.Connection) -> dict[str, int]:
    return {name: await connection.fetchval(f"SELECT count(*) FROM {name}") for name in TABLES}  # noqa: S608 (names of ours)


async def populate(folk: OrganisationPeople, other: Tenant, database: Database) -> tuple[UUID, UUID]:
    """Two people of two organisations, with one of each thing. Returns the first one's ids."""
    owners = (await folk.join("Ada", "owner"), await folk.join("Bob", "owner", other.id))
    await folk.invite("x@example.com", "viewer")
    for owner in owners:
        await enrol_totp(owner)
        await enrol_passkey(owner, SoftwareAuthenticator())
    connection = await database.connect()
    for owner in owners:
        await connection.execute(
            "INSERT INTO password_resets VALUES (gen_random_uuid(), $1, sha256($2), $1, now(), now())",
            UUID(owner.id),
            owner.id.encode(),
        )
        await connection.execute(
            "INSERT INTO oidc_identities VALUES ('https://id.example.com', $1, $2, now())",
            owner.id,
            UUID(owner.id),
        )
    organisation = await connection.fetchval(
        "SELECT organisation_id FROM memberships WHERE user_id = $1", UUID(owners[0].id)
    )
    await connection.close()
    return UUID(owners[0].id), organisation


async def test_the_api_sees_of_people_what_its_caller_may(
    folk: OrganisationPeople, other_tenant: Tenant, database: Database
) -> None:
    ada, organisation = await populate(folk, other_tenant, database)
    connection = await database.connect()
    await connection.execute("SET ROLE vigie_api")
    nobody = dict.fromkeys(TABLES, 0)
    await told(connection, ScopedCaller(TenantScope(())))
    assert await counts(connection) == nobody
    # A key of the organisation's sees its people, and nothing of how they sign in.
    await told(
        connection,
        ScopedCaller(TenantScope.of([organisation]), format_actor("key", ada, "a key with her id")),
    )
    there = {"users": 1, "memberships": 1, "invitations": 2, "password_resets": 1}
    assert await counts(connection) == {**nobody, **there}
    # The person sees what is hers, whomever she works for.
    await told(connection, ScopedCaller(TenantScope(()), format_actor("user", ada, "Ada")))
    hers = {name: 1 for name in TABLES if name != "invitations"}
    assert await counts(connection) == {**nobody, **hers}
    # What she is, she does not say.
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await connection.execute("UPDATE memberships SET role = 'owner', updated_at = now()")
    await told(connection, ScopedCaller(TenantScope.of([organisation]), format_actor("user", ada, "Ada")))
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await connection.execute(
            "INSERT INTO memberships VALUES (gen_random_uuid(), $1, $2, 'owner', NULL, now(), now())",
            *(ada, UUID(other_tenant.id)),
        )
    await connection.close()


@pytest.mark.parametrize("role", ["vigie_ingest", "vigie_deliver", "vigie_maintain"])
async def test_no_other_process_reads_people(database: Database, role: str) -> None:
    connection = await database.connect()
    await connection.execute(f"SET ROLE {role}")
    secrets = {
        "users": ("email", "name", "password_hash"),
        # Whom it mails, the role that delivers has to know: see below.
        "invitations": ("token_hash",) if role == "vigie_deliver" else ("email", "token_hash"),
        "account_mails": () if role == "vigie_deliver" else ("email", "user_id"),
        "user_sessions": ("token_hash", "user_id", "address"),
        "password_resets": ("token_hash", "user_id"),
        "memberships": ("role", "organisation_id"),
        "oidc_identities": ("subject", "user_id"),
        "passkeys": ("credential_id", "user_id"),
        "recovery_codes": ("code_hashes", "user_id"),
        # Who maintains encrypts the secrets again when keys are replaced.
        "totp_secrets": ("last_step",) if role == "vigie_maintain" else ("secret", "user_id"),
    }
    for table, columns in secrets.items():
        for column in columns:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.fetch(f"SELECT {column} FROM {table}")  # noqa: S608 (names of ours)
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(f"UPDATE {table} SET created_at = now()")  # noqa: S608 (names of ours)
    await connection.close()


async def test_who_delivers_sees_of_invitations_those_that_have_a_mail(
    tenant: Tenant, database: Database
) -> None:
    await tenant.client.post("/v1/invitations", json={"email": "ada@example.com", "role": "viewer"})
    await tenant.client.post("/v1/invitations", json={"email": "grace@example.com", "role": "viewer"})
    connection = await database.connect()
    await connection.execute("UPDATE invitations SET mail_status = 'pending' WHERE email LIKE 'grace%'")
    await connection.close()
    async with working_as("deliver", database) as opened:
        connection = await opened.connect()
        # As its own login has it: that of the tests, who own the tables, reaches everything by default.
        await connection.execute("SELECT set_config('vigie.reach', '', false)")
        rows = await connection.fetch("SELECT email FROM invitations")
        await connection.close()
    assert [row["email"] for row in rows] == ["grace@example.com"]


async def test_what_has_ended_is_forgotten_under_the_maintainers_role(
    folk: OrganisationPeople, tenant: Tenant, other_tenant: Tenant, database: Database, application: FastAPI
) -> None:
    ada, bob, eve = [await folk.join(name, "owner") for name in ("Ada", "Bob", "Eve")]
    await folk.join("Eve", "viewer", other_tenant.id)
    await enrol_passkey(bob, SoftwareAuthenticator())
    await folk.invite("late@example.com", "viewer")
    for person in (bob, eve):
        assert (await tenant.client.delete(f"/v1/members/{person.member_id}")).status_code == 204
    connection = await database.connect()
    before = await connection.fetchval("SELECT count(*) FROM invitations")
    await connection.execute(
        "UPDATE invitations SET accepted_at = now() - interval '31 days' WHERE email ~ 'ada'"
    )
    await connection.execute(
        "UPDATE invitations SET expires_at = now() - interval '31 days' WHERE email ~ 'late'"
    )
    await connection.execute("UPDATE user_sessions SET expires_at = now() WHERE user_id = $1", UUID(ada.id))
    for offset in (timedelta(seconds=-1), timedelta(hours=1)):
        await connection.execute(
            "INSERT INTO password_resets VALUES (gen_random_uuid(), $1, sha256($2), $1, now(),"
            " now() + $3::interval)",
            *(UUID(ada.id), str(offset).encode(), offset),
        )
    for offset in (timedelta(seconds=-1), timedelta(hours=1)):
        await connection.execute(
            "INSERT INTO used_challenges VALUES (sha256($1), now() + $2::interval)",
            str(offset).encode(),
            offset,
        )
    await connection.execute("SET ROLE vigie_maintain")
    await purge_people_data(connection, get_resource(application, PeopleContext).settings)
    await connection.execute("RESET ROLE")
    # Who belongs nowhere is gone with all that was theirs; who belongs elsewhere stays.
    names = await connection.fetch("SELECT name FROM users ORDER BY name")
    assert [row["name"] for row in names] == ["Ada", "Eve"]
    assert (
        await connection.fetchval("SELECT count(*) FROM user_sessions WHERE user_id = $1", UUID(ada.id)) == 0
    )
    assert await connection.fetchval("SELECT count(*) FROM user_sessions") == 1
    assert await connection.fetchval("SELECT count(*) FROM invitations") == before - 2
    assert await connection.fetchval("SELECT count(*) FROM password_resets") == 1
    # That of Bob's enrolment, and the later one.
    assert await connection.fetchval("SELECT count(*) FROM used_challenges") == 2
    # His passkey went with him.
    assert await connection.fetchval("SELECT count(*) FROM passkeys") == 0
    await connection.close()


async def test_an_organisation_that_goes_takes_its_members_along(
    folk: OrganisationPeople, api: httpx.AsyncClient, tenant: Tenant, other_tenant: Tenant
) -> None:
    await folk.join("Ada", "viewer")
    ada = await folk.join("Ada", "owner", other_tenant.id)
    assert (await api.delete(f"/v1/organisations/{other_tenant.id}")).status_code == 204
    assert (await ada.client.get("/v1/me")).status_code == 401
    assert (await api.get(f"/v1/members?organisation={tenant.id}")).json()["data"][0]["name"] == "Ada"
