"""What a receiver refuses stops nothing else."""

import asyncio
import json
from typing import Any

import asyncpg
import pytest
from aiohttp import web

from app.measurement_stream.subscriptions.prometheus_metrics import MEASUREMENT_REJECTED_ITEMS
from app.settings import VigieSettings
from app.timeseries.commit_log.stream_positions import measure_position_lag
from tests.conftest import Tenant
from tests.integration.measurement_stream.conftest import send
from tests.integration.measurement_stream.subscribing import (
    act,
    eventually,
    list_batches,
    read_subscription,
    serving,
    subscribe,
    until_sent,
)
from tests.integration.notifications.receivers import receiving, status


async def read_batch(tenant: Tenant, identifier: str) -> dict[str, Any]:
    answer = await tenant.client.get(f"/v1/measurement-batches/{identifier}")
    shown: dict[str, Any] = answer.raise_for_status().json()
    return shown


async def test_a_refused_replay_or_test_stops_no_new_items_and_ends(
    settings: VigieSettings, tenant: Tenant, boxes: list[str]
) -> None:
    refused: set[str] = set()

    async def refuse_some(request: web.Request) -> web.StreamResponse:
        body = json.loads(await request.read())
        return web.Response(status=500 if body["id"] in refused or not body["items"] else 204)

    async with receiving(refuse_some) as receiver, serving(settings):
        made = await subscribe(tenant, {"kind": "webhook", "url": receiver.url})
        await send(tenant, boxes[0], (0, {"pm2_5": 1}))
        await until_sent(tenant, made["id"], 1)
        first = (await list_batches(tenant, made["id"]))[0]["id"]
        refused.add(first)
        (await tenant.client.post(f"/v1/measurement-batches/{first}/replay")).raise_for_status()
        test = (await act(tenant, made["id"], "test"))["id"]
        await receiver.wait(3)
        for number in range(1, 4):
            await send(tenant, boxes[0], (number, {"pm2_5": 1}))
            await until_sent(tenant, made["id"], number + 1)
        assert {(await read_batch(tenant, each))["state"] for each in (first, test)} == {"pending"}
        # At the last attempt they fail.
        connection = await asyncpg.connect(settings.database.url)
        await connection.execute(
            "UPDATE measurement_batches SET attempts_left = 1, due_at = NULL WHERE id = $1", test
        )

        async def failed() -> bool:
            return bool((await read_batch(tenant, test))["state"] == "failed")

        await eventually(failed)
        await connection.close()
        # A rewind withdraws the other.
        await act(tenant, made["id"], "rewind", {"item": (await read_batch(tenant, first))["last"]})
        assert (await read_batch(tenant, first))["state"] == "failed"


@pytest.mark.parametrize("kind", ["influxdb", "prometheus"])
async def test_what_a_database_never_takes_is_noted_and_passed(
    settings: VigieSettings, tenant: Tenant, boxes: list[str], kind: str
) -> None:
    async with receiving(status(400, 204)) as receiver, serving(settings):
        made = await subscribe(tenant, {"kind": kind, "url": receiver.url})
        await send(tenant, boxes[0], (0, {"pm2_5": 1}))
        await receiver.wait(1)
        await send(tenant, boxes[0], (1, {"pm2_5": 2}))
        shown = await until_sent(tenant, made["id"], 1)
    first, second = await list_batches(tenant, made["id"])
    assert (first["state"], first["attempt_total"], first["attempts"][0]["status"]) == ("rejected", 1, 400)
    assert (second["state"], len(receiver.got)) == ("delivered", 2)
    assert (shown["health"]["last_reason"], shown["health"]["consecutive_failures"]) == ("rejected", 0)


async def test_a_batch_that_is_too_large_is_halved(
    settings: VigieSettings, tenant: Tenant, boxes: list[str]
) -> None:
    """Also by the process that serves the subscription next; then batches grow slowly."""

    async def take_two(request: web.Request) -> web.StreamResponse:
        lines = (await request.read()).splitlines()
        return web.Response(status=204 if len(lines) <= most else 413)

    async def send_and_count(first: int, number: int) -> list[int]:
        begin = len(receiver.got)
        values = [(float(first + second), {"pm2_5": 1.0}) for second in range(number)]
        await send(tenant, boxes[0], *values)
        async with serving(settings):
            await until_sent(tenant, made["id"], first + number)
        return [len(request.body.splitlines()) for request in receiver.got[begin:]]

    most = 2
    async with receiving(take_two) as receiver:
        made = await subscribe(tenant, {"kind": "webhook", "url": receiver.url}, format="influx")
        assert await send_and_count(0, 9) == [9, 4, 2, 2, 2, 2, 1]
        health = (await read_subscription(tenant, made["id"]))["health"]
        assert (health["last_status"], health["consecutive_failures"]) == (413, 0)
        assert await send_and_count(9, 5) == [2, 2, 1]
        most = 100
        sizes = await send_and_count(14, 60)
        assert sizes[0] == 2
        assert sizes == [*sorted(sizes[:-1]), sizes[-1]]
        assert max(sizes) == 3
        change = {"batch": {"size": 50, "max_age": "PT0S"}}
        answer = await tenant.client.patch(f"/v1/measurement-subscriptions/{made['id']}", json=change)
        answer.raise_for_status()
        assert await send_and_count(74, 50) == [50]
    assert {batch["state"] for batch in await list_batches(tenant, made["id"])} == {"delivered"}


