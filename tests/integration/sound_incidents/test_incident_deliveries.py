"""The deliveries of one incident, which are not those of its alerts."""

import pytest

from app.notifications.delivery.fanout import fan_out_events
from app.notifications.settings import WebhookSettings
from app.platform.db.database import Database
from app.platform.kernel.ids import new_id
from tests.conftest import Tenant
from tests.integration.sound_incidents.square import Square, shot


@pytest.fixture
async def incident(square: Square, database: Database) -> str:
    """An incident with alerts, of which a webhook and a channel were notified."""
    client = square.tenant.client
    rule = {"site_id": square.site, "name": "Shots", "condition": {"event": "gunshot", "window": "PT2M"}}
    (await client.post("/v1/rules", json=rule | {"severity": "critical"})).raise_for_status()
    hook = {"url": "https://hooks.example.com/", "events": ["*"]}
    (await client.post("/v1/webhooks", json=hook)).raise_for_status()
    (await client.post("/v1/channels", json={"kind": "mqtt"})).raise_for_status()
    await square.send(shot())
    await square.work()
    dispatcher = await database.connect()
    try:
        await fan_out_events(dispatcher, WebhookSettings())
    finally:
        await dispatcher.close()
    (found,) = await square.incidents()
    return str(found["id"])


async def test_deliveries_of_an_incident_are_listed_in_one_call(
    square: Square, incident: str, other_tenant: Tenant
) -> None:
    client = square.tenant.client
    every = (await client.get("/v1/deliveries", params={"limit": 200})).json()["data"]
    assert "alert.firing" in {each["type"] for each in every}
    found = (await client.get("/v1/deliveries", params={"incident": incident})).json()["data"]
    assert sorted((each["endpoint_kind"], each["type"]) for each in found) == [
        ("mqtt", "incident.detected"),
        ("webhook", "incident.detected"),
    ]
    failed = await client.get("/v1/deliveries", params={"incident": incident, "state": "failed"})
    assert failed.json()["data"] == []
    for reader, asked in ((client, str(new_id())), (other_tenant.client, incident)):
        answer = await reader.get("/v1/deliveries", params={"incident": asked})
        assert answer.json()["data"] == []
