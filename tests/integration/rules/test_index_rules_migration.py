"""The migration of rules on indices: an older program finds them disabled, and what they fired closed."""

import asyncio

from app.platform.db.database import Database
from app.platform.db.schema_upgrade import downgrade, upgrade
from app.settings import VigieSettings
from tests.conftest import Tenant
from tests.integration.rules.indexing import add_box, add_rule, alerts, judging, send, spans

SOON = 2.1 / 60


async def test_on_the_way_back_they_are_disabled_and_what_they_fired_is_closed(
    tenant: Tenant, site_id: str, database: Database, settings: VigieSettings
) -> None:
    box = await add_box(tenant, site_id, "corner")
    await send(tenant, box, [5, 5, 5])
    rule = await add_rule(tenant, site_id)
    nested = await add_rule(tenant, site_id, {"not": {"index": "eaqi", "band": "poor"}})
    plain = await add_rule(tenant, site_id, {"metric": "pm2_5", "operator": ">", "threshold": 500})
    async with judging(database) as judge:
        await judge.look(1 + SOON)
    await asyncio.to_thread(downgrade, settings.database, "0022")
    await asyncio.to_thread(upgrade, settings.database)
    connection = await database.connect()
    rows = await connection.fetch("SELECT id, enabled FROM rules")
    await connection.close()
    enabled = {str(row["id"]): row["enabled"] for row in rows}
    assert (enabled[rule], enabled[nested], enabled[plain]) == (False, False, True)
    (alert,) = await alerts(tenant, rule)
    assert (alert["state"], alert["resolution"]) == ("resolved", "rule_disabled")
    (await tenant.client.patch(f"/v1/rules/{rule}", json={"enabled": True})).raise_for_status()
    async with judging(database) as judge:
        await judge.look(2 + SOON)
    assert [span[1] for span in await spans(tenant, rule)] == [1, 2]
