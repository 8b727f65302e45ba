"""The main path with nothing left out: a box publishes, a client's webhook receives; all parts are real.

What happens to it when a part is killed is in tests/faults.
"""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiomqtt
import asyncpg
import pytest
from aiohttp import web
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from standardwebhooks import Webhook

from app.settings import VigieSettings
from app.standalone.private_mosquitto import PrivateMosquitto
from tests.conftest import Tenant
from tests.scenarios.processes import RoleProcess, role, until
from tools.rehearsals.monitoring_parts import run_signal_receiver

START = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=20)


@dataclass
class Receiver:
    """A client's HTTP server."""

    url: str = ""
    statuses: list[int] = field(default_factory=list)
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.got.append((headers, await request.read()))
        return web.Response(status=self.statuses.pop(0) if self.statuses else 204)

    def bodies(self) -> list[dict[str, Any]]:
        return [json.loads(body) for _, body in self.got]

    def ids(self) -> list[str]:
        return [headers["webhook-id"] for headers, _ in self.got]


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    made = Receiver()
    application = web.Application()
    application.router.add_post("/hook", made.handle)
    runner = web.AppRunner(application, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    yield made
    await runner.cleanup()


@dataclass
class City:
    """A site with a box, a rule and a webhook."""

    tenant: Tenant
    broker: PrivateMosquitto
    connection: asyncpg.Connection
    box: str
    password: str
    endpoint: str
    secret: str

    async def publish(self, *samples: tuple[int, float], traceparent: str | None = None) -> None:
        properties = None
        if traceparent is not None:
            properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call] # paho's is untyped
            properties.UserProperty = [("traceparent", traceparent)]
        async with aiomqtt.Client(
            *(self.broker.host, self.broker.port),
            username=self.box,
            password=self.password,
            identifier=self.box,
            protocol=aiomqtt.ProtocolVersion.V5,
        ) as client:
            for minute, value in samples:
                body = {
                    "seq": abs(minute),
                    "time": (START + timedelta(minutes=minute)).isoformat(),
                    "values": {"pm2_5": value},
                }
                topic = f"vigie/v1/{self.box}/telemetry"
                await client.publish(topic, json.dumps(body), qos=1, properties=properties)

    async def rows(self) -> int:
        count: int = await self.connection.fetchval("SELECT count(*) FROM samples")
        return count

    async def consuming(self) -> None:
        """Wait until the consumer's session exists: what is published before it, no broker keeps."""

        async def ask() -> bool:
            query = "SELECT count(*) FROM heartbeats WHERE role = 'ingest' AND state = 'consuming'"
            return bool(await self.connection.fetchval(query))

        await until(ask)

    async def delivered(self, number: int) -> list[dict[str, Any]]:
        async def ask() -> list[dict[str, Any]]:
            answer = await self.tenant.client.get(f"/v1/webhooks/{self.endpoint}/deliveries")
            data: list[dict[str, Any]] = answer.raise_for_status().json()["data"]
            return data if sum(entry["state"] == "delivered" for entry in data) >= number else []

        return await until(ask)


@pytest.fixture
async def city(
    tenant: Tenant, site_id: str, mosquitto: PrivateMosquitto, settings: VigieSettings, receiver: Receiver
) -> AsyncIterator[City]:
    client = tenant.client
    made = await client.post("/v1/boxes", json={"id": "street-1", "site_id": site_id})
    box = made.raise_for_status().json()
    condition = {"metric": "pm2_5", "operator": ">", "threshold": 25, "clear": 20, "for": "PT2M"}
    rule = {"site_id": site_id, "name": "Fine dust", "severity": "warning", "condition": condition}
    (await client.post("/v1/rules", json=rule)).raise_for_status()
    body = {"url": receiver.url, "events": ["alert.firing", "alert.resolved"]}
    endpoint = (await client.post("/v1/webhooks", json=body)).raise_for_status().json()
    connection = await asyncpg.connect(settings.database.url)
    yield City(
        tenant,
        mosquitto,
        connection,
        box["id"],
        box["credentials"]["password"],
        endpoint["id"],
        endpoint["secret"],
    )
    await connection.close()


@pytest.fixture
async def roles(city: City, tmp_path: Path) -> AsyncIterator[dict[str, RoleProcess]]:
    environment = {"VIGIE_WEBHOOKS__SCHEDULE_S": "[0, 0.2, 0.4, 0.8, 1.6]"}
    async with role("ingest", tmp_path) as ingest, role("deliver", tmp_path, **environment) as deliver:
        await city.consuming()
        yield {"ingest": ingest, "deliver": deliver}


