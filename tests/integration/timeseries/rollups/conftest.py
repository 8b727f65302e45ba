"""What tests of roll-ups share: a connection of the consumer's, and the maintain role's work."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from app.platform.db.database import Database
from tests.integration.timeseries.rollups.street import Maintainer, maintaining


@pytest.fixture
async def connection(database: Database) -> AsyncIterator[asyncpg.Connection]:
    opened = await database.connect()
    yield opened
    await opened.close()


@pytest.fixture
async def maintainer(database: Database, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Maintainer]:
    async with maintaining(database, monkeypatch) as made:
        yield made
