"""From what happened to a subscriber: outbox, fan-out, dispatcher and a real broker."""

import asyncio
import json
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import aiomqtt
import asyncpg

from app.notifications.delivery.transport_types import build_message_id
from app.notifications.mqtt.mqtt_transport import build_topic_root
from app.platform.config.platform_settings import BrokerSettings
from app.platform.db.database import Database
from app.settings import VigieSettings
from app.standalone.private_mosquitto import PrivateMosquitto
from tests.conftest import ACCOUNTS, Tenant
from tests.integration.notifications.helpers import (
    add_endpoint,
    add_organisation,
    alert_event,
    dispatching,
    emit,
    states,
    until,
    with_webhooks,
)
from tests.integration.registry.links import link

Message = tuple[str, dict[str, Any]]


async def received(client: aiomqtt.Client, count: int) -> list[Message]:
    found: list[Message] = []
    async with asyncio.timeout(60):
        async for message in client.messages:
            found.append((str(message.topic), json.loads(message.payload)))
            if len(found) == count:
                break
    return found


async def received_distinct(client: aiomqtt.Client, count: int) -> list[Message]:
    """Receive until that many different messages have come; some may come twice."""
    found: list[Message] = []
    while len({body["id"] for _, body in found}) < count:
        found += await received(client, 1)
    return found


async def open_channel(tenant: Tenant, **body: Any) -> dict[str, Any]:  # noqa: ANN401 (a JSON body)
    answer = await tenant.client.post("/v1/channels", json={"kind": "mqtt", **body})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def test_an_alert_reaches_who_subscribes_with_the_channel_s_account(
    *,
    tenant: Tenant,
    other_tenant: Tenant,
    site_id: str,
    database: Database,
    connection: asyncpg.Connection,
    settings: VigieSettings,
    mosquitto: PrivateMosquitto,
) -> None:
    made = await open_channel(tenant)
    theirs = await open_channel(other_tenant)
    ours = alert_event(UUID(tenant.id), site_id=UUID(site_id))
    async with (
        link(mosquitto, **made["credentials"]) as client,
        link(mosquitto, **theirs["credentials"]) as foreign,
        dispatching(with_webhooks(settings), database),
    ):
        await client.subscribe(made["topic"], qos=1)
        await foreign.subscribe("#", qos=1)
        await emit(connection, ours)
        ((topic, body),) = await received(client, 1)
        assert topic == f"vigie/v1/@{tenant.id}/alerts/{site_id}/alert.firing"
        assert list(body) == ["id", "type", "timestamp", "data"]
        assert (body["id"], body["type"]) == (build_message_id(ours.id), "alert.firing")
        assert body["data"]["alert_id"] == str(ours.payload["alert_id"])

        tested = await tenant.client.post(f"/v1/channels/{made['id']}/test")
        assert tested.status_code == 202
        ((topic, body),) = await received(client, 1)
        assert (topic, body["id"]) == (
            f"vigie/v1/@{tenant.id}/alerts/-/webhook.test",
            tested.json()["webhook_id"],
        )
        await emit(connection, alert_event(UUID(other_tenant.id)))
        ((topic, _),) = await received(foreign, 1)
        assert topic.startswith(f"{build_topic_root(UUID(other_tenant.id))}/")
    log = (await tenant.client.get(f"/v1/channels/{made['id']}/deliveries")).json()["data"]
    assert [(each["type"], each["state"], len(each["attempts"])) for each in log] == [
        ("webhook.test", "delivered", 1),
        ("alert.firing", "delivered", 1),
    ]
    assert log[0]["attempts"][0]["reason"] == "delivered"


