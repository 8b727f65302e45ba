"""A world for each test, made once: the databases that it is given are copies of one in which it was made."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace

import httpx
import pytest
from fastapi import FastAPI

from app.platform.config.encryption_settings import EncryptionSettings
from app.platform.db.database import Database
from app.platform.secrets.sealing import generate_encryption_key
from app.settings import VigieSettings
from app.standalone.private_postgres import DATABASE, PrivatePostgres
from tests.conftest import client_of, new_application, running, stocked
from tests.databases import Databases
from tests.integration.access.world import TenantsUnderTest, make_world


@dataclass(frozen=True)
class Worlds:
    """A world whose clients are closed, what its secrets are sealed with, and databases that have it."""

    first: TenantsUnderTest
    encryption: EncryptionSettings
    databases: Databases


@pytest.fixture(scope="session")
async def worlds(postgres: PrivatePostgres, admin_key: str) -> AsyncIterator[Worlds]:
    url = await postgres.create_database("world", template=DATABASE)
    encryption = {"keys": [generate_encryption_key()]}
    settings = VigieSettings.model_validate(
        {
            "database": {"url": url},
            "bootstrap_admin_key": admin_key,
            "encryption": encryption,
            "enrolment": {"enabled": True},
        }
    )
    database = Database(settings.database, application="tests")
    async with (
        running(new_application(settings)) as app,
        client_of(app, admin_key) as admin,
        make_world(app, admin, database) as first,
    ):
        await database.close()
    async with stocked(postgres, "world") as databases:
        yield Worlds(first, settings.encryption, databases)


@pytest.fixture
def stock(request: pytest.FixtureRequest, stock: Databases, worlds: Worlds) -> Databases:
    return worlds.databases if "world" in request.fixturenames else stock


@pytest.fixture
def settings(settings: VigieSettings, worlds: Worlds) -> VigieSettings:
    """Boxes may register themselves: what leads there has routes too. And nobody is called too often."""
    api = settings.api.model_copy(update={"anonymous_rate_burst": 10_000})
    enrolment = settings.enrolment.model_copy(update={"enabled": True})
    return settings.model_copy(update={"api": api, "enrolment": enrolment, "encryption": worlds.encryption})


@pytest.fixture
async def world(
    application: FastAPI, api: httpx.AsyncClient, worlds: Worlds
) -> AsyncIterator[TenantsUnderTest]:
    first = worlds.first
    async with AsyncExitStack() as stack:
        tenants = {
            name: replace(tenant, client=await stack.enter_async_context(client_of(application, tenant.key)))
            for name, tenant in {
                "integrator": first.integrator,
                "client": first.client,
                "sibling": first.sibling,
                "stranger": first.stranger,
            }.items()
        }
        yield replace(first, admin=api, ids=dict(first.ids), keys=dict(first.keys), **tenants)
