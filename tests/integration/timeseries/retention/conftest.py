"""What tests of retention share: a street whose boxes have measured for weeks."""

from collections.abc import AsyncIterator

import pytest

from app.platform.db.database import Database
from tests.conftest import Tenant
from tests.integration.timeseries.retention.archive import Archive, opened


@pytest.fixture
async def archive(
    database: Database, tenant: Tenant, site_id: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Archive]:
    async with opened(database, tenant, site_id, monkeypatch) as made:
        yield made