async def test_cloudevents_and_groups(
    tenant: Tenant,
    database: Database,
    connection: asyncpg.Connection,
    settings: VigieSettings,
    mosquitto: PrivateMosquitto,
) -> None:
    made = await open_channel(tenant, format="cloudevents", grouping={"by": ["rule"], "wait": "PT0S"})
    async with (
        link(mosquitto, **made["credentials"]) as client,
        dispatching(with_webhooks(settings), database),
    ):
        await client.subscribe(made["topic"], qos=1)
        organisation = UUID(tenant.id)
        await emit(connection, *(alert_event(organisation, box=f"box-{number}") for number in range(3)))
        ((topic, body),) = await received(client, 1)
    assert topic == f"vigie/v1/@{tenant.id}/alerts/-/alert.group"
    assert (body["specversion"], body["type"]) == ("1.0", "vigie.alert.group")
    assert len(body["data"]["events"]) == 3


async def test_a_stopped_broker_loses_nothing_and_who_was_away_gets_it_too(
    database: Database, connection: asyncpg.Connection, settings: VigieSettings, folder: Path
) -> None:
    organisation, username = await add_organisation(connection), "ingest"
    reader = f"@{organisation}"
    passwords = {username: ACCOUNTS[username], reader: "reader-password"}
    await add_endpoint(connection, organisation, None, kind="mqtt", target={})
    async with PrivateMosquitto(folder / "mosquitto", accounts=passwords) as broker:
        changed = settings.broker.model_copy(update={"port": broker.port})
        assert isinstance(changed, BrokerSettings)
        elsewhere = with_webhooks(settings, schedule_s=[0, *[0.1] * 200], poll_s=0.2)
        elsewhere = elsewhere.model_copy(update={"broker": changed})

        def subscriber() -> aiomqtt.Client:
            return aiomqtt.Client(
                broker.host,
                broker.port,
                username=reader,
                password=passwords[reader],
                identifier=f"reader-{organisation}",
                clean_session=False,
                timeout=5,
            )

        async with subscriber() as client:
            await client.subscribe(f"{build_topic_root(organisation)}/#", qos=1)
        sites = [uuid4() for _ in range(30)]
        events = [alert_event(organisation, site_id=site) for site in sites]
        async with dispatching(elsewhere, database):
            await emit(connection, *events[:10])
            await until(lambda: _delivered(connection, 10))
            await broker.stop()
            await emit(connection, *events[10:20])
            await until(lambda: _tried(connection))
            await broker.start()
            await emit(connection, *events[20:])
            await until(lambda: _delivered(connection, 30), patience=60)
        async with subscriber() as client:
            got = await received_distinct(client, 30)
    # At least once: of what was on its way when the broker stopped, something may come twice.
    assert {body["id"] for _, body in got} == {build_message_id(event.id) for event in events}
    assert {topic.split("/")[4] for topic, _ in got} == {str(site) for site in sites}


async def _delivered(connection: asyncpg.Connection, count: int) -> bool:
    return (await states(connection)).get("delivered", 0) == count


async def _tried(connection: asyncpg.Connection) -> bool:
    """Whether an attempt failed for want of a broker."""
    failed: int = await connection.fetchval(
        "SELECT count(*) FROM delivery_attempts WHERE reason IN ('connect_failed', 'response_broken')"
    )
    return failed > 0


async def test_what_a_broker_that_is_away_comes_to_stands_in_the_log(
    tenant: Tenant, database: Database, connection: asyncpg.Connection, settings: VigieSettings
) -> None:
    made = await open_channel(tenant)
    nowhere = settings.broker.model_copy(update={"port": 1})
    changed = with_webhooks(settings, schedule_s=[0]).model_copy(update={"broker": nowhere})
    async with dispatching(changed, database):
        await emit(connection, alert_event(UUID(tenant.id)))
        await until(lambda: _is(connection, "failed"))
    (delivery,) = (await tenant.client.get(f"/v1/channels/{made['id']}/deliveries")).json()["data"]
    (attempt,) = delivery["attempts"]
    assert (attempt["reason"], attempt["status"]) == ("connect_failed", None)
    # Where the broker is, is none of its clients' business.
    assert attempt["body"] is None


async def _is(connection: asyncpg.Connection, state: str) -> bool:
    return bool((await states(connection)).get(state))
