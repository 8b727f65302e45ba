"""The measurement stream over real connections: live, resumed, filtered, in each format; and polled."""

import asyncio
import contextlib
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import pytest
from fastapi import FastAPI

from app.measurement_stream import item_reader, stream_tail
from app.measurement_stream.items import StreamPosition
from app.measurement_stream.stream_cursor import MeasurementCursor
from app.measurement_stream.stream_tail import MeasurementHub
from app.platform.http.streaming.wakeup_hub import POOL
from app.platform.kernel.application_resources import get_resource
from app.timeseries.commit_log.stream_positions import (
    PositionAssigner,
    measure_position_lag,
    prune_commits,
    read_stream_head,
)
from tests.conftest import STREET, Tenant
from tests.integration.measurement_stream.conftest import at, send
from tests.integration.measurement_stream.listening import PATH, Heard, listening
from tests.integration.notifications.helpers import until

POLL = "/v1/measurements/changes"


async def _is_drained(connection: asyncpg.Connection) -> bool:
    return not (await measure_position_lag(connection)).waiting


async def test_a_stream_gets_what_is_committed_and_resumes(
    url: str, tenant: Tenant, boxes: list[str]
) -> None:
    await send(tenant, boxes[0], (-1, {"pm2_5": 9}))
    async with listening(url, tenant.key, start="oldest") as whole:
        assert [item["values"] for item in await whole.wait(1)] == [{"pm2_5": 9}]
    # It begins now: what has no position yet is still to come.
    async with listening(url, tenant.key) as heard, listening(url, tenant.key, start="oldest") as whole:
        await send(tenant, boxes[0], (0, {"pm2_5": 12.4, "laeq": 58.3}), seq=7)
        (item,) = await heard.wait(1)
        assert item | {"id": "", "time": ""} == {
            "id": "",
            "kind": "sample",
            "organisation_id": tenant.id,
            "site_id": item["site_id"],
            "box": boxes[0],
            "time": "",
            "values": {"pm2_5": 12.4, "laeq": 58.3},
            "seq": 7,
        }
        assert datetime.fromisoformat(item["time"]) == datetime.fromisoformat(at(0))
        assert heard.events[0][0] == "sample"
        for number in range(1, 30):
            await send(tenant, boxes[number % 3], (number, {"pm2_5": number}))
        items = await heard.wait(30)
        assert len({each["id"] for each in items}) == 30
        assert [each["id"] for each in (await whole.wait(31))[1:]] == [each["id"] for each in items]
    for number in (0, 10, 28):
        async with listening(url, tenant.key, heard.events[number][1]) as resumed:
            assert await resumed.wait(29 - number) == items[number + 1 :]
    async with listening(url, tenant.key, after=heard.token) as resumed:
        assert await resumed.wait(30) == items


async def test_filters_and_formats(url: str, tenant: Tenant, site_id: str, boxes: list[str]) -> None:
    async with contextlib.AsyncExitStack() as stack:

        async def open_(**params: Any) -> Heard:  # noqa: ANN401 (query)
            return await stack.enter_async_context(listening(url, tenant.key, **params))

        of_box, of_metric = await open_(box=boxes[1]), await open_(metric=["laeq", "pm10"])
        events, of_site = await open_(kind="event"), await open_(site=site_id)
        clouds, senml = await open_(format="cloudevents"), await open_(format="senml")
        csv = await open_(format="csv", metric=["pm2_5", "laeq"])
        for box in boxes:
            await send(tenant, box, (0, {"pm2_5": 1.5, "laeq": 50}), (1, {"pm10": 3}))
        assert {item["box"] for item in await of_box.wait(2)} == {boxes[1]}
        assert [item["values"] for item in await of_metric.wait(6)] == [{"laeq": 50}, {"pm10": 3}] * 3
        assert len(await of_site.wait(6)) == 6
        cloud = (await clouds.wait(6))[0]
        assert (cloud["specversion"], cloud["type"]) == ("1.0", "vigie.measurement.sample")
        assert cloud["data"]["values"] == {"pm2_5": 1.5, "laeq": 50}
        records = (await senml.wait(6))[0]
        assert records[0]["bn"].endswith(f"{boxes[0]}:")
        await csv.arrive(3)
        time = (await of_site.wait(6))[0]["time"]
        assert csv.events[0][2] == f"{boxes[0]},{site_id},{time},1.5,50"
        assert events.events == []
        async with listening(url, tenant.key, of_box.token, box=boxes[1]) as resumed:
            assert await resumed.wait(2) == await of_box.wait(2)
        async with listening(url, tenant.key, of_metric.token, metric=["laeq", "pm10"]) as resumed:
            assert await resumed.wait(6) == await of_metric.wait(6)