async def test_an_item_that_is_too_large_is_noted_and_passed(
    settings: VigieSettings, tenant: Tenant, boxes: list[str]
) -> None:
    async def refuse_the_second(request: web.Request) -> web.StreamResponse:
        return web.Response(status=413 if b"pm2_5=2" in await request.read() else 204)

    before = MEASUREMENT_REJECTED_ITEMS.labels("webhook")._value.get()
    async with receiving(refuse_the_second) as receiver, serving(settings):
        made = await subscribe(tenant, {"kind": "webhook", "url": receiver.url}, format="influx")
        values = [(float(number), {"pm2_5": float(number)}) for number in (1, 2, 3)]
        await send(tenant, boxes[0], *values)
        await until_sent(tenant, made["id"], 2)
        (refused,) = (each for each in await list_batches(tenant, made["id"]) if each["state"] == "rejected")
        assert (refused["item_count"], refused["attempts"][-1]["status"]) == (1, 413)
        assert MEASUREMENT_REJECTED_ITEMS.labels("webhook")._value.get() == before + 1
        shown = await read_subscription(tenant, made["id"])
        assert (shown["state"], shown["health"]["last_reason"]) == ("active", "rejected")
        # A replay that is refused again ends at once.
        (await tenant.client.post(f"/v1/measurement-batches/{refused['id']}/replay")).raise_for_status()

        async def repeated() -> bool:
            return bool((await read_batch(tenant, refused["id"]))["attempt_total"] == 2)

        await eventually(repeated)
        assert (await read_batch(tenant, refused["id"]))["state"] == "rejected"


async def test_an_attempt_is_recorded_after_a_change_that_withdraws_its_batch(
    settings: VigieSettings, tenant: Tenant, boxes: list[str], owner: asyncpg.Connection
) -> None:
    """Both lock the subscription before the batch: otherwise they would wait for each other."""
    locking, is_locked = owner.transaction(), asyncio.Event()

    async def lock_and_fail(_: web.Request) -> web.StreamResponse:
        await locking.start()
        await owner.execute("SELECT FROM measurement_subscriptions FOR UPDATE")
        is_locked.set()
        return web.Response(status=500)

    async def is_waiting() -> bool:
        return bool(
            await owner.fetchval(
                "SELECT count(*) FROM pg_stat_activity WHERE pg_backend_pid() = ANY (pg_blocking_pids(pid))"
            )
        )

    async with receiving(lock_and_fail) as receiver, serving(settings):
        made = await subscribe(tenant, {"kind": "webhook", "url": receiver.url})
        await send(tenant, boxes[0], (0, {"pm2_5": 1}))
        await asyncio.wait_for(is_locked.wait(), 60)
        await eventually(is_waiting)
        await owner.execute("SET LOCAL lock_timeout = '200ms'")
        await owner.execute("UPDATE measurement_subscriptions SET leased_until = NULL, state = 'paused'")
        assert await owner.execute("DELETE FROM measurement_batches") == "DELETE 1"
        await locking.commit()
    assert (await list_batches(tenant, made["id"]), len(receiver.got)) == ([], 1)


async def test_a_change_that_leaves_the_content_leaves_the_batch(
    settings: VigieSettings, tenant: Tenant, boxes: list[str], owner: asyncpg.Connection
) -> None:
    """Its items come under the same id, without those that were stored since."""
    async with receiving(status(500, 204)) as receiver, serving(settings):
        made = await subscribe(tenant, {"kind": "webhook", "url": receiver.url})
        path = f"/v1/measurement-subscriptions/{made['id']}"
        await send(tenant, boxes[0], (0, {"pm2_5": 1}))
        await receiver.wait(1)
        await act(tenant, made["id"], "pause")
        await send(tenant, boxes[0], (1, {"pm2_5": 2}))

        async def is_positioned() -> bool:
            return not (await measure_position_lag(owner)).waiting

        await eventually(is_positioned)
        same = {name: made[name] for name in ("format", "filter", "batch", "gzip")}
        for change in ({"name": "Another"}, same):
            (await tenant.client.patch(path, json=change)).raise_for_status()
        await act(tenant, made["id"], "resume")
        await until_sent(tenant, made["id"], 2)
    first, again, *_ = [request.headers["webhook-id"] for request in receiver.got]
    assert again == first
    assert [each["item_count"] for each in await list_batches(tenant, made["id"])] == [1, 1]


async def test_a_batch_has_another_id_after_a_change_of_its_content(
    settings: VigieSettings, tenant: Tenant, boxes: list[str]
) -> None:
    async with receiving(status(500)) as receiver, serving(settings):
        made = await subscribe(tenant, {"kind": "webhook", "url": receiver.url}, format="csv")
        await send(tenant, boxes[0], (0, {"pm2_5": 1, "no2": 2}))
        await receiver.wait(1)
        # And how many ids there are then, once it has been tried again.
        for ids, change in (
            (1, {"name": "Another"}),
            (2, {"filter": {"metrics": ["pm2_5"]}}),
            (3, {"format": "json"}),
            (4, {"filter": {"metrics": ["pm2_5"], "boxes": boxes}}),
            (4, {"batch": {"size": 7, "max_age": "PT0S"}}),
        ):
            answer = await tenant.client.patch(f"/v1/measurement-subscriptions/{made['id']}", json=change)
            answer.raise_for_status()
            seen = len(receiver.got)
            await receiver.wait(seen + 1)
            while len({request.headers["webhook-id"] for request in receiver.got}) < ids:
                await receiver.wait(len(receiver.got) + 1)
    sent: dict[str, list[object]] = {}
    for request in receiver.got:
        # The time of sending is no content.
        body = json.loads(request.body)["items"] if request.body.startswith(b"{") else request.body
        sent.setdefault(request.headers["webhook-id"], []).append(body)
    assert len(sent) == 4
    assert all(each == bodies[0] for bodies in sent.values() for each in bodies)
