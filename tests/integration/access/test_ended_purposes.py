"""A purpose that ended, or data that were erased, show nothing of themselves within seconds."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import asyncpg
import httpx
import pytest
from fastapi import FastAPI

from app.settings import VigieSettings
from app.standard_apis.settings import StandardApiSettings
from app.timeseries.erasure.worker import ErasureWorker
from tests.conftest import Tenant, client_of
from tests.integration.grants.grants import give
from tests.integration.measurement_stream import subscribing
from tests.integration.measurement_stream.listening import listening
from tests.integration.notifications.receivers import Receiver, receiving, status
from tests.integration.notifications.streams import serving
from tests.purposes import approve

SAMPLES: Final = 3
# At a load of 20 on two cores it took 8.5 s at most: fourteen readers poll at the same time.
WITHIN_S: Final = 15.0
VALUES: Final = {"pm2_5": 10.0, "laeq": 50.0}
type View = Callable[[], Awaitable[set[str]]]
"""Reads by one call, and returns the metrics of which it shows values."""


@dataclass
class Views:
    """One site with open data, and all ways to read it.

    Attributes:
        passed_on: how others read, or how data are passed on.
        own: how the organisation itself reads what is stored.
    """

    tenant: Tenant
    site_id: str
    passed_on: Mapping[str, View]
    own: Mapping[str, View]

    async def until_shown(self, views: Mapping[str, View], metrics: set[str]) -> dict[str, float]:
        """Wait until each call shows these metrics alone; returns after how many seconds it did."""
        began = time.monotonic()

        async def wait(view: View) -> float:
            async with asyncio.timeout(2 * WITHIN_S):
                while await view() != metrics:  # noqa: ASYNC110 (another process's work)
                    await asyncio.sleep(0.05)
            return time.monotonic() - began

        took_s = await asyncio.gather(*map(wait, views.values()))
        return dict(zip(views, took_s, strict=True))


@pytest.fixture
def settings(settings: VigieSettings) -> VigieSettings:
    """Open data without a key."""
    api = settings.api.model_copy(update={"anonymous_rate_burst": 10_000})
    update = {"sensorthings": StandardApiSettings(anonymous=True), "api": api}
    return settings.model_copy(update=update)


def _of_stream(url: str, key: str) -> View:
    async def read() -> set[str]:
        async with listening(url, key, start="oldest") as heard:
            try:
                async with asyncio.timeout(1):
                    items = await heard.wait(SAMPLES)
            except TimeoutError:
                items = [json.loads(data) for _, _, data in heard.events]
        return {name for item in items for name in item["values"]}

    return read


def _of_poll(client: httpx.AsyncClient) -> View:
    async def read() -> set[str]:
        page = await client.get("/v1/measurements/changes", params={"start": "oldest", "limit": 1000})
        return {name for item in page.raise_for_status().json()["data"] for name in item["values"]}

    return read


def _of_sensorthings(client: httpx.AsyncClient) -> View:
    async def read() -> set[str]:
        params = {"$expand": "Datastream($select=properties)", "$top": "1000"}
        page = (await client.get("/sensorthings/v1.1/Observations", params=params)).raise_for_status().json()
        return {each["Datastream"]["properties"]["metric"] for each in page["value"]}

    return read


def _of_streams(client: httpx.AsyncClient) -> View:
    async def read() -> set[str]:
        page = (await client.get("/sensorthings/v1.1/Datastreams")).raise_for_status().json()
        return {each["properties"]["metric"] for each in page["value"]}

    return read


def _of_readings(client: httpx.AsyncClient) -> View:
    async def read() -> set[str]:
        shown = set()
        for metric in VALUES:
            answer = await client.get("/v1/boxes/box-0001/readings", params={"metric": metric})
            if answer.raise_for_status().json()["points"]:
                shown.add(metric)
        return shown

    return read


def _of_latest(client: httpx.AsyncClient) -> View:
    async def read() -> set[str]:
        return set((await client.get("/v1/boxes/box-0001/latest")).raise_for_status().json()["values"])

    return read


def _of_export(client: httpx.AsyncClient) -> View:
    async def read() -> set[str]:
        params = {"from": "2026-01-01T00:00:00Z", "format": "ndjson"}
        lines = (await client.get("/v1/readings/export", params=params)).raise_for_status().text.splitlines()
        return {name for line in lines for name, value in json.loads(line)["values"].items() if value}

    return read


def _of_subscription(tenant: Tenant, receiver: Receiver) -> View:
    """Create a subscription of all that is stored, and read what its first batch has."""

    async def read() -> set[str]:
        seen = len(receiver.got)
        sink = {"kind": "webhook", "url": receiver.url}
        made = await subscribing.subscribe(tenant, sink, start="2026-01-01T00:00:00Z")
        try:
            async with asyncio.timeout(1):
                await receiver.wait(seen + 1)
        except TimeoutError:
            return set()
        finally:
            await tenant.client.delete(f"/v1/measurement-subscriptions/{made['id']}")
        return {name for item in json.loads(receiver.got[-1].body)["items"] for name in item["values"]}

    return read


@pytest.fixture
async def views(
    application: FastAPI, tenant: Tenant, site_id: str, settings: VigieSettings
) -> AsyncIterator[Views]:
    (await tenant.client.post("/v1/boxes", json={"id": "box-0001", "site_id": site_id})).raise_for_status()
    begin = datetime.now(UTC) - timedelta(minutes=10)
    samples = [
        {"time": (begin + timedelta(minutes=number)).isoformat(), "values": VALUES}
        for number in range(SAMPLES)
    ]
    owner = await asyncpg.connect(settings.database.url)
    for purpose in ("air_quality", "noise"):
        await approve(owner, site_id, purpose, open_data=True)
    await owner.close()
    more = {"from": None, "until": None, "metrics": list(VALUES)}
    _, key = await give(application, tenant, site_id, **more)
    async with AsyncExitStack() as stack:
        receiver = await stack.enter_async_context(receiving(status(204)))
        await stack.enter_async_context(subscribing.serving(settings))
        url = await stack.enter_async_context(serving(application))
        recipient = await stack.enter_async_context(client_of(application, key))
        anonymous = await stack.enter_async_context(client_of(application, None))
        sent = await tenant.client.post("/v1/telemetry", json={"box": "box-0001", "samples": samples})
        assert sent.json()["stored"] == SAMPLES
        readers = {"tenant": tenant.client, "grant": recipient}
        passed_on = {
            "subscription": _of_subscription(tenant, receiver),
            "stream, tenant": _of_stream(url, tenant.key),
            "stream, grant": _of_stream(url, key),
            **{f"poll, {name}": _of_poll(client) for name, client in readers.items()},
            **{
                f"SensorThings, {name}": _of_sensorthings(client)
                for name, client in (readers | {"open": anonymous}).items()
            },
            **{
                f"Datastreams, {name}": _of_streams(client)
                for name, client in (readers | {"open": anonymous}).items()
            },
            "readings, grant": _of_readings(recipient),
            "latest, grant": _of_latest(recipient),
            "export, grant": _of_export(recipient),
        }
        own = {
            "readings": _of_readings(tenant.client),
            "latest": _of_latest(tenant.client),
            "export": _of_export(tenant.client),
        }
        yield Views(tenant, site_id, passed_on, own)


async def test_an_ended_purpose_shows_nothing_within_seconds(views: Views) -> None:
    await views.until_shown({**views.passed_on, **views.own}, {"pm2_5", "laeq"})
    answer = await views.tenant.client.post(f"/v1/sites/{views.site_id}/purposes/air_quality/end", json={})
    assert answer.status_code < 300, answer.text
    took_s = await views.until_shown(views.passed_on, {"laeq"})
    assert max(took_s.values()) < WITHIN_S, took_s
    # The organisation keeps what it stored until its retention ends, and reads it: the guide to purposes.
    await views.until_shown(views.own, {"pm2_5", "laeq"})


async def test_what_is_erased_shows_nothing_within_seconds(views: Views, database_url: str) -> None:
    await views.until_shown({**views.passed_on, **views.own}, {"pm2_5", "laeq"})
    body = {"reason": "test", "from": "2026-01-01T00:00:00Z", "until": datetime.now(UTC).isoformat()}
    maintainer = await asyncpg.connect(database_url, server_settings={"role": "vigie_maintain"})
    answer = await views.tenant.client.post("/v1/boxes/box-0001/erasures", json=body)
    assert answer.status_code == 202, answer.text
    while await ErasureWorker().run_once(maintainer):
        pass
    await maintainer.close()
    took_s = await views.until_shown({**views.passed_on, **views.own}, set())
    assert max(took_s.values()) < WITHIN_S, took_s
