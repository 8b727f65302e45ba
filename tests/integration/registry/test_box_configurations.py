"""Configurations: desired by REST, retained at the broker, reported by the box."""

import asyncio
import contextlib
import json
from typing import Any

import aiomqtt
import pytest
from fastapi import FastAPI
from pydantic import SecretStr

from app.platform.db.database import Database
from app.platform.kernel.application_resources import get_resource, provide_resources
from app.registry.box_configurations import (
    publish_configs_within,
    publish_due_configs,
    store_reported_configs,
)
from app.settings import VigieSettings
from app.standalone.private_mosquitto import PrivateMosquitto
from tests.conftest import Tenant

CONFIG = {"interval_s": 30, "noise": {"weighting": "A"}}


@pytest.fixture
async def password(tenant: Tenant, site_id: str) -> str:
    body = {"id": "tuned", "site_id": site_id}
    made = (await tenant.client.post("/v1/boxes", json=body)).raise_for_status().json()
    word: str = made["credentials"]["password"]
    return word


async def retained(broker: PrivateMosquitto, password: str) -> dict[str, Any] | None:
    """What the broker holds for the box: the box subscribes, and sees."""
    async with aiomqtt.Client(broker.host, broker.port, username="tuned", password=password) as client:
        await client.subscribe("vigie/v1/tuned/config", qos=1)
        try:
            async with asyncio.timeout(0.5):
                async for message in client.messages:
                    assert isinstance(message.payload, bytes)
                    assert message.retain
                    found: dict[str, Any] = json.loads(message.payload)
                    return found
        except TimeoutError:
            pass
    return None


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
    assert await retained(mosquitto, password) is None


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
    heard = []
    async with aiomqtt.Client(mosquitto.host, mosquitto.port, username="tuned", password=password) as client:
        await client.subscribe("vigie/v1/tuned/config", qos=1)
        began = asyncio.get_running_loop().time()
        await publish_configs_within(database, settings.broker, 3)
        assert asyncio.get_running_loop().time() - began < 2
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.3):
                async for message in client.messages:
                    # What the broker held before, of another test, is nothing that was published now.
                    heard += [] if message.retain else [message.payload]
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


async def test_it_is_another_tenants_and_has_a_limit(
    tenant: Tenant, other_tenant: Tenant, password: str
) -> None:
    assert password
    assert (await other_tenant.client.get("/v1/boxes/tuned/config")).status_code == 404
    assert (await other_tenant.client.put("/v1/boxes/tuned/config", json={"config": {}})).status_code == 404
    large = await tenant.client.put("/v1/boxes/tuned/config", json={"config": {"a": "x" * 17_000}})
    assert (large.status_code, large.json()["code"]) == (413, "text_too_long")
