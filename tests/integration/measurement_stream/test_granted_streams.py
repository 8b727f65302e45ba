"""The stream and its poll with the key of a grant: what it includes, and nothing once it has ended."""

import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import pytest
from fastapi import FastAPI

from app.measurement_stream import item_stream
from app.measurement_stream.items import StreamFilter
from app.measurement_stream.stream_tail import MeasurementHub
from app.platform.db.database import Database
from app.platform.http.streaming.stream_slots import STREAMS_PER_GRANT
from app.platform.kernel.application_resources import get_resource
from app.platform.kernel.grant_limits import GrantLimits
from app.platform.kernel.tenant_scope import TenantScope
from tests.conftest import STREET, Tenant, client_of
from tests.integration.grants.grants import accept, give
from tests.integration.measurement_stream.conftest import NOW, StreamReader, at, open_reader, send
from tests.integration.measurement_stream.listening import PATH, listening
from tests.integration.notifications.helpers import until
from tests.integration.timeseries.rollups.street import maintaining

POLL = "/v1/measurements/changes"
ALL_VALUES = {"pm2_5": 1.0, "no2": 2.0, "laeq": 60.0}


async def grant(
    application: FastAPI,
    tenant: Tenant,
    *sites: str,
    **more: Any,  # noqa: ANN401 (JSON)
) -> tuple[dict[str, Any], str]:
    """Give pm2_5, by default of all times."""
    return await give(application, tenant, *sites, **{"from": None, "until": None, **more})


async def poll(client: httpx.AsyncClient, **params: Any) -> list[Any]:  # noqa: ANN401 (query)
    answer = await client.get(POLL, params={"start": "oldest", "limit": 1000, **params})
    assert answer.status_code == 200, answer.text
    found: list[Any] = answer.json()["data"]
    return found


async def poll_until(client: httpx.AsyncClient, count: int) -> list[Any]:
    """Poll until there are so many items."""
    found: list[Any] = []

    async def is_complete() -> bool:
        found[:] = await poll(client)
        return len(found) >= count

    await until(is_complete)
    return found


async def test_items_have_what_the_grant_includes_alone(
    url: str, application: FastAPI, tenant: Tenant, site_id: str, boxes: list[str]
) -> None:
    other = (await tenant.client.post("/v1/sites", json=STREET)).json()["id"]
    (await tenant.client.post("/v1/boxes", json={"id": "beside", "site_id": other})).raise_for_status()
    times = {"from": at(10), "until": at(20)}
    _, key = await grant(application, tenant, site_id, **times)
    for box in (boxes[0], "beside"):
        await send(tenant, box, *((second, ALL_VALUES) for second in (9.9, 10, 19.9, 20)))
    await send(tenant, boxes[1], (15, {"no2": 3}))
    await send(tenant, boxes[1], (16, {"pm2_5": 4, "laeq": 50}))
    events = [{"time": at(12), "type": "tamper"}]
    await tenant.client.post("/v1/events", json={"box": boxes[0], "events": events})
    correction = {"metric": "pm2_5", "kind": "linear", "offset": 1, "valid_from": at(10)}
    await tenant.client.post(f"/v1/boxes/{boxes[0]}/corrections", json=correction)
    # Ten samples, the event and the correction, the last of which gets its position last.
    await poll_until(tenant.client, 12)
    expected = [(boxes[0], at(10), 1.0), (boxes[0], at(19.9), 1.0), (boxes[1], at(16), 4.0)]
    async with client_of(application, key) as client:
        polled = await poll(client)
        assert [
            (item["box"], datetime.fromisoformat(item["time"]).isoformat(), item["values"]["pm2_5"])
            for item in polled
        ] == expected
        assert {name for item in polled for name in item["values"]} == {"pm2_5"}
        assert await poll(client, kind="hour") == []
        for params, code in (
            ({"metric": "no2"}, "metric_not_granted"),
            ({"kind": "event"}, "kind_not_granted"),
            ({"kind": "correction"}, "kind_not_granted"),
        ):
            for path in (POLL, PATH):
                answer = await client.get(path, params=params)
                assert (answer.status_code, answer.json()["code"]) == (403, code), params
        for params in ({"box": "beside"}, {"site": other}):
            assert (await client.get(POLL, params=params)).status_code == 404, params
    async with listening(url, key, start="oldest") as heard:
        assert await heard.wait(3) == polled
    # Streams of the organisation itself share encodings: those of the grant are its own.
    async with listening(url, tenant.key) as own, listening(url, key, format="csv") as lines:
        await send(tenant, boxes[0], (14, ALL_VALUES))
        (item,) = await own.wait(1)
        assert item["values"] == ALL_VALUES
        await lines.arrive(1)
        ((_, _, line),) = lines.events
        assert line.split(",")[0] == boxes[0]
        assert line.split(",")[3:] == ["1"]


