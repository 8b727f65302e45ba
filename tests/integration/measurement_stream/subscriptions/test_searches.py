"""How the delivery process searches the stream: in bounded time, whatever a filter leaves out."""

import asyncio
import json
from typing import Any

import pytest

from app.measurement_stream import item_reader
from app.measurement_stream.item_reader import read_items
from app.measurement_stream.items import ItemPage
from app.measurement_stream.subscriptions import batch_search
from app.settings import VigieSettings
from tests.conftest import Tenant
from tests.integration.measurement_stream.conftest import send
from tests.integration.measurement_stream.subscribing import (
    act,
    eventually,
    read_subscription,
    serving,
    subscribe,
    until_sent,
)
from tests.integration.notifications.receivers import receiving, status


@pytest.fixture
def pages(monkeypatch: pytest.MonkeyPatch) -> list[ItemPage]:
    """Make small pages that take 0.2 s, so a short backlog takes long to read; lists them."""
    read: list[ItemPage] = []

    async def read_slowly(connection: Any, *rest: Any) -> ItemPage:  # noqa: ANN401 (passed on)
        await connection.execute("SELECT pg_sleep(0.2)")
        read.append(await read_items(connection, *rest))
        return read[-1]

    monkeypatch.setattr(item_reader, "_SCANNED", 10)
    monkeypatch.setattr(batch_search, "read_items", read_slowly)
    return read


async def test_a_narrow_filter_with_a_backlog_sends_what_it_finds(
    settings: VigieSettings, tenant: Tenant, boxes: list[str], pages: list[ItemPage]
) -> None:
    """The whole backlog takes longer to read than a lease lasts, which another process awaits."""
    hasty = settings.webhooks.model_copy(update={"total_timeout_s": 0.5, "lease_s": 0.7})
    async with receiving(status(200)) as receiver:
        filter_ = {"boxes": [boxes[1]]}
        batch = {"size": 20, "max_age": "PT0S"}
        made = await subscribe(tenant, {"kind": "webhook", "url": receiver.url}, filter=filter_, batch=batch)
        await act(tenant, made["id"], "pause")
        for number in range(6):
            for box in boxes[:2]:
                count = 2 if box == boxes[1] else 20
                values = [(number * 20.0 + second, {"pm2_5": 1.0}) for second in range(count)]
                await send(tenant, box, *values)
        await act(tenant, made["id"], "resume")
        async with serving(settings, hasty), serving(settings, hasty):
            await until_sent(tenant, made["id"], 12)
    # A batch whose confirmation came too late is sent again under its id.
    batches = {request.headers["webhook-id"]: json.loads(request.body)["items"] for request in receiver.got}
    ids = [item["id"] for items in batches.values() for item in items]
    assert len(ids) == len(set(ids)) == 12
    # Before all of it was read.
    assert len(batches) > 1
    assert len(pages) > len(batches)


async def test_the_cursor_moves_past_what_the_filter_leaves_out(
    settings: VigieSettings, tenant: Tenant, boxes: list[str]
) -> None:
    """Also while an item waits for others."""
    async with receiving(status(200)) as receiver, serving(settings):
        batch = {"size": 10, "max_age": "PT1H"}
        made = await subscribe(
            tenant, {"kind": "webhook", "url": receiver.url}, filter={"boxes": [boxes[1]]}, batch=batch
        )
        for number in range(5):
            await send(tenant, boxes[0], (number, {"pm2_5": 1.0}))
        await send(tenant, boxes[1], (0, {"pm2_5": 2.0}))
        for number in range(5, 10):
            await send(tenant, boxes[0], (number, {"pm2_5": 1.0}))
        places: dict[str, list[int]] = {}

        async def are_placed() -> bool:
            places.update({box: [] for box in boxes})
            page = await tenant.client.get("/v1/measurements/changes", params={"start": "oldest"})
            for item in page.raise_for_status().json()["data"]:
                places[item["box"]].append(int(item["id"].partition("-")[0]))
            return len(places[boxes[0]]) >= 10

        await eventually(are_placed)
        (mine,) = sorted(set(places[boxes[1]]))
        before = max(place for place in places[boxes[0]] if place < mine)

        async def read_cursor() -> int:
            return int((await read_subscription(tenant, made["id"]))["cursor"].partition("-")[0])

        async def is_there() -> bool:
            return await read_cursor() >= before

        await eventually(is_there)
        assert await read_cursor() <= mine
        assert receiver.got == []


async def test_what_waits_is_read_again_only_when_it_is_due(
    settings: VigieSettings, tenant: Tenant, boxes: list[str], pages: list[ItemPage]
) -> None:
    """A quiet filter costs nothing, and a batch that fills up is sent long before its age."""

    async def read(more: int, box: str, *seconds: float) -> list[int]:
        """Send samples, and wait for further pages; returns how many items each of them has."""
        begin = len(pages)

        async def are_read() -> bool:
            return len(pages) >= begin + more

        await send(tenant, box, *((second, {"pm2_5": 1.0}) for second in seconds))
        await eventually(are_read)
        return [len(page.items) for page in pages[begin:]]

    async with receiving(status(200)) as receiver, serving(settings):
        batch = {"size": 5, "max_age": "PT1H"}
        made = await subscribe(
            tenant, {"kind": "webhook", "url": receiver.url}, filter={"boxes": [boxes[1]]}, batch=batch
        )
        assert await read(1, boxes[1], 0, 1) == [2]
        # Nothing is stored, so nothing is read, though it is looked for every half second.
        await asyncio.sleep(1.5)
        assert len(pages) == 1
        # What the filter leaves out is read once.
        assert await read(1, boxes[0], 0) == [0]
        assert await read(1, boxes[1], 2) == [1]
        assert receiver.got == []
        # The batch is full: it is read whole, and the sixth item waits.
        assert (await read(3, boxes[1], 3, 4, 5))[:3] == [2, 5, 1]
        await until_sent(tenant, made["id"], 5)
    assert [len(json.loads(request.body)["items"]) for request in receiver.got] == [5]
