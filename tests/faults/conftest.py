"""A registered fleet for each test, with a ledger in its folder."""

from pathlib import Path

import pytest

from app.core.settings import Settings
from app.embedded.mosquitto import PrivateMosquitto
from tests.conftest import Tenant
from tests.faults.fleet import Fleet


@pytest.fixture
async def fleet(
    tenant: Tenant, site_id: str, mosquitto: PrivateMosquitto, settings: Settings, tmp_path: Path
) -> Fleet:
    boxes = [f"box-{number:02}" for number in range(20)]
    made = Fleet(tenant.client, mosquitto, settings.database.url, boxes, tmp_path / "ledger")
    await made.register(site_id)
    return made