async def test_a_box_that_moved_shows_what_it_measured_since(
    application: FastAPI,
    sequenced: None,  # noqa: ARG001 (runs)
    tenant: Tenant,
    site_id: str,
    boxes: list[str],
) -> None:
    other = (await tenant.client.post("/v1/sites", json=STREET)).json()["id"]
    await send(tenant, boxes[0], (0, {"pm2_5": 1}))
    (await tenant.client.patch(f"/v1/boxes/{boxes[0]}", json={"site_id": other})).raise_for_status()
    _, key = await grant(application, tenant, site_id, other)
    now = {"time": datetime.now(UTC).isoformat(), "values": {"pm2_5": 2}}
    await tenant.client.post("/v1/telemetry", json={"box": boxes[0], "samples": [now]})
    assert len(await poll_until(tenant.client, 2)) == 2
    async with client_of(application, key) as client:
        assert [item["values"] for item in await poll(client)] == [{"pm2_5": 2}]


async def test_hours_are_those_that_the_grant_includes_whole(
    *,
    settings: Any,  # noqa: ANN401 (a fixture)
    database: Database,
    tenant: Tenant,
    site_id: str,
    boxes: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begin = NOW.replace(minute=0, second=0)
    offset = (begin - NOW).total_seconds()
    await send(tenant, boxes[0], *((offset + minute * 60, ALL_VALUES) for minute in range(120)))
    async with maintaining(database, monkeypatch) as maintainer:
        async for reader in open_reader(settings, tenant, "vigie_api"):
            while await reader.owner.fetchval(
                "SELECT EXISTS (SELECT FROM rollup_marks WHERE hour < $1)", begin + timedelta(hours=2)
            ):
                await maintainer.turn()
            for first, last, hours in ((0, 120, [0, 1]), (1, 120, [1]), (0, 119, [0]), (30, 90, [])):
                found = await _read_hours(reader, tenant, site_id, begin, (first, last))
                assert [
                    (each.time_us / 1e6, dict(each.values), list((each.detail or {})["metrics"]))
                    for each in found
                ] == [
                    ((begin + timedelta(hours=hour)).timestamp(), {"pm2_5": 1}, ["pm2_5"]) for hour in hours
                ], (first, last)


async def _read_hours(
    reader: StreamReader, tenant: Tenant, site_id: str, begin: datetime, minutes: tuple[int, int]
) -> list[Any]:
    site, granted = UUID(site_id), frozenset({"pm2_5"})
    first, last = (begin + timedelta(minutes=each) for each in minutes)
    limits = GrantLimits(UUID(int=1), granted, ((site, granted),), first, last)
    scope = TenantScope((UUID(tenant.id),), (site,), limits)
    filter_ = StreamFilter(kinds=frozenset({"hour"}), metrics=("pm2_5",))
    return await reader.within(scope).read(filter_)


@pytest.fixture
async def end_stream(
    url: str, application: FastAPI, tenant: Tenant, site_id: str, boxes: list[str]
) -> Callable[..., Awaitable[None]]:
    """Do something that ends a stream, while samples keep coming, and wait until it has ended."""
    made, key = await grant(application, tenant, site_id)

    async def end(method: str, path: str, body: Any = None) -> None:  # noqa: ANN401 (JSON)
        async with listening(url, key) as heard:
            await send(tenant, boxes[0], (0, {"pm2_5": 1}))
            assert len(await heard.wait(1)) == 1
            answer = await tenant.client.request(method, path.format(grant=made["id"]), json=body)
            assert answer.status_code < 300, answer.text
            await send(tenant, boxes[0], (1, {"pm2_5": 2}), (2, {"laeq": 50}))
            await heard.end()
            # Nothing that was committed after it has left.
            assert len(heard.events) == 1

    return end


@pytest.fixture
def _idle_streams_are_not_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a stream end by its next item alone."""
    monkeypatch.setattr(item_stream, "_GRANT_CHECK_S", 3600)


@pytest.mark.usefixtures("_idle_streams_are_not_checked")
async def test_a_revoked_grant_ends_its_stream_before_the_next_item(
    end_stream: Callable[..., Awaitable[None]],
) -> None:
    await end_stream("DELETE", "/v1/grants/{grant}")


@pytest.mark.usefixtures("_idle_streams_are_not_checked")
async def test_a_suspended_grant_ends_its_stream(end_stream: Callable[..., Awaitable[None]]) -> None:
    await end_stream("PATCH", "/v1/grants/{grant}", {"suspended": True})


async def test_an_ended_purpose_leaves_no_stream(
    end_stream: Callable[..., Awaitable[None]], site_id: str
) -> None:
    # There is no next item: ingest refuses it. An idle stream is checked every five seconds.
    began = time.monotonic()
    await end_stream("POST", f"/v1/sites/{site_id}/purposes/air_quality/end", {})
    assert time.monotonic() - began < 30


async def test_a_narrower_grant_ends_its_stream(
    url: str, application: FastAPI, tenant: Tenant, site_id: str, boxes: list[str]
) -> None:
    made, key = await grant(application, tenant, site_id, metrics=["pm2_5", "no2"])
    async with listening(url, key) as heard:
        await send(tenant, boxes[0], (0, ALL_VALUES))
        assert [item["values"] for item in await heard.wait(1)] == [{"pm2_5": 1.0, "no2": 2.0}]
        change = {"metrics": ["pm2_5"]}
        (await tenant.client.patch(f"/v1/grants/{made['id']}", json=change)).raise_for_status()
        await send(tenant, boxes[0], (1, ALL_VALUES))
        await heard.end()
        assert len(heard.events) == 1
        last = heard.events[0][1]
    async with listening(url, key, last) as resumed:
        assert [item["values"] for item in await resumed.wait(1)] == [{"pm2_5": 1.0}]


async def test_a_grant_whose_metrics_were_replaced_shows_nothing_until_they_are_accepted(
    url: str, application: FastAPI, tenant: Tenant, site_id: str, boxes: list[str]
) -> None:
    hub = get_resource(application, MeasurementHub)
    hub.settings = hub.settings.model_copy(update={"stream_keepalive_s": 0.1})
    made, key = await grant(application, tenant, site_id)
    answer = await tenant.client.patch(f"/v1/grants/{made['id']}", json={"metrics": ["no2"]})
    changed = answer.raise_for_status().json()
    assert changed["metrics"] == []
    async with client_of(application, key) as client, listening(url, key) as heard:
        await send(tenant, boxes[0], (0, ALL_VALUES), (1, ALL_VALUES))
        await poll_until(tenant.client, 2)
        page = (await client.get(POLL, params={"start": "oldest"})).raise_for_status().json()
        assert page["data"] == []

        async def is_past_the_samples() -> bool:
            return await poll(tenant.client, after=heard.reached) == []

        await until(is_past_the_samples)
        await accept(application, changed["link"]["token"])
        # The streams of the narrower grant end, and had nothing.
        await heard.end()
        assert heard.events == []
        await send(tenant, boxes[0], (2, ALL_VALUES))
        await poll_until(tenant.client, 3)
        following = (await client.get(POLL, params={"after": page["next"]})).raise_for_status().json()
        assert [item["values"] for item in following["data"]] == [{"no2": 2.0}]
    async with listening(url, key, page["next"]) as resumed:
        assert [item["values"] for item in await resumed.wait(1)] == [{"no2": 2.0}]


async def test_an_idle_stream_ends_with_its_grant(
    url: str, application: FastAPI, tenant: Tenant, site_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(item_stream, "_GRANT_CHECK_S", 0.3)
    made, key = await grant(application, tenant, site_id)
    async with listening(url, key) as heard:
        (await tenant.client.delete(f"/v1/grants/{made['id']}")).raise_for_status()
        await heard.end()


async def test_nothing_leaves_without_a_record(
    *,
    url: str,
    application: FastAPI,
    tenant: Tenant,
    site_id: str,
    boxes: list[str],
    owner: asyncpg.Connection,
) -> None:
    made, key = await grant(application, tenant, site_id)
    async with listening(url, key) as heard:
        for second in range(3):
            await send(tenant, boxes[0], (second, ALL_VALUES))
            await heard.wait(second + 1)
    async with client_of(application, key) as client:
        assert len(await poll(client)) == 3
        (own,) = (await client.get("/v1/grant/uses")).json()["data"][:1]
    uses = (await tenant.client.get(f"/v1/grants/{made['id']}/uses")).json()["data"]
    (use,) = [each for each in uses if each["kind"] == "stream"]
    assert own in uses
    assert (use["calls"], use["values"], use["metrics"]) == (2, 6, ["pm2_5"])
    # The row that a use needs is not there: the items stay.
    async with listening(url, key) as heard:
        await owner.execute("UPDATE grant_keys SET revoked_at = now() WHERE grant_id = $1", UUID(made["id"]))
        await send(tenant, boxes[0], (4, ALL_VALUES))
        await heard.end()
        assert heard.events == []


async def test_a_grant_has_few_streams(
    url: str, application: FastAPI, tenant: Tenant, site_id: str, boxes: list[str]
) -> None:
    _, key = await grant(application, tenant, site_id)
    open_ = [listening(url, key) for _ in range(STREAMS_PER_GRANT)]
    for each in open_:
        await each.__aenter__()
    async with client_of(application, key) as client:
        answer = await client.get(PATH)
        assert (answer.status_code, answer.json()["code"]) == (429, "too_many_streams")
    async with listening(url, tenant.key) as own:
        await send(tenant, boxes[0], (0, ALL_VALUES))
        assert len(await own.wait(1)) == 1
    for each in open_:
        await each.__aexit__(None, None, None)
