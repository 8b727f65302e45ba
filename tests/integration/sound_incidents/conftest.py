"""What tests of incidents share."""

from collections.abc import AsyncIterator

import pytest

from app.platform.db.database import Database
from tests.conftest import Tenant
from tests.integration.sound_incidents.square import BOXES, Square
from tests.purposes import approve
from tests.roles import working_as


@pytest.fixture
async def square(tenant: Tenant, site_id: str, database: Database) -> AsyncIterator[Square]:
    boxes = [
        {"id": box, "site_id": site_id, "location": {"type": "Point", "coordinates": place}}
        for box, place in BOXES.items()
    ]
    (await tenant.client.post("/v1/boxes/bulk", json={"boxes": boxes})).raise_for_status()
    owner = await database.connect()
    await approve(owner, site_id)
    async with working_as("ingest", database) as ingest, working_as("maintain", database) as maintain:
        door, maintainer = await ingest.connect(), await maintain.connect()
        yield Square(tenant, site_id, owner, door, maintainer)
        for connection in (owner, door, maintainer):
            await connection.close()
