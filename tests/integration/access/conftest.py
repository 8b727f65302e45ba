from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI

from app.core.database import Database
from app.core.settings import Settings
from tests.integration.access.world import World, make_world


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Boxes may register themselves: what leads there has routes too."""
    return settings.model_copy(update={"enrolment": settings.enrolment.model_copy(update={"enabled": True})})


@pytest.fixture
async def world(application: FastAPI, api: httpx.AsyncClient, database: Database) -> AsyncIterator[World]:
    async with make_world(application, api, database) as made:
        yield made
