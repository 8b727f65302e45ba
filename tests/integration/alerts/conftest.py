"""The streets that the tests of this room share."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from app.platform.db.database import Database
from app.platform.kernel.ids import new_id
from tests.conftest import Tenant
from tests.integration.alerts.helpers import AlertStreet, make_street
from tests.integration.alerts.watched import WatchedAlerts, add_box


@pytest.fixture
async def street(database: Database) -> AsyncIterator[AlertStreet]:
    connection = await database.connect()
    yield await make_street(database, connection)
    await connection.close()


@pytest.fixture
async def watched(tenant: Tenant, site_id: str) -> WatchedAlerts:
    made = WatchedAlerts(tenant, site_id, f"box-{new_id().hex[:12]}")
    await add_box(made, made.box)
    made.rule_id = await made.rule()
    return made


@pytest.fixture
async def connection(database: Database) -> AsyncIterator[asyncpg.Connection]:
    opened = await database.connect()
    yield opened
    await opened.close()
