"""What people read of an event is written into the outbox with it: names, unit and sentences."""

from typing import Any
from uuid import UUID

import asyncpg
import msgspec

from app.notifications.events.outbox import enqueue_events
from tests.conftest import Tenant
from tests.integration.notifications.helpers import event

SITE = {
    "name": "Rue de Metz",
    "kind": "street",
    "timezone": "Europe/Paris",
    "location": {"type": "Point", "coordinates": [1.44, 43.6]},
}


async def _payloads(connection: asyncpg.Connection) -> list[dict[str, Any]]:
    rows = await connection.fetch("SELECT payload::text FROM outbox ORDER BY position")
    return [msgspec.json.decode(row["payload"]) for row in rows]


async def test_names_are_those_at_the_time_of_the_event(
    tenant: Tenant, connection: asyncpg.Connection
) -> None:
    client = tenant.client
    site = (await client.post("/v1/sites", json=SITE)).json()
    box = {"id": "metz-1", "name": "North crossing", "site_id": site["id"]}
    assert (await client.post("/v1/boxes", json=box)).status_code == 201
    condition = {"metric": "pm2_5", "operator": ">", "threshold": 25, "for": "PT10M"}
    rule = {"site_id": site["id"], "name": "Dust", "severity": "warning", "condition": condition}
    rule_id = (await client.post("/v1/rules", json=rule)).json()["id"]
    data = {"rule_id": rule_id, "rule_name": "Dust", "box": "metz-1", "metric": "pm2_5", "value": 42.0}
    data |= {"threshold": 25.0, "clear": 25.0, "state": "firing", "cause": {"path": "levels/0/condition"}}
    told = event(UUID(tenant.id), site_id=UUID(site["id"]))
    told = told._replace(payload={**told.payload, **data})
    await enqueue_events(connection, [told])
    await client.patch(f"/v1/sites/{site['id']}", json={"name": "Elsewhere"})
    (stored,) = await _payloads(connection)
    assert stored == stored | {
        "site_name": "Rue de Metz",
        "box_name": "North crossing",
        "unit": "µg/m³",
        # It is the site's only box.
        "sentence": "PM2.5 at Rue de Metz is 42 µg/m³, above 25 for 10 minutes",
        "sentence_fr": "Rue de Metz\xa0: PM2,5 à 42\xa0µg/m³, au-dessus de 25 depuis 10 minutes",
    }


async def test_events_of_no_alert_are_not_looked_up(tenant: Tenant, connection: asyncpg.Connection) -> None:
    asked: list[str] = []
    connection.add_query_logger(lambda query: asked.append(query.query))
    told = event(UUID(tenant.id), type_="quota.warning")._replace(payload={"quota": "boxes"})
    await enqueue_events(connection, [told])
    assert not [query for query in asked if "FROM sites" in query]
    assert (await _payloads(connection)) == [{"quota": "boxes"}]
