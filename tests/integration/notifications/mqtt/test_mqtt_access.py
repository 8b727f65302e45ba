"""Who may read and publish what at the broker, with the accounts of MQTT channels."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import aiomqtt
import pytest
from pydantic import SecretStr
from sqlalchemy import text

from app.notifications.mqtt.mqtt_connection import BrokerRefusal, PublisherConnection
from app.notifications.mqtt.mqtt_transport import build_topic_root
from app.platform.config.platform_settings import BrokerSettings
from app.platform.db.database import Database
from app.registry import broker_password_file
from app.settings import VigieSettings
from app.standalone.private_mosquitto import PrivateMosquitto
from tests.conftest import ACCOUNTS, Tenant
from tests.integration.registry.links import can_connect, link

EVERYTHING = ("#", "vigie/#", "vigie/v1/+/alerts/#", "vigie/v1/+/+/+/+", "vigie/v1/+/+", "+/+/+/+", "$SYS/#")


async def open_channel(tenant: Tenant) -> tuple[str, dict[str, str]]:
    """The path of a new MQTT channel, and its credentials."""
    answer = await tenant.client.post("/v1/channels", json={"kind": "mqtt"})
    assert answer.status_code == 201, answer.text
    return f"/v1/channels/{answer.json()['id']}", answer.json()["credentials"]


async def make_box(tenant: Tenant, site_id: str, identifier: str) -> dict[str, str]:
    answer = await tenant.client.post("/v1/boxes", json={"id": identifier, "site_id": site_id})
    assert answer.status_code == 201, answer.text
    credentials: dict[str, str] = answer.json()["credentials"]
    return credentials


@asynccontextmanager
async def collecting(
    broker: PrivateMosquitto, filters: Sequence[str], username: str, password: str
) -> AsyncIterator[list[str]]:
    """The topics of what an account receives of these filters."""
    found: list[str] = []

    async def collect(client: aiomqtt.Client) -> None:
        async for message in client.messages:
            found.append(str(message.topic))  # noqa: PERF401 (others look at it meanwhile)

    async with link(broker, username, password) as client:
        for each in filters:
            await client.subscribe(each, qos=1)
        task = asyncio.create_task(collect(client))
        try:
            yield found
        finally:
            task.cancel()
            await asyncio.wait((task,))


async def arrives(found: list[str], topic: str) -> None:
    async with asyncio.timeout(60):
        while topic not in found:  # noqa: ASYNC110 (a list tells nobody)
            await asyncio.sleep(0.01)


@asynccontextmanager
async def speaking(
    broker: PrivateMosquitto, username: str, password: str
) -> AsyncIterator[PublisherConnection]:
    """A connection that is told which of its messages the broker refuses."""
    settings = BrokerSettings(
        host=broker.host, port=broker.port, username=username, password=SecretStr(password)
    )
    opened = PublisherConnection(settings, timeout_s=5)
    try:
        yield opened
    finally:
        await opened.close(5)


async def say(speaker: PublisherConnection, topic: str) -> Any:  # noqa: ANN401 (a refusal or not)
    async with asyncio.timeout(60):
        return await speaker.publish(topic, b"{}", "application/json")


async def cut_off(client: aiomqtt.Client) -> None:
    async with asyncio.timeout(60):
        with pytest.raises(aiomqtt.MqttError):
            await anext(aiter(client.messages))


async def test_a_password_works_at_once_until_it_is_replaced_or_the_channel_deleted(
    tenant: Tenant, mosquitto: PrivateMosquitto
) -> None:
    path, first = await open_channel(tenant)
    username = first["username"]
    async with link(mosquitto, username, first["password"]) as connected:
        rotated = (await tenant.client.post(f"{path}/rotate-password")).json()["credentials"]
        await cut_off(connected)
    assert not await can_connect(mosquitto, username, first["password"])
    async with link(mosquitto, username, rotated["password"]) as connected:
        # What does not change the password leaves who is connected alone.
        assert (await tenant.client.patch(path, json={"enabled": False})).status_code == 200
        await connected.subscribe(f"vigie/v1/{username}/alerts/#", qos=1)
        assert (await tenant.client.delete(path)).status_code == 204
        await cut_off(connected)
    assert not await can_connect(mosquitto, username, rotated["password"])


async def test_accounts_that_are_in_force_are_left_alone(
    tenant: Tenant, database: Database, settings: VigieSettings, mosquitto: PrivateMosquitto, site_id: str
) -> None:
    await make_box(tenant, site_id, "box-access")
    path, credentials = await open_channel(tenant)
    names = [line.partition(":")[0] for line in mosquitto.password_file.read_text().splitlines()]
    assert names == [*ACCOUNTS, broker_password_file.PROBE, "box-access", credentials["username"]]
    before = mosquitto.password_file.stat().st_ino
    await broker_password_file.sync_password_file(database, settings.broker, only_if_stale=True)
    assert mosquitto.password_file.stat().st_ino == before
    async with database.write() as session:
        await session.execute(text("UPDATE broker_accounts SET password_hash = 'x'"))
    await broker_password_file.sync_password_file(database, settings.broker, only_if_stale=True)
    assert mosquitto.password_file.stat().st_ino != before
    assert not await can_connect(mosquitto, credentials["username"], credentials["password"])
    await tenant.client.delete(path)


async def test_a_file_that_cannot_be_written_is_told_and_mended_by_a_new_password(
    tenant: Tenant, settings: VigieSettings, mosquitto: PrivateMosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings.broker, "password_file", mosquitto.password_file / "no-folder")
    answer = await tenant.client.post("/v1/channels", json={"kind": "mqtt"})
    assert (answer.status_code, answer.json()["code"]) == (503, "broker_accounts")
    assert "new password" in answer.json()["detail"]
    monkeypatch.undo()
    (channel,) = (await tenant.client.get("/v1/channels")).json()["data"]
    answer = await tenant.client.post(f"/v1/channels/{channel['id']}/rotate-password")
    credentials = answer.json()["credentials"]
    assert await can_connect(mosquitto, credentials["username"], credentials["password"])


async def test_an_account_reads_its_own_alerts_and_nothing_else(
    tenant: Tenant, other_tenant: Tenant, site_id: str, mosquitto: PrivateMosquitto
) -> None:
    box = await make_box(tenant, site_id, "box-access")
    _, ours = await open_channel(tenant)
    _, theirs = await open_channel(other_tenant)
    roots = {
        tenant.id: build_topic_root(UUID(tenant.id)),
        other_tenant.id: build_topic_root(UUID(other_tenant.id)),
    }
    async with (
        collecting(mosquitto, EVERYTHING, **ours) as our_mail,
        collecting(mosquitto, EVERYTHING, **theirs) as their_mail,
        collecting(mosquitto, EVERYTHING, **box) as box_mail,
        collecting(mosquitto, EVERYTHING, "gateway", ACCOUNTS["gateway"]) as gateway_mail,
        speaking(mosquitto, "ingest", ACCOUNTS["ingest"]) as roles,
        speaking(mosquitto, **box) as sensor,
    ):
        for topic in ("telemetry", "event", "status", "telemetry/cbor", "config/reported"):
            assert not isinstance(await say(sensor, f"vigie/v1/box-access/{topic}"), BrokerRefusal)
        for topic in ("ack", "config"):
            assert not isinstance(await say(roles, f"vigie/v1/box-access/{topic}"), BrokerRefusal)
        for root in roots.values():
            assert not isinstance(await say(roles, f"{root}/{site_id}/alert.firing"), BrokerRefusal)
            assert not isinstance(await say(roles, f"{root}/-/alert.group"), BrokerRefusal)
        # The last message for each: what was before it has arrived, if it arrives at all.
        await say(roles, "vigie/v1/box-access/alerts/-/last")
        for root in roots.values():
            await say(roles, f"{root}/-/last")
        await arrives(our_mail, f"{roots[tenant.id]}/-/last")
        await arrives(their_mail, f"{roots[other_tenant.id]}/-/last")
        await arrives(box_mail, "vigie/v1/box-access/alerts/-/last")
    for found, root in ((our_mail, roots[tenant.id]), (their_mail, roots[other_tenant.id])):
        assert set(found) == {f"{root}/{site_id}/alert.firing", f"{root}/-/alert.group", f"{root}/-/last"}
    assert not any("@" in topic for topic in (*box_mail, *gateway_mail))
    assert set(box_mail) == {f"vigie/v1/box-access/{each}" for each in ("ack", "config", "alerts/-/last")}


async def test_whoever_takes_over_a_session_reads_nothing_of_it(
    tenant: Tenant, other_tenant: Tenant, mosquitto: PrivateMosquitto
) -> None:
    _, ours = await open_channel(tenant)
    _, theirs = await open_channel(other_tenant)
    mine, foreign = build_topic_root(UUID(tenant.id)), build_topic_root(UUID(other_tenant.id))

    def kept(account: dict[str, str]) -> aiomqtt.Client:
        return aiomqtt.Client(
            mosquitto.host,
            mosquitto.port,
            username=account["username"],
            password=account["password"],
            identifier=f"session-{tenant.id}",
            clean_session=False,
            timeout=5,
        )

    async with kept(ours) as client:
        await client.subscribe(f"{mine}/#", qos=1)
    async with speaking(mosquitto, "ingest", ACCOUNTS["ingest"]) as roles:
        await say(roles, f"{mine}/-/while-away")
        async with kept(theirs) as thief:
            await thief.subscribe("#", qos=1)
            await say(roles, f"{mine}/-/while-taken")
            await say(roles, f"{foreign}/-/last")
            async with asyncio.timeout(60):
                first = await anext(aiter(thief.messages))
    assert str(first.topic) == f"{foreign}/-/last"


async def test_nobody_but_the_roles_publishes_alerts(
    tenant: Tenant, other_tenant: Tenant, site_id: str, mosquitto: PrivateMosquitto
) -> None:
    box = await make_box(tenant, site_id, "box-access")
    _, ours = await open_channel(tenant)
    _, theirs = await open_channel(other_tenant)
    mine, foreign = build_topic_root(UUID(tenant.id)), build_topic_root(UUID(other_tenant.id))
    refused = (
        f"{mine}/-/alert.firing",
        mine,
        f"{foreign}/-/alert.firing",
        f"vigie/v1/{theirs['username']}/telemetry",
        "vigie/v1/box-access/alerts/-/alert.firing",
        "vigie/v1/box-elsewhere/telemetry",
        "application/1/device/box-elsewhere/event/up",
        "$SYS/broker/uptime",
    )
    accounts_ = (ours, box, {"username": "gateway", "password": ACCOUNTS["gateway"]})
    async with collecting(mosquitto, EVERYTHING, **ours) as mail:
        for account in accounts_:
            async with speaking(mosquitto, **account) as speaker:
                for topic in refused:
                    if account["username"] == "gateway" and "/alerts" not in topic:
                        continue
                    answer = await say(speaker, topic)
                    assert isinstance(answer, BrokerRefusal), (account["username"], topic)
                    assert answer.reason == "login_refused"
        async with speaking(mosquitto, "ingest", ACCOUNTS["ingest"]) as roles:
            await say(roles, f"{mine}/-/last")
        await arrives(mail, f"{mine}/-/last")
        assert mail == [f"{mine}/-/last"] * len(mail)
