"""What tests of retention and erasure share: a connection of the consumer's, and the maintain role's work."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from app.core.database import Database
from tests.integration.observations.retention.archive import Archive, opened
from tests.integration.observations.rollups.street import Door
from tests.conftest import Tenant


@pytest.fixture
async def archive(
    database: Database, tenant: Tenant, site_id: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Archive]:
    async with opened(database, tenant, site_id, monkeypatch) as made:
        yield made
