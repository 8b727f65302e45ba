"""Batches that are sent again after more items of their range may be seen than before."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
from aiohttp import web

from app.catalogue.purposes import PURPOSE_BY_METRIC
from app.settings import VigieSettings
from tests.conftest import STREET, Tenant
from tests.integration.measurement_stream.conftest import send
from tests.integration.measurement_stream.subscribing import (
    eventually,
    list_batches,
    read_subscription,
    serving,
    subscribe,
    until_sent,
)
from tests.integration.notifications.receivers import Receiver, receiving
from tests.purposes import approve

_PURPOSE = PURPOSE_BY_METRIC["pm2_5"]
_SIZE = 3
_HIDDEN = 7


class _Site:
    """A site with items in the range of a batch, and whether they may be seen."""

    def __init__(self, owner: asyncpg.Connection, site: str) -> None:
        self._owner = owner
        self._site = site

    async def hide(self) -> None:
        await approve(self._owner, self._site, _PURPOSE, ends_at=datetime.now(UTC) - timedelta(seconds=1))

    async def show(self) -> None:
        await approve(self._owner, self._site, _PURPOSE)


@asynccontextmanager
async def sent_range(
    settings: VigieSettings, tenant: Tenant, box: str, owner: asyncpg.Connection, takes: asyncio.Event
) -> AsyncIterator[tuple[Receiver, dict[str, Any], _Site]]:
    """Serve a subscription whose first batch has two items, and between them hidden ones."""

    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(status=204 if takes.is_set() else 500)

    second = (await tenant.client.post("/v1/sites", json={**STREET, "name": "Second"})).raise_for_status()
    site = second.json()["id"]
    (await tenant.client.post("/v1/boxes", json={"id": "hidden", "site_id": site})).raise_for_status()
    hidden = _Site(owner, site)
    async with receiving(answer) as receiver:
        made = await subscribe(
            tenant,
            {"kind": "webhook", "url": receiver.url},
            format="influx",
            batch={"size": _SIZE, "max_age": "PT0S"},
        )
        await send(tenant, box, (0, {"pm2_5": 0}))
        await send(
            tenant, "hidden", *((float(second), {"pm2_5": second}) for second in range(1, _HIDDEN + 1))
        )
        await send(tenant, box, (_HIDDEN + 1, {"pm2_5": _HIDDEN + 1}))
        await hidden.hide()
        async with serving(settings):
            await receiver.wait(1)
            yield receiver, made, hidden


def values_of(body: bytes) -> list[float]:
    return [float(line.split("pm2_5=")[1].split()[0]) for line in body.decode().splitlines()]


async def test_what_may_be_seen_again_comes_in_batches_of_the_size(
    settings: VigieSettings, tenant: Tenant, boxes: list[str], owner: asyncpg.Connection
) -> None:
    """A receiver that has the former batch would ignore what else came under its id."""
    takes = asyncio.Event()
    async with sent_range(settings, tenant, boxes[0], owner, takes) as (receiver, made, hidden):
        (former,) = await list_batches(tenant, made["id"])
        assert values_of(receiver.got[0].body) == [0, _HIDDEN + 1]
        await hidden.show()
        takes.set()
        await until_sent(tenant, made["id"], _HIDDEN + 2)
        shown = await read_subscription(tenant, made["id"])
        batches = await list_batches(tenant, made["id"])
    assert shown["items_sent"] == _HIDDEN + 2
    # An attempt may have failed before the purpose was in force again.
    got = [
        values_of(request.body)
        for request in receiver.got
        if request.headers["webhook-id"] != receiver.got[0].headers["webhook-id"]
    ]
    assert got == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
    assert former["id"] not in {batch["id"] for batch in batches}


async def test_a_replay_has_at_most_the_size_and_says_what_it_left_out(
    settings: VigieSettings, tenant: Tenant, boxes: list[str], owner: asyncpg.Connection
) -> None:
    takes = asyncio.Event()
    takes.set()
    async with sent_range(settings, tenant, boxes[0], owner, takes) as (receiver, made, hidden):
        await until_sent(tenant, made["id"], 2)
        (batch,) = await list_batches(tenant, made["id"])
        await hidden.show()
        (await tenant.client.post(f"/v1/measurement-batches/{batch['id']}/replay")).raise_for_status()
        await until_sent(tenant, made["id"], 2 + _SIZE)

        async def find_repeated() -> dict[str, Any] | None:
            (shown,) = await list_batches(tenant, made["id"])
            return shown if shown["attempt_total"] == 2 else None

        repeated = await eventually(find_repeated)
    assert repeated is not None
    assert values_of(receiver.got[1].body) == [0, 1, 2]
    assert (repeated["state"], repeated["item_count"]) == ("delivered", _SIZE)
    changes = await tenant.client.get("/v1/measurements/changes", params={"start": "oldest"})
    last = changes.raise_for_status().json()["data"][_SIZE - 1]["id"]
    assert [each["detail"] is None for each in repeated["attempts"]] == [True, False]
    assert f"after {last} were left out" in repeated["attempts"][1]["detail"]
    assert (await read_subscription(tenant, made["id"]))["health"]["last_detail"] is None