@pytest.mark.usefixtures("roles")
async def test_publish_row_alert_delivery(city: City, receiver: Receiver) -> None:
    await city.publish(*enumerate([10, 30, 31, 32, 24, 19]))
    deliveries = await city.delivered(2)
    assert await city.rows() == 6
    for headers, body in receiver.got:
        Webhook(city.secret).verify(body, headers)
    firing, resolved = sorted(receiver.bodies(), key=lambda body: body["data"]["sequence"])
    assert (firing["type"], resolved["type"]) == ("alert.firing", "alert.resolved")
    assert firing["data"]["box"] == "street-1"
    assert (firing["data"]["value"], firing["data"]["threshold"]) == (32, 25)
    assert datetime.fromisoformat(firing["data"]["started_at"]) == START + timedelta(minutes=3)
    assert datetime.fromisoformat(resolved["data"]["resolved_at"]) == START + timedelta(minutes=5)
    assert all(len(entry["attempts"]) == 1 and entry["attempts"][0]["status"] == 204 for entry in deliveries)


@pytest.mark.usefixtures("roles")
async def test_duplicates_change_nothing(city: City, receiver: Receiver) -> None:
    samples = [(minute, value) for minute, value in enumerate([10.0, 30, 31, 32]) for _ in range(2)]
    await city.publish(*samples)
    await city.delivered(1)
    await city.publish(*samples)

    async def counted() -> bool:
        total = "SELECT sum(stored), sum(duplicate) FROM ingest_totals"
        return tuple(await city.connection.fetchrow(total) or ()) == (4, 12)

    await until(counted)
    assert await city.rows() == 4
    assert [body["type"] for body in receiver.bodies()] == ["alert.firing"]


@pytest.mark.usefixtures("roles")
async def test_a_receiver_that_is_down_gets_it_later_under_the_same_id(
    city: City, receiver: Receiver
) -> None:
    receiver.statuses = [503, 500]
    await city.publish((0, 30), (1, 30), (2, 30))
    (delivery,) = await city.delivered(1)
    assert [attempt["status"] for attempt in delivery["attempts"]] == [503, 500, 204]
    assert len(set(receiver.ids())) == 1
    assert len({body for _, body in receiver.got}) == 1
    for headers, body in receiver.got:
        Webhook(city.secret).verify(body, headers)


async def test_one_trace_leads_from_the_publish_to_the_webhook(
    city: City, receiver: Receiver, tmp_path: Path
) -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    async with run_signal_receiver() as collector:
        telemetry = {
            "VIGIE_TELEMETRY__TRACES_ENDPOINT": f"{collector.url}/v1/traces",
            # Only what a client samples itself.
            "VIGIE_TELEMETRY__SAMPLE_RATIO": "0",
        }
        async with role("ingest", tmp_path, **telemetry), role("deliver", tmp_path, **telemetry):
            await city.consuming()
            await city.publish((0, 30), (1, 30), (2, 30), traceparent=f"00-{trace}-00f067aa0ba902b7-01")
            await city.delivered(1)
    spans = {span["name"]: span for span in collector.spans}
    assert spans.keys() == {"alert.firing", "fan out", "deliver webhook"}
    assert {span["trace_id"] for span in spans.values()} == {trace}
    event, attempt = spans["alert.firing"], spans["deliver webhook"]
    assert event["parent_id"] == "00f067aa0ba902b7"
    assert spans["fan out"]["parent_id"] == attempt["parent_id"] == event["span_id"]
    assert (event["process"], attempt["process"]) == ("vigie-ingest", "vigie-deliver")
    assert attempt["attributes"]["http.response.status_code"] == 204
    (headers,) = (headers for headers, _ in receiver.got)
    assert headers["traceparent"] == f"00-{trace}-{attempt['span_id']}-01"


@pytest.mark.usefixtures("roles")
async def test_without_telemetry_a_webhook_has_no_trace(city: City, receiver: Receiver) -> None:
    await city.publish((0, 30), (1, 30), (2, 30), traceparent=f"00-{'a' * 32}-{'b' * 16}-01")
    await city.delivered(1)
    assert all("traceparent" not in headers for headers, _ in receiver.got)
    assert await city.connection.fetchval("SELECT count(*) FROM outbox WHERE traceparent IS NOT NULL") == 0
