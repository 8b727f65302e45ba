"""Open, tenant, granted and foreign readers against the measurement stream, its poll and subscriptions."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from fastapi import FastAPI

from app.measurement_stream.sequencer import run_sequencer
from app.platform.db.database import Database
from app.settings import VigieSettings
from tests.conftest import client_of
from tests.integration.access.routes import routes
from tests.integration.access.test_matrix import call, told
from tests.integration.access.world import TenantsUnderTest
from tests.integration.measurement_stream.listening import PATH, listening
from tests.integration.notifications.streams import serving

POLL = "/v1/measurements/changes"


@pytest.fixture
async def url(application: FastAPI, settings: VigieSettings) -> AsyncIterator[str]:
    database = Database(settings.database, application="tests", role="vigie_deliver")
    stop = asyncio.Event()
    running = asyncio.create_task(run_sequencer(database, stop))
    async with serving(application) as served:
        yield served
    stop.set()
    await running
    await database.close()


def keys_of(world: TenantsUnderTest) -> dict[str, str | None]:
    """Return the key of each reader; without one, it is anonymous."""
    return {
        "open": None,
        "tenant": world.client.key,
        "granted": world.keys["grant"],
        "sibling": world.sibling.key,
        "foreign": world.stranger.key,
        "foreign grant": world.keys["foreign_grant"],
    }


async def test_the_stream_and_its_poll_have_the_readers_part_alone(
    application: FastAPI, url: str, world: TenantsUnderTest
) -> None:
    """The grant includes pm2_5: no other metric, and not the correction that the client created."""
    sample = {"time": "2026-11-20T10:00:00Z", "values": {"pm2_5": 1, "laeq": 60}}
    body = {"box": world.ids["box"], "samples": [sample]}
    assert (await world.client.client.post("/v1/telemetry", json=body)).json()["stored"] == 1
    whole: list[dict[str, object]] = []
    async with asyncio.timeout(60):
        while len([each for each in whole if each["kind"] == "sample"]) < 2:
            answer = await world.client.client.get(POLL, params={"start": "oldest", "limit": 1000})
            whole = answer.raise_for_status().json()["data"]
            await asyncio.sleep(0.05)
    granted = [
        {**each, "values": {"pm2_5": each["values"]["pm2_5"]}}  # type: ignore[index]
        for each in whole
        if each["kind"] == "sample"
    ]
    expected = {"tenant": whole, "granted": granted}
    owner, site, box = world.client.id, world.ids["site_id"], world.ids["box"]
    for name, key in keys_of(world).items():
        async with client_of(application, key) as client:
            if key is None:
                for path in (POLL, PATH):
                    assert (await client.get(path)).status_code == 401, (name, path)
                continue
            page = (
                (await client.get(POLL, params={"start": "oldest", "limit": 1000})).raise_for_status().json()
            )
            assert page["data"] == expected.get(name, []), name
            for query in ({"organisation": owner}, {"site": site}, {"box": box}):
                answer = await client.get(POLL, params={"start": "oldest", "limit": 1000, **query})
                if name in expected:
                    assert answer.json()["data"] == expected[name], (name, query)
                    continue
                assert answer.status_code == 404, (name, query)
                assert (await client.get(PATH, params=query)).status_code == 404, (name, query)
        async with listening(url, key, start="oldest") as heard:
            if name in expected:
                assert await heard.wait(len(expected[name])) == expected[name], name
            else:
                await asyncio.sleep(0.5)
                assert heard.events == [], name


async def test_routes_of_subscriptions_are_the_tenants_alone(
    application: FastAPI, world: TenantsUnderTest
) -> None:
    found = [each for each in routes(world.ids) if each.path.startswith("/v1/measurement-")]
    assert len(found) > 10
    others = {name: key for name, key in keys_of(world).items() if name != "tenant"}
    clients = {name: client_of(application, key) for name, key in others.items()}
    faults: list[object] = []
    for route in found:
        if route.method == "GET":
            assert (await call(world.client.client, route)).status_code == 200, route.name
        for name, client in clients.items():
            answer = await call(client, route)
            right = {"open": {401}, "granted": {403}, "foreign grant": {403}}.get(
                name, {404} if route.refers else {200}
            )
            if answer.status_code not in right or told(answer, route, world):
                faults.append((name, route.name, answer.status_code, answer.text[:120]))
            elif name in {"granted", "foreign grant"} and answer.json()["code"] != "not_for_grants":
                faults.append((name, route.name, answer.text[:120]))
    for client in clients.values():
        await client.aclose()
    assert not faults, "\n".join(map(str, faults))
