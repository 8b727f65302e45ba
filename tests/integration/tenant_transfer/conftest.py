import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from fastapi import FastAPI

from app.platform.db.database import Database
from app.settings import VigieSettings
from tests.databases import Databases
from tests.integration.access.world import TenantsUnderTest, make, make_world


@pytest.fixture
def settings(settings: VigieSettings) -> VigieSettings:
    """Boxes may register themselves: a tenant's world has keys for that."""
    settings.enrolment.enabled = True
    return settings


@pytest.fixture
async def world(
    application: FastAPI, api: httpx.AsyncClient, database: Database
) -> AsyncIterator[TenantsUnderTest]:
    """A tenant with one of everything that the API makes, more samples and an event, beside others."""
    async with make_world(application, api, database) as made:
        now = datetime.now(UTC).replace(microsecond=0)
        times = [(now - timedelta(minutes=2 * each)).isoformat() for each in range(2, 40)]
        samples = [{"time": time, "values": {"laeq": 50.1, "no2": 9.7}} for time in times]
        event = {"time": times[0], "type": "noise_peak", "level_db": 91.5}
        await make(made.client.client, "/v1/events", box=made.ids["box"], events=[event])
        await make(made.client.client, "/v1/telemetry", box=made.ids["box"], samples=samples)
        yield made


@pytest.fixture
async def second_url(databases: Databases) -> AsyncIterator[str]:
    """The database of another installation."""
    async with asyncio.timeout(60):
        url = await databases.take()
    yield url
    databases.give_back(url)
