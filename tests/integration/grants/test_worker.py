"""What `vigie maintain` does with uses and contacts of grants."""

import asyncpg
from fastapi import FastAPI

from app.grants.settings import GrantSettings
from app.grants.worker import maintain_grants
from app.platform.db.database import Database
from app.settings import VigieSettings
from tests.conftest import Tenant
from tests.integration.grants.grants import give, measure, recipient


async def test_finished_hours_are_audited_once_with_their_counts(
    application: FastAPI, tenant: Tenant, connection: asyncpg.Connection, settings: VigieSettings
) -> None:
    measured = await measure(tenant, "box-0001")
    made, key = await give(application, tenant, measured.site, until=None)
    async with recipient(application, key) as client:
        for _ in range(3):
            (await client.get(f"/v1/boxes/{measured.box}/latest")).raise_for_status()
    maintain = await Database(settings.database, application="maintain", role="vigie_maintain").connect()
    try:
        await maintain_grants(maintain, GrantSettings())
        assert (await tenant.client.get("/v1/audit?action=grant.used")).json()["data"] == []
        await connection.execute("UPDATE grant_uses SET hour = hour - interval '2 hours'")
        for _ in range(2):
            await maintain_grants(maintain, GrantSettings())
        (entry,) = (await tenant.client.get("/v1/audit?action=grant.used")).json()["data"]
        assert entry["actor"]["kind"] == "grant"
        assert entry["subject"]["id"] == made["id"]
        assert (entry["after"]["read"], entry["after"]["calls"], entry["after"]["values"]) == ("latest", 3, 3)
        # The contact stays until the retention after the end is over.
        await maintain_grants(maintain, GrantSettings(contact_days=1))
        assert (await tenant.client.get(f"/v1/grants/{made['id']}")).json()["contact"] is not None
        await tenant.client.delete(f"/v1/grants/{made['id']}")
        await connection.execute("UPDATE grants SET revoked_at = now() - interval '2 days'")
        await maintain_grants(maintain, GrantSettings(contact_days=1))
    finally:
        await maintain.close()
    assert (await tenant.client.get(f"/v1/grants/{made['id']}")).json()["contact"] is None
    (acceptance,) = (await tenant.client.get(f"/v1/grants/{made['id']}/acceptances")).json()["data"]
    assert (acceptance["name"], acceptance["address"]) == (None, None)
