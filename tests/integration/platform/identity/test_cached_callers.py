"""Callers are cached for seconds, and dropped as soon as their access changes."""

from collections.abc import AsyncIterator

import pytest
from fastapi import FastAPI
from sqlalchemy import event, text

from app.platform.db.database import Database
from app.platform.identity import principal_cache
from app.platform.identity.caller_authentication import CallerAuthenticator
from app.platform.kernel.application_resources import get_resource
from tests.conftest import Tenant, client_of
from tests.scenarios.processes import until


@pytest.fixture
async def lookups(application: FastAPI) -> AsyncIterator[list[str]]:
    """The lookups of callers, from when the application caches them."""
    found: list[str] = []

    def keep(_: object, __: object, statement: str, *___: object) -> None:
        if "api_keys" in statement and statement.startswith("SELECT"):
            found.append(statement)

    cache = get_resource(application, CallerAuthenticator).cache

    async def listens() -> bool:
        return cache._listening

    await until(listens)
    engine = get_resource(application, Database)._lookups.sync_engine
    event.listen(engine, "before_cursor_execute", keep)
    yield found
    event.remove(engine, "before_cursor_execute", keep)


async def test_a_caller_is_looked_up_once(tenant: Tenant, lookups: list[str]) -> None:
    for _ in range(5):
        assert (await tenant.client.get("/v1/sites")).status_code == 200
    assert len(lookups) == 1


async def test_a_revoked_key_is_refused_at_once(
    tenant: Tenant, application: FastAPI, lookups: list[str]
) -> None:
    made = await tenant.client.post("/v1/api-keys", json={"name": "short", "scopes": ["sites:read"]})
    key = made.raise_for_status().json()
    async with client_of(application, key["key"]) as client:
        for _ in range(3):
            assert (await client.get("/v1/sites")).status_code == 200
        (await tenant.client.delete(f"/v1/api-keys/{key['id']}")).raise_for_status()
        assert (await client.get("/v1/sites")).status_code == 401
    assert lookups


@pytest.mark.usefixtures("lookups")
async def test_a_change_by_another_process_applies_too(
    tenant: Tenant, application: FastAPI, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(principal_cache, "_TTL_S", 3600.0)
    made = await tenant.client.post("/v1/api-keys", json={"name": "other", "scopes": ["sites:read"]})
    key = made.raise_for_status().json()
    async with client_of(application, key["key"]) as client:
        assert (await client.get("/v1/sites")).status_code == 200
        async with database.write() as session:
            values = {"id": key["id"]}
            await session.execute(text("UPDATE api_keys SET scopes = '{rules:read}' WHERE id = :id"), values)

        async def refused() -> bool:
            return (await client.get("/v1/sites")).status_code == 403

        # The cache would not forget it by itself.
        await until(refused, patience_s=20)


async def test_times_of_use_drop_nobody(
    tenant: Tenant, application: FastAPI, database: Database, lookups: list[str]
) -> None:
    assert (await tenant.client.get("/v1/sites")).status_code == 200
    cache = get_resource(application, CallerAuthenticator).cache
    version = cache.version
    async with database.write() as session:
        await session.execute(text("UPDATE api_keys SET last_used_at = now()"))
    (await tenant.client.get("/v1/sites")).raise_for_status()
    assert (cache.version, len(lookups)) == (version, 1)


async def test_without_notifications_each_request_is_looked_up(
    tenant: Tenant, application: FastAPI, database: Database, lookups: list[str]
) -> None:
    cache = get_resource(application, CallerAuthenticator).cache
    async with database.write() as session:
        await session.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE query LIKE 'LISTEN%vigie_access%' AND datname = current_database()"
            )
        )

    async def deaf() -> bool:
        return not cache._listening

    await until(deaf, patience_s=20)
    before = len(lookups)
    await tenant.client.get("/v1/sites")
    assert len(lookups) == before + 1

    async def listens() -> bool:
        return cache._listening

    await until(listens, patience_s=20)
    await tenant.client.get("/v1/sites")
    await tenant.client.get("/v1/sites")
    assert len(lookups) == before + 2
