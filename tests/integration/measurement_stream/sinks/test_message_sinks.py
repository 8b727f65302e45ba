"""Measurements as messages of MQTT, NATS JetStream, RabbitMQ and Kafka."""

import asyncio
import json
from typing import Any
from uuid import UUID

import aio_pika
import aiomqtt
import nats
import pytest
from confluent_kafka import Consumer

from app.measurement_stream.formats.format_registry import FormatName
from app.measurement_stream.sinks.nats_sink import NatsSink
from app.measurement_stream.sinks.sink_types import SinkConfig
from app.settings import VigieSettings
from app.standalone.private_mosquitto import PrivateMosquitto
from tests.conftest import Tenant
from tests.integration.measurement_stream.conftest import NOW, send
from tests.integration.measurement_stream.receiving_servers import PASSWORD, RABBITMQ_LOGIN, Server
from tests.integration.measurement_stream.sinks.conftest import ONE, make_batch
from tests.integration.measurement_stream.subscribing import (
    act,
    eventually,
    read_subscription,
    serving,
    subscribe,
    until_sent,
)


async def test_mqtt_reaches_the_account_of_the_organisation_alone(  # noqa: PLR0917 (fixtures)
    settings: VigieSettings,
    tenant: Tenant,
    other_tenant: Tenant,
    boxes: list[str],
    site_id: str,
    mosquitto: PrivateMosquitto,
) -> None:
    refused = await tenant.client.post(
        "/v1/measurement-subscriptions", json={"name": "Test", "sink": {"kind": "mqtt"}}
    )
    assert (refused.status_code, refused.json()["code"]) == (409, "mqtt_account_missing")
    logins = []
    for each in (tenant, other_tenant):
        answer = await each.client.post("/v1/channels", json={"kind": "mqtt"})
        logins.append(answer.raise_for_status().json()["credentials"])
    own, foreign = (
        aiomqtt.Client(mosquitto.host, mosquitto.port, username=login["username"], password=login["password"])
        for login in logins
    )
    root = f"vigie/v1/measurements/@{tenant.id}"
    async with own, foreign, serving(settings):
        for client in (own, foreign):
            await client.subscribe(f"{root}/#", qos=1)
        made = await subscribe(tenant, {"kind": "mqtt"}, format="senml")
        await send(tenant, boxes[0], *((float(number), {"pm2_5": float(number)}) for number in range(250)))
        await send(tenant, boxes[1], (0, {"laeq": 50}))
        await until_sent(tenant, made["id"], 251)
        got = []
        async with asyncio.timeout(60):
            async for message in own.messages:
                got.append((str(message.topic), json.loads(bytes(message.payload))))
                if len(got) == 251:
                    break
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await anext(aiter(foreign.messages))
    assert {topic for topic, _ in got} == {f"{root}/{site_id}/{box}" for box in boxes[:2]}
    assert [pack[0]["v"] for topic, pack in got if topic.endswith(boxes[0])] == list(range(250))


async def test_jetstream_stores_a_repeated_item_once(
    settings: VigieSettings, tenant: Tenant, boxes: list[str], site_id: str, nats_server: Server
) -> None:
    connection = await nats.connect(f"nats://{nats_server.address}", user="vigie", password=PASSWORD)
    streams = connection.jetstream()
    sink = {
        "kind": "nats",
        "server": nats_server.address,
        "tls": False,
        "subject": "city.air",
        "username": "vigie",
        "password": PASSWORD,
    }
    async with serving(settings):
        made = await subscribe(tenant, sink, format="cloudevents")
        await send(tenant, boxes[0], *((float(number), {"pm2_5": float(number)}) for number in range(20)))

        async def refused() -> str | None:
            found: str | None = (await read_subscription(tenant, made["id"]))["health"]["last_detail"]
            return found

        assert "no stream has this subject" in str(await eventually(refused))
        await streams.add_stream(name="air", subjects=["city.air.>"])
        await until_sent(tenant, made["id"], 20)
        await act(tenant, made["id"], "rewind", {"time": "2026-01-01T00:00:00Z"})
        await until_sent(tenant, made["id"], 40)
    reading = await streams.subscribe("city.air.>", ordered_consumer=True)
    got = [await reading.next_msg(timeout=60) for _ in range(20)]
    with pytest.raises(TimeoutError):
        await reading.next_msg(timeout=0.3)
    await connection.close()
    events = [json.loads(message.data) for message in got]
    assert {message.subject for message in got} == {f"city.air.{site_id}.{boxes[0]}"}
    assert [event["data"]["values"]["pm2_5"] for event in events] == list(range(20))
    assert [(message.headers or {})["id"] for message in got] == [event["id"] for event in events]


