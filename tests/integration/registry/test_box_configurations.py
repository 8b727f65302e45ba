"""Configurations: desired by REST, retained at the broker, reported by the box."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import aiomqtt
import pytest
from fastapi import FastAPI
from pydantic import SecretStr
from sqlalchemy import text

from app.platform.db.database import Database
from app.platform.kernel.application_resources import get_resource, provide_resources
from app.registry.box_configurations import (
    clear_desired_config,
    publish_configs_within,
    publish_due_configs,
    set_desired_config,
    store_reported_configs,
)
from app.settings import VigieSettings
from app.standalone.private_mosquitto import PrivateMosquitto
from tests.conftest import Tenant
from tests.integration.registry.test_sites import SITE

CONFIG = {"interval_s": 30, "noise": {"weighting": "A"}}


@pytest.fixture
async def password(tenant: Tenant, site_id: str) -> str:
    body = {"id": "tuned", "site_id": site_id}
    made = (await tenant.client.post("/v1/boxes", json=body)).raise_for_status().json()
    word: str = made["credentials"]["password"]
    return word


async def retained(broker: PrivateMosquitto, password: str, within_s: float = 60.0) -> dict[str, Any] | None:
    """What the broker holds for the box: the box subscribes, and sees."""
    async with aiomqtt.Client(broker.host, broker.port, username="tuned", password=password) as client:
        await client.subscribe("vigie/v1/tuned/config", qos=1)
        try:
            async with asyncio.timeout(within_s):
                async for message in client.messages:
                    assert isinstance(message.payload, bytes)
                    assert message.retain
                    found: dict[str, Any] = json.loads(message.payload)
                    return found
        except TimeoutError:
            pass
    return None


@asynccontextmanager
async def listening(broker: PrivateMosquitto, password: str) -> AsyncIterator[list[bytes]]:
    """What is published for the box inside the block. It is complete when the block has ended."""
    heard: list[bytes] = []
    async with aiomqtt.Client(broker.host, broker.port, username="tuned", password=password) as client:
        await client.subscribe("vigie/v1/tuned/config", qos=1)
        yield heard
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.3):
                async for message in client.messages:
                    assert isinstance(message.payload, bytes)
                    # What the broker held before is nothing that was published now.
                    heard += [] if message.retain else [message.payload]


async def test_what_is_desired_is_retained_for_the_box_until_it_is_taken_back(
    tenant: Tenant, mosquitto: PrivateMosquitto, password: str
) -> None:
    empty = (await tenant.client.get("/v1/boxes/tuned/config")).raise_for_status().json()
    assert (empty["desired"], empty["reported"], empty["published"], empty["in_force"]) == (
        None,
        None,
        False,
        False,
    )
    put = (
        (await tenant.client.put("/v1/boxes/tuned/config", json={"config": CONFIG})).raise_for_status().json()
    )
    assert (put["desired"], put["published"], put["in_force"]) == (CONFIG, True, False)
    assert await retained(mosquitto, password) == CONFIG
    gone = (await tenant.client.delete("/v1/boxes/tuned/config")).raise_for_status().json()
    assert (gone["desired"], gone["published"]) == (None, True)
    assert await retained(mosquitto, password, within_s=0.5) is None


async def test_what_is_reported_is_compared(tenant: Tenant, database: Database, password: str) -> None:
    assert password
    await tenant.client.put("/v1/boxes/tuned/config", json={"config": CONFIG})
    connection = await database.connect()
    key = await connection.fetchval("SELECT key FROM boxes WHERE id = 'tuned'")
    now = await connection.fetchval("SELECT now()")
    for reported, in_force in (({"interval_s": 60}, False), (CONFIG, True)):
        await store_reported_configs(connection, {key: reported}, now=now)
        seen = (await tenant.client.get("/v1/boxes/tuned/config")).json()
        assert (seen["reported"], seen["in_force"]) == (reported, in_force)
    await connection.close()


async def test_of_what_was_only_reported_nothing_is_published(
    tenant: Tenant, database: Database, settings: VigieSettings, mosquitto: PrivateMosquitto, password: str
) -> None:
    connection = await database.connect()
    key = await connection.fetchval("SELECT key FROM boxes WHERE id = 'tuned'")
    await store_reported_configs(connection, {key: CONFIG}, now=await connection.fetchval("SELECT now()"))
    await connection.close()
    async with listening(mosquitto, password) as heard:
        began = asyncio.get_running_loop().time()
        await publish_configs_within(database, settings.broker, 60)
        assert asyncio.get_running_loop().time() - began < 30, "it ends as soon as nothing is due"
    assert heard == []
    assert (await tenant.client.get("/v1/boxes/tuned/config")).json()["reported"] == CONFIG


async def test_without_a_broker_it_is_kept_and_published_later(
    application: FastAPI, tenant: Tenant, mosquitto: PrivateMosquitto, settings: VigieSettings, password: str
) -> None:
    wrong = settings.broker.model_copy(update={"password": SecretStr("wrong")})
    provide_resources(application, wrong)
    put = (
        (await tenant.client.put("/v1/boxes/tuned/config", json={"config": CONFIG})).raise_for_status().json()
    )
    assert (put["desired"], put["published"]) == (CONFIG, False)
    assert await publish_due_configs(get_resource(application, Database), settings.broker)
    assert (await tenant.client.get("/v1/boxes/tuned/config")).json()["published"]
    assert await retained(mosquitto, password) == CONFIG
    # The broker is shared by the tests of a session: leave nothing retained.
    provide_resources(application, settings.broker)
    await tenant.client.delete("/v1/boxes/tuned/config")


@pytest.mark.parametrize("desired", [{"interval_s": 90}, None])
async def test_a_change_with_an_earlier_time_is_published_once(
    *,
    tenant: Tenant,
    database: Database,
    settings: VigieSettings,
    mosquitto: PrivateMosquitto,
    password: str,
    desired: dict[str, Any] | None,
) -> None:
    # As a bulk operation that began before the other change, or a host whose clock is behind.
    began = datetime.now(UTC) - timedelta(seconds=10)
    put = await tenant.client.put("/v1/boxes/tuned/config", json={"config": CONFIG})
    assert put.json()["published"]
    async with database.write() as session:
        key = await session.scalar(text("SELECT key FROM boxes WHERE id = 'tuned'"))
        if desired is None:
            await clear_desired_config(session, [key], began)
        else:
            await set_desired_config(session, [key], desired, began)
    stored = (await tenant.client.get("/v1/boxes/tuned/config")).json()
    assert (stored["desired"], stored["published"]) == (desired, False)
    assert datetime.fromisoformat(stored["desired_at"]) > datetime.fromisoformat(put.json()["desired_at"])
    async with listening(mosquitto, password) as heard:
        for _ in range(3):
            assert await publish_due_configs(database, settings.broker)
    assert [json.loads(each) if each else None for each in heard] == [desired]
    assert (await tenant.client.get("/v1/boxes/tuned/config")).json()["published"]
    await tenant.client.delete("/v1/boxes/tuned/config")


async def test_a_late_removal_leaves_the_configuration_of_the_new_box_with_the_id(
    *,
    tenant: Tenant,
    other_tenant: Tenant,
    database: Database,
    settings: VigieSettings,
    mosquitto: PrivateMosquitto,
    password: str,
) -> None:
    assert password
    await tenant.client.put("/v1/boxes/tuned/config", json={"config": CONFIG})
    (await tenant.client.delete("/v1/boxes/tuned")).raise_for_status()
    # Deleted by a host whose clock is ahead, while the broker is unreachable.
    async with database.write() as session:
        await session.execute(text("UPDATE box_configs SET desired_at = now() + interval '1 hour'"))
    site = await other_tenant.client.post("/v1/sites", json=SITE)
    body = {"id": "tuned", "site_id": site.raise_for_status().json()["id"]}
    made = (await other_tenant.client.post("/v1/boxes", json=body)).raise_for_status().json()
    put = await other_tenant.client.put("/v1/boxes/tuned/config", json={"config": {"interval_s": 5}})
    assert put.json()["published"]
    assert await publish_due_configs(database, settings.broker)
    assert await retained(mosquitto, made["credentials"]["password"]) == {"interval_s": 5}
    await other_tenant.client.delete("/v1/boxes/tuned/config")


async def test_it_is_another_tenants_and_has_a_limit(
    tenant: Tenant, other_tenant: Tenant, password: str
) -> None:
    assert password
    assert (await other_tenant.client.get("/v1/boxes/tuned/config")).status_code == 404
    assert (await other_tenant.client.put("/v1/boxes/tuned/config", json={"config": {}})).status_code == 404
    large = await tenant.client.put("/v1/boxes/tuned/config", json={"config": {"a": "x" * 17_000}})
    assert (large.status_code, large.json()["code"]) == (413, "text_too_long")
