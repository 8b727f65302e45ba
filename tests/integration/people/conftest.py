"""People in organisations, as clients of the API."""

import os
from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI

from tests.conftest import Tenant, client_of
from tests.integration.people.folk import OrganisationPeople


@pytest.fixture(autouse=True)
def _cheap_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a hash costs is not what these tests are about."""
    assert "VIGIE_SESSIONS__HASH_MEMORY_KIB" not in os.environ
    monkeypatch.setenv("VIGIE_SESSIONS__HASH_MEMORY_KIB", "19456")


@pytest.fixture
async def anybody(application: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """Somebody who showed nothing yet."""
    async with client_of(application, None) as client:
        yield client


@pytest.fixture
async def folk(
    _cheap_hashes: None, application: FastAPI, api: httpx.AsyncClient, tenant: Tenant
) -> AsyncIterator[OrganisationPeople]:
    async with OrganisationPeople(application, api, tenant.id) as made:
        yield made
