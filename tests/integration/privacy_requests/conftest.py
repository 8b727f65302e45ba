"""What tests of people's rights stand on."""

from collections.abc import AsyncIterator

import asyncpg
import httpx
import pytest
from fastapi import FastAPI

from tests.conftest import Tenant, client_of
from tests.integration.people.folk import OrganisationPeople


@pytest.fixture
async def anybody(application: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A citizen: no key."""
    async with client_of(application, None) as client:
        yield client


@pytest.fixture
async def site(tenant: Tenant) -> str:
    """A site of the tenant's."""
    place = {"type": "Point", "coordinates": [1.4442, 43.6047]}
    body = {"name": "Rue d'Alsace", "kind": "street", "timezone": "Europe/Paris", "location": place}
    answer = await tenant.client.post("/v1/sites", json=body)
    assert answer.status_code == 201, answer.text
    made: str = answer.json()["id"]
    return made


@pytest.fixture
async def folk(
    monkeypatch: pytest.MonkeyPatch, application: FastAPI, api: httpx.AsyncClient, tenant: Tenant
) -> AsyncIterator[OrganisationPeople]:
    """People of the tenant's organisation."""
    monkeypatch.setenv("VIGIE_SESSIONS__HASH_MEMORY_KIB", "19456")
    async with OrganisationPeople(application, api, tenant.id) as made:
        yield made


@pytest.fixture
async def owner(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """The database, with all that is in it."""
    connection = await asyncpg.connect(database_url)
    await connection.execute("SELECT set_config('vigie.reach', 'all', false)")
    yield connection
    await connection.close()
