"""Subscriptions of a tenant, and the worker of the delivery process that serves them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from app.measurement_stream.sequencer import run_sequencer
from app.measurement_stream.subscriptions.worker import run_subscriptions
from app.notifications.mqtt.mqtt_transport import MqttTransport
from app.notifications.settings import WebhookSettings
from app.platform.db.database import Database
from app.platform.secrets.sealing import SecretSealer
from app.settings import VigieSettings
from tests.conftest import Tenant

QUICK = {"size": 500, "max_age": "PT0S"}


@asynccontextmanager
async def serving(settings: VigieSettings, webhooks: WebhookSettings | None = None) -> AsyncIterator[None]:
    """Run the sequencer and the worker, in the role of the delivery process."""
    stop = asyncio.Event()
    database = Database(settings.database, application="deliver", role="vigie_deliver")
    sealer = SecretSealer.of(settings.encryption)
    async with MqttTransport(settings.broker) as mqtt:
        tasks = [
            asyncio.create_task(run_sequencer(database, stop)),
            asyncio.create_task(
                run_subscriptions(webhooks or settings.webhooks, database, sealer, mqtt, stop)
            ),
        ]
        try:
            yield
        finally:
            stop.set()
            await asyncio.gather(*tasks)
            await database.close()


async def subscribe(tenant: Tenant, sink: dict[str, Any], **more: object) -> dict[str, Any]:
    """Create a subscription that sends each item at once."""
    body = {"name": "Test", "sink": sink, "batch": QUICK, **more}
    answer = await tenant.client.post("/v1/measurement-subscriptions", json=body)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def read_subscription(tenant: Tenant, identifier: str) -> dict[str, Any]:
    answer = await tenant.client.get(f"/v1/measurement-subscriptions/{identifier}")
    shown: dict[str, Any] = answer.raise_for_status().json()
    return shown


async def act(tenant: Tenant, identifier: str, action: str, body: object = None) -> dict[str, Any]:
    answer = await tenant.client.post(f"/v1/measurement-subscriptions/{identifier}/{action}", json=body)
    assert answer.status_code in {200, 202}, answer.text
    shown: dict[str, Any] = answer.json()
    return shown


async def list_batches(tenant: Tenant, identifier: str) -> list[dict[str, Any]]:
    """List the batches of a subscription, oldest first."""
    answer = await tenant.client.get(
        f"/v1/measurement-subscriptions/{identifier}/batches", params={"sort": "created_at", "limit": 200}
    )
    shown: list[dict[str, Any]] = answer.raise_for_status().json()["data"]
    return shown


async def eventually[T](find: Callable[[], Awaitable[T]], patience_s: float = 60.0) -> T:
    """Ask until the answer is true."""
    async with asyncio.timeout(patience_s):
        while not (found := await find()):  # noqa: ASYNC110 (another process changes it)
            await asyncio.sleep(0.05)
        return found


async def until_sent(tenant: Tenant, identifier: str, items: int) -> dict[str, Any]:
    """Wait until a sink has confirmed so many items."""

    async def find() -> dict[str, Any] | None:
        shown = await read_subscription(tenant, identifier)
        return shown if shown["items_sent"] >= items else None

    found = await eventually(find)
    assert found is not None
    return found
