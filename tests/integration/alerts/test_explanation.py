"""`GET /v1/alerts/{id}/explanation`: why an alert fires, in one call."""

import json
from typing import Any

import asyncpg
from fastapi import FastAPI

from app.notifications.delivery.fanout import fan_out_events
from app.notifications.delivery.waiting_groups import send_due_groups
from app.notifications.settings import WebhookSettings
from app.platform.db.database import Database
from tests.conftest import Tenant, client_of
from tests.integration.alerts.watched import CONDITION, WatchedAlerts, at


async def explanation(watched: WatchedAlerts) -> dict[str, Any]:
    alert = await watched.alert()
    answer = await watched.client.get(f"/v1/alerts/{alert['id']}/explanation")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    assert found["alert"] == alert
    return found


async def test_it_has_the_rule_in_words_and_the_measurements_around(watched: WatchedAlerts) -> None:
    await watched.send((0, 10), (1, 30), (2, 31), (3, 32.5), (4, 29))
    found = await explanation(watched)
    assert found["rule"] == found["rule"] | {
        "id": watched.rule_id,
        "name": "Dust",
        "version": 1,
        "sentence": "Warning when PM2.5 is above 25 µg/m³ for 2 minutes, until at or below 20 µg/m³.",
    }
    assert "Avertissement" in found["rule"]["sentence_fr"]
    assert found["rule"]["condition"].items() >= {"metric": "pm2_5", "threshold": 25}.items()
    samples = found["samples"]
    assert (samples["box"], samples["metric"], samples["unit"], samples["truncated"]) == (
        watched.box,
        "pm2_5",
        "µg/m³",
        False,
    )
    assert [(point["time"], point["value"]) for point in samples["points"]] == [
        (at(0), 10),
        (at(1), 30),
        (at(2), 31),
        (at(3), 32.5),
        (at(4), 29),
    ]
    assert [entry["kind"] for entry in found["timeline"]] == ["fired"]
    assert found["deliveries"] == []


async def test_the_measurements_end_with_the_one_that_resolved_it(watched: WatchedAlerts) -> None:
    await watched.send((1, 30), (3, 31), (5, 20), (6, 12))
    points = (await explanation(watched))["samples"]["points"]
    assert points[-1] == {"time": at(5), "value": 20}


async def test_the_rule_is_as_it_was_when_it_fired(watched: WatchedAlerts) -> None:
    await watched.send((1, 30), (3, 31))
    change = {"name": "Less dust", "condition": CONDITION | {"threshold": 26}}
    (await watched.client.patch(f"/v1/rules/{watched.rule_id}", json=change)).raise_for_status()
    rule = (await explanation(watched))["rule"]
    assert (rule["name"], rule["version"]) == ("Dust", 1)
    assert "above 25 µg/m³" in rule["sentence"]


async def test_it_lists_what_was_sent_alone_and_in_groups(
    watched: WatchedAlerts, database: Database, connection: asyncpg.Connection
) -> None:
    grouping = {"by": ["site"], "wait": "PT0S", "interval": "PT1M"}
    for more in ({}, {"grouping": grouping}):
        body = {"url": "https://hooks.example.com/", "events": ["*"], **more}
        made = await watched.client.post("/v1/webhooks", json=body)
        assert made.status_code == 201, made.text
    await watched.send((1, 30), (3, 31))
    dispatcher = await database.connect()
    try:
        await fan_out_events(dispatcher, WebhookSettings())
        await send_due_groups(dispatcher, WebhookSettings())
    finally:
        await dispatcher.close()
    deliveries = (await explanation(watched))["deliveries"]
    assert sorted(each["type"] for each in deliveries) == ["alert.firing", "alert.group"]
    assert {each["state"] for each in deliveries} == {"pending"}
    body = await connection.fetchval("SELECT body FROM deliveries WHERE type = 'alert.firing'")
    assert json.loads(body)["data"]["link"] == (await watched.alert())["link"]


async def test_it_shows_no_more_than_the_caller_may_read(
    watched: WatchedAlerts, application: FastAPI, other_tenant: Tenant
) -> None:
    await watched.send((1, 30), (3, 31))
    path = f"/v1/alerts/{(await watched.alert())['id']}/explanation"
    made = (await watched.client.post("/v1/api-keys", json={"name": "x", "scopes": ["alerts:read"]})).json()
    async with client_of(application, made["key"]) as narrow:
        found = (await narrow.get(path)).json()
    assert (found["samples"], found["deliveries"]) == (None, None)
    assert (await other_tenant.client.get(path)).status_code == 404