async def test_jetstream_stores_an_item_for_each_subscription_and_configuration(nats_server: Server) -> None:
    connection = await nats.connect(f"nats://{nats_server.address}", user="vigie", password=PASSWORD)
    streams = connection.jetstream()
    await streams.add_stream(name="shared", subjects=["shared.>"])
    target = {"server": nats_server.address, "tls": False, "username": "vigie"}

    async def deliver(subscription: int, subject: str, *metrics: str, format_: FormatName = "json") -> int:
        config = SinkConfig(
            UUID(int=subscription),
            ONE,
            "nats",
            format_,
            False,
            metrics,
            {**target, "subject": f"shared.{subject}"},
            {"password": PASSWORD},
        )
        sink = NatsSink(config, 30, allow_private=True)
        assert (await sink.send(make_batch(pm2_5=1.5, laeq=50), NOW)).delivered
        await sink.close()
        return (await streams.stream_info("shared")).state.messages

    assert await deliver(1, "air", "pm2_5") == 1
    assert await deliver(1, "air", "pm2_5") == 1
    assert await deliver(2, "air", "pm2_5") == 2
    assert await deliver(1, "air", "pm2_5", "laeq") == 3
    assert await deliver(1, "air", "pm2_5", format_="cloudevents") == 4
    assert await deliver(1, "noise", "pm2_5") == 5
    await connection.close()


async def test_rabbitmq_confirms_what_a_queue_has(
    settings: VigieSettings, tenant: Tenant, boxes: list[str], site_id: str, rabbitmq_server: Server
) -> None:
    connection = await aio_pika.connect(
        host="127.0.0.1",
        port=rabbitmq_server.port,
        login=RABBITMQ_LOGIN["username"],
        password=RABBITMQ_LOGIN["password"],
    )
    channel = await connection.channel()
    exchange = await channel.declare_exchange("measurements", aio_pika.ExchangeType.TOPIC, durable=True)
    sink = {
        "kind": "rabbitmq",
        "server": rabbitmq_server.address,
        "tls": False,
        "exchange": "measurements",
        **RABBITMQ_LOGIN,
    }
    async with serving(settings):
        made = await subscribe(tenant, sink)
        await send(tenant, boxes[0], *((float(number), {"pm2_5": float(number)}) for number in range(20)))

        async def refused() -> str | None:
            found: str | None = (await read_subscription(tenant, made["id"]))["health"]["last_reason"]
            return found

        # No queue is bound yet, so nothing is lost.
        assert await eventually(refused) == "refused"
        queue = await channel.declare_queue("air", durable=True)
        await queue.bind(exchange, f"{site_id}.*")
        await until_sent(tenant, made["id"], 20)
    got: list[Any] = []
    while (message := await queue.get(no_ack=True, fail=False)) is not None:
        got.append(message)
    await connection.close()
    items = {message.message_id: json.loads(message.body) for message in got}
    assert len(items) == 20
    assert [items[key]["id"] for key in items] == list(items)
    assert sorted(item["values"]["pm2_5"] for item in items.values()) == list(range(20))
    assert {message.routing_key for message in got} == {f"{site_id}.{boxes[0]}"}
    assert {message.delivery_mode for message in got} == {aio_pika.DeliveryMode.PERSISTENT}


async def test_kafka_has_each_item_under_its_box(
    settings: VigieSettings, tenant: Tenant, boxes: list[str], kafka_brokers: list[str]
) -> None:
    """On librdkafka's mock: it says nothing of a real broker's durability, accounts and TLS."""
    sink = {"kind": "kafka", "servers": kafka_brokers[:1], "tls": False, "topic": "measurements"}
    async with serving(settings):
        made = await subscribe(tenant, sink)
        for box in boxes[:2]:
            await send(tenant, box, *((float(number), {"pm2_5": float(number)}) for number in range(20)))
        await until_sent(tenant, made["id"], 40)
    forbidden = settings.webhooks.model_copy(update={"allow_private": False})
    async with serving(settings, forbidden):
        # What was made before the operator forbade it is not sent either.
        await send(tenant, boxes[0], (30, {"pm2_5": 30}))

        async def refused() -> str | None:
            found: str | None = (await read_subscription(tenant, made["id"]))["health"]["last_detail"]
            return found

        assert "does not allow sinks of the kind kafka" in str(await eventually(refused))
    assert (await read_subscription(tenant, made["id"]))["items_sent"] == 40
    consumer = Consumer(
        {"bootstrap.servers": ",".join(kafka_brokers), "group.id": "t", "auto.offset.reset": "earliest"}
    )
    consumer.subscribe(["measurements"])
    got = await asyncio.to_thread(consumer.consume, 40, 60)
    await asyncio.to_thread(consumer.close)
    read: dict[str, list[float]] = {}
    for record in got:
        item = json.loads(record.value() or b"")
        assert dict(record.headers() or ())["id"] == item["id"].encode()
        read.setdefault((record.key() or b"").decode(), []).append(item["values"]["pm2_5"])
    assert read == {box: list(range(20)) for box in boxes[:2]}
