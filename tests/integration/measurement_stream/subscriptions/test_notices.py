"""An organisation is notified of a subscription that fails for long, and of one that was disabled."""

import json
from typing import Any

import asyncpg
import pytest

from app.notifications.events.event_schemas import EVENT_SCHEMAS
from app.settings import VigieSettings
from tests.conftest import Tenant
from tests.integration.measurement_stream.conftest import send
from tests.integration.measurement_stream.subscribing import eventually, read_subscription, serving, subscribe
from tests.integration.notifications.receivers import receiving, status


async def wait_for_notice(settings: VigieSettings) -> tuple[str, dict[str, Any]]:
    """Return the type and the data of the only notice, which its schema accepts."""
    connection = await asyncpg.connect(settings.database.url)

    async def find() -> list[asyncpg.Record]:
        return await connection.fetch("SELECT * FROM outbox WHERE type LIKE 'subscription.%'")

    [row] = await eventually(find)
    await connection.close()
    data: dict[str, Any] = json.loads(row["payload"])
    body = {"type": row["type"], "timestamp": row["created_at"], "data": data}
    EVENT_SCHEMAS[row["type"]].model_validate(body)
    assert str(row["organisation_id"]) == data["organisation_id"]
    return row["type"], data


@pytest.mark.parametrize(
    ("answer", "limits", "type_", "reason", "state"),
    [
        (410, {}, "subscription.disabled", "gone", "disabled"),
        (
            500,
            {"disable_after_s": 0.1, "breaker_max_s": 0.1},
            "subscription.disabled",
            "failing",
            "disabled",
        ),
        (500, {"warn_after_s": 0.1, "breaker_max_s": 0.1}, "subscription.failing", "failing", "active"),
    ],
)
async def test_a_failing_sink_is_reported_once(  # noqa: PLR0917 (fixtures)
    settings: VigieSettings,
    tenant: Tenant,
    boxes: list[str],
    answer: int,
    limits: dict[str, float],
    type_: str,
    reason: str,
    state: str,
) -> None:
    async with (
        receiving(status(answer)) as receiver,
        serving(settings, settings.webhooks.model_copy(update=limits)),
    ):
        made = await subscribe(tenant, {"kind": "webhook", "url": f"{receiver.url}/secret"})
        await send(tenant, boxes[0], (0, {"pm2_5": 1}))
        told, data = await wait_for_notice(settings)
        shown = await read_subscription(tenant, made["id"])
        assert (told, data["reason"], shown["state"]) == (type_, reason, state)
        # Attempts that go on fail too, and are not reported again.
        await receiver.wait(len(receiver.got) + (state == "active"))
        assert await wait_for_notice(settings) == (told, data)
    assert (data["subscription_id"], data["name"], data["sink"]) == (made["id"], "Test", "webhook")
    assert data["last_status"] == answer
    assert "secret" not in json.dumps(data)


async def test_lost_access_is_reported(settings: VigieSettings, tenant: Tenant, boxes: list[str]) -> None:
    body = {"organisation_id": tenant.id, "name": "short", "scopes": ["webhooks:write", "telemetry:read"]}
    key = (await tenant.client.post("/v1/api-keys", json=body)).raise_for_status().json()
    wanted = {"name": "Test", "sink": {"kind": "webhook", "url": "https://example.com/hooks"}}
    headers = {"Authorization": f"Bearer {key['key']}"}
    made = await tenant.client.post("/v1/measurement-subscriptions", json=wanted, headers=headers)
    made.raise_for_status()
    (await tenant.client.delete(f"/v1/api-keys/{key['id']}")).raise_for_status()
    async with serving(settings):
        await send(tenant, boxes[0], (0, {"pm2_5": 1}))
        type_, data = await wait_for_notice(settings)
    assert (type_, data["reason"]) == ("subscription.disabled", "access_lost")
    shown = await read_subscription(tenant, made.json()["id"])
    assert (shown["state"], shown["disabled_reason"]) == ("disabled", "access_lost")