async def test_what_cannot_be_streamed_is_refused(url: str, tenant: Tenant, other_tenant: Tenant) -> None:
    async def refusal(**params: Any) -> tuple[int, str]:  # noqa: ANN401 (query)
        async with httpx.AsyncClient(base_url=url) as client:
            headers = {"Authorization": f"Bearer {tenant.key}"}
            answer = await client.get(PATH, params=params, headers=headers)
            return answer.status_code, answer.json()["code"]

    assert await refusal(format="csv", kind="event") == (422, "format_without_kind")
    assert await refusal(metric="warp") == (422, "unknown_metric")
    assert await refusal(box="nobody") == (404, "not_found")
    assert await refusal(site=str(UUID(int=1))) == (404, "not_found")
    assert await refusal(organisation=other_tenant.id) == (404, "not_found")
    assert await refusal(after="nonsense") == (422, "invalid_cursor")
    theirs = MeasurementCursor(StreamPosition(0, 0), 0).token(UUID(other_tenant.id))
    assert await refusal(after=theirs) == (422, "invalid_cursor")


async def test_a_token_outlives_a_restore(
    tenant: Tenant, boxes: list[str], owner: asyncpg.Connection
) -> None:
    """Also before the sequencer has passed the former positions."""

    async def poll(second: float, **params: str) -> dict[str, Any]:
        await send(tenant, boxes[0], (second, {"pm2_5": 1}))
        await PositionAssigner(owner).assign()
        answer = await tenant.client.get(POLL, params=params)
        shown: dict[str, Any] = answer.raise_for_status().json()
        return shown

    first = await poll(0, start="oldest")
    await owner.execute("DELETE FROM measurement_commits")
    await owner.execute("SELECT setval('measurement_positions', 1)")
    answer = await tenant.client.get(POLL, params={"after": first["next"]})
    between = answer.raise_for_status().json()
    assert between["data"] == []
    (item,) = (await poll(1, after=between["next"]))["data"]
    assert item["id"] > first["data"][0]["id"]


async def test_a_key_of_one_site_gets_that_site(
    url: str, api: httpx.AsyncClient, tenant: Tenant, boxes: list[str]
) -> None:
    second = (await tenant.client.post("/v1/sites", json=STREET)).raise_for_status().json()["id"]
    (await tenant.client.post("/v1/boxes", json={"id": "apart", "site_id": second})).raise_for_status()
    body = {"name": "one site", "scopes": ["telemetry:read"], "site_ids": [second]}
    key = (await tenant.client.post("/v1/api-keys", json=body)).raise_for_status().json()["key"]
    async with listening(url, key) as limited, listening(url, tenant.key) as whole:
        for number, box in enumerate([*boxes, "apart"]):
            await send(tenant, box, (number, {"pm2_5": 1}))
        await whole.wait(4)
        assert [item["box"] for item in await limited.wait(1)] == ["apart"]
    del api


