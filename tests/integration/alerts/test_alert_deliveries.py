"""The deliveries of one alert: of all endpoints, alone and in groups, with their attempts."""

from typing import Any

import asyncpg
import pytest

from app.notifications.delivery.fanout import fan_out_events
from app.notifications.delivery.waiting_groups import send_due_groups
from app.notifications.settings import WebhookSettings
from app.platform.db.database import Database
from app.platform.kernel.ids import new_id
from tests.conftest import Tenant
from tests.integration.alerts.watched import WatchedAlerts, add_box


@pytest.fixture
async def told(watched: WatchedAlerts, database: Database) -> list[str]:
    """The ids of two alerts that two webhooks and a channel were told of, one webhook in groups."""
    grouping = {"by": ["site"], "wait": "PT0S", "interval": "PT1M"}
    for more in ({}, {"grouping": grouping}):
        body = {"url": "https://hooks.example.com/", "events": ["*"], **more}
        assert (await watched.client.post("/v1/webhooks", json=body)).status_code == 201
    assert (await watched.client.post("/v1/channels", json={"kind": "mqtt"})).status_code == 201
    await add_box(watched, "second")
    for box in (watched.box, "second"):
        await watched.send((1, 30), (3, 31), box=box)
    dispatcher = await database.connect()
    try:
        await fan_out_events(dispatcher, WebhookSettings())
        await send_due_groups(dispatcher, WebhookSettings())
    finally:
        await dispatcher.close()
    return [alert["id"] for alert in await watched.alerts()]


async def deliveries(watched: WatchedAlerts, alert: str, **params: Any) -> list[dict[str, Any]]:  # noqa: ANN401 (as in a query)
    answer = await watched.client.get("/v1/deliveries", params={"alert": alert, **params})
    assert answer.status_code == 200, answer.text
    data: list[dict[str, Any]] = answer.json()["data"]
    return data


async def test_all_endpoints_that_were_told_of_an_alert_are_listed_in_one_call(
    watched: WatchedAlerts, told: list[str], connection: asyncpg.Connection
) -> None:
    every = (await watched.client.get("/v1/deliveries")).json()["data"]
    assert len(every) == 5
    first, second = [await deliveries(watched, alert) for alert in told]
    for found in (first, second):
        assert sorted((each["endpoint_kind"], each["type"]) for each in found) == [
            ("mqtt", "alert.firing"),
            ("webhook", "alert.firing"),
            ("webhook", "alert.group"),
        ]
    shared = {each["id"] for each in first} & {each["id"] for each in second}
    assert [each["type"] for each in every if each["id"] in shared] == ["alert.group"]
    alone = next(
        each for each in first if (each["endpoint_kind"], each["type"]) == ("webhook", "alert.firing")
    )
    await connection.executemany(
        "INSERT INTO delivery_attempts"
        " (id, delivery_id, endpoint_id, number, started_at, duration_ms, reason, status)"
        " VALUES ($1, $2, $3, $4, now(), 12, 'http_error', 503)",
        [(new_id(), alone["id"], alone["endpoint_id"], number) for number in range(1, 26)],
    )
    with_attempts = {each["id"]: each["attempts"] for each in await deliveries(watched, told[0])}
    assert [(each["number"], each["status"]) for each in with_attempts[alone["id"]]] == [
        (number, 503) for number in range(1, 26)
    ]


async def test_the_filter_joins_the_others_and_has_pages(watched: WatchedAlerts, told: list[str]) -> None:
    found = await deliveries(watched, told[0])
    endpoint = found[0]["endpoint_id"]
    assert [each["id"] for each in await deliveries(watched, told[0], endpoint=endpoint)] == [found[0]["id"]]
    assert await deliveries(watched, told[0], state="failed") == []
    page = (await watched.client.get("/v1/deliveries", params={"alert": told[0], "limit": 2})).json()
    following = {"alert": told[0], "limit": 2, "cursor": page["next"]}
    rest = (await watched.client.get("/v1/deliveries", params=following)).json()
    assert [each["id"] for each in page["data"] + rest["data"]] == [each["id"] for each in found]


async def test_other_alerts_and_other_tenants_have_none(
    watched: WatchedAlerts, told: list[str], other_tenant: Tenant
) -> None:
    assert await deliveries(watched, str(new_id())) == []
    answer = await other_tenant.client.get("/v1/deliveries", params={"alert": told[0]})
    assert answer.json()["data"] == []