async def test_ten_streams_share_one_read(
    url: str, tenant: Tenant, boxes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = 0
    read = item_reader.read_items

    async def count(*arguments: Any) -> Any:  # noqa: ANN401 (passed on)
        nonlocal reads
        reads += 1
        return await read(*arguments)

    monkeypatch.setattr(stream_tail, "read_items", count)
    async with contextlib.AsyncExitStack() as stack:
        heard = [await stack.enter_async_context(listening(url, tenant.key)) for _ in range(10)]
        await send(tenant, boxes[0], (-1, {"pm2_5": 0}))
        for each in heard:
            await each.wait(1)
        reads = 0
        for number in range(20):
            await send(tenant, boxes[0], (number, {"pm2_5": number}))
        for each in heard:
            assert len(await each.wait(21)) == 21
        assert 0 < reads <= 21
        assert len({tuple(each.events) for each in heard}) == 1


async def test_what_is_no_longer_stored_is_said(
    url: str, tenant: Tenant, boxes: list[str], owner: asyncpg.Connection
) -> None:
    async with listening(url, tenant.key) as heard:
        await send(tenant, boxes[0], (0, {"pm2_5": 1}))
        await send(tenant, boxes[0], (1, {"pm2_5": 2}))
        await heard.wait(2)
    await owner.execute(
        "UPDATE measurement_commits SET positioned_at = now() - interval '8 days' "
        "WHERE stream_position = (SELECT min(stream_position) FROM measurement_commits)"
    )
    await prune_commits(owner, 7)
    ancient = MeasurementCursor(
        StreamPosition(0, 0), int((datetime.now(UTC) - timedelta(days=8)).timestamp())
    ).token(UUID(tenant.id))
    async with listening(url, tenant.key, ancient) as resumed:
        reset, item = await resumed.wait(2)
        assert [event for event, _, _ in resumed.events] == ["stream.reset", "sample"]
        assert (reset["type"], item["values"]) == ("stream.reset", {"pm2_5": 2})
        assert reset["oldest"] is not None
    polled = await tenant.client.get(POLL, params={"after": ancient})
    assert (polled.status_code, polled.json()["code"]) == (409, "cursor_expired")


async def test_an_ended_key_ends_the_stream(
    url: str, application: FastAPI, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.platform.http.streaming.slot_stream.CHECK_EVERY_S", 0.2)
    body = {"name": "short", "scopes": ["telemetry:read"]}
    made = (await tenant.client.post("/v1/api-keys", json=body)).raise_for_status().json()
    async with listening(url, made["key"]) as heard:
        assert len(get_resource(application, MeasurementHub).list_slots()) == 1
        (await tenant.client.delete(f"/v1/api-keys/{made['id']}")).raise_for_status()
        await heard.end()


async def test_pages_continue_where_the_last_one_ended(
    sequenced: None,  # noqa: ARG001 (runs)
    tenant: Tenant,
    boxes: list[str],
) -> None:
    first = (await tenant.client.get(POLL)).raise_for_status().json()
    assert (first["data"], first["more"]) == ([], False)
    for number in range(5):
        await send(tenant, boxes[0], (number * 2, {"pm2_5": 1}), (number * 2 + 1, {"pm2_5": 2}))
    found: list[Any] = []
    token = first["next"]
    async with asyncio.timeout(60):
        while len(found) < 10:
            page = (await tenant.client.get(POLL, params={"after": token, "limit": 3})).raise_for_status()
            found += page.json()["data"]
            token = page.json()["next"]
            await asyncio.sleep(0.02)
    assert len({item["id"] for item in found}) == 10
    again = (await tenant.client.get(POLL, params={"start": "oldest", "limit": 1000})).json()
    assert again["data"] == found
    assert (await tenant.client.get(POLL, params={"after": again["next"]})).json()["data"] == []


async def test_polls_and_streams_do_not_wait_for_each_other(
    url: str, application: FastAPI, tenant: Tenant, boxes: list[str]
) -> None:
    hub = get_resource(application, MeasurementHub)
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(POOL):
            await stack.enter_async_context(hub.pool.acquire())
        (await tenant.client.get(POLL)).raise_for_status()
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(POOL):
            await stack.enter_async_context(hub.poll_pool.acquire())
        async with listening(url, tenant.key) as heard:
            await send(tenant, boxes[0], (0, {"pm2_5": 1}))
            assert len(await heard.wait(1)) == 1


async def test_a_poll_for_a_rare_kind_advances_past_the_others(
    sequenced: None,  # noqa: ARG001 (runs)
    tenant: Tenant,
    boxes: list[str],
    owner: asyncpg.Connection,
) -> None:
    await send(tenant, boxes[0], (0, {"pm2_5": 1}))
    await owner.execute(
        "INSERT INTO measurement_commits (organisation_id, kind, items, box_keys, times_us) "
        "SELECT organisation_id, kind, items, box_keys, times_us FROM "
        "(SELECT * FROM measurement_commits ORDER BY id DESC LIMIT 1) AS newest, generate_series(1, 10_100)"
    )
    body = {"metric": "pm2_5", "kind": "linear", "gain": 0.5, "offset": 2, "valid_from": at(0)}
    (await tenant.client.post(f"/v1/boxes/{boxes[0]}/corrections", json=body)).raise_for_status()
    await until(lambda: _is_drained(owner))
    head = await read_stream_head(owner)
    await owner.execute(
        "UPDATE measurement_commits SET positioned_at = now() - interval '6 days' "
        "WHERE stream_position <= $1",
        head.position - 1000,
    )
    rare = {"kind": "correction", "start": "oldest"}
    first = (await tenant.client.get(POLL, params=rare)).raise_for_status().json()
    assert (first["data"], first["more"]) == ([], True)
    # The token of a reader that is still behind must not expire.
    cursor = MeasurementCursor.read(
        first["next"], UUID(tenant.id), last_assigned=head.last_assigned, now=head.at
    )
    assert cursor.is_retained(head.at, 1)
    rest = (await tenant.client.get(POLL, params={"kind": "correction", "after": first["next"]})).json()
    assert ([item["kind"] for item in rest["data"]], rest["more"]) == (["correction"], False)
