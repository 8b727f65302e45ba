"""Leases of subscriptions: which are given, and what their holders may write."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from app.measurement_stream.items import Item
from app.measurement_stream.measurement_batch import MeasurementBatch
from app.measurement_stream.subscriptions import batch_repository
from app.measurement_stream.subscriptions.batch_repository import AttemptEntry
from app.measurement_stream.subscriptions.batch_search import BatchSearch
from app.measurement_stream.subscriptions.lease_repository import lease_due_subscriptions
from app.notifications.delivery.transport_types import DELIVERED, AttemptOutcome
from app.platform.db.database import Database, RawConnection
from app.settings import VigieSettings
from tests.conftest import Tenant
from tests.integration.measurement_stream.conftest import StreamReader, open_reader, send
from tests.integration.measurement_stream.subscribing import (
    act,
    eventually,
    list_batches,
    serving,
    subscribe,
    until_sent,
)
from tests.integration.notifications.receivers import receiving, status

WEBHOOK = {"kind": "webhook", "url": "https://example.com/hooks"}
# Beyond all positions, which begin at the clock in microseconds.
HEAD = 2**53


@pytest.fixture
async def reader(settings: VigieSettings, tenant: Tenant) -> AsyncIterator[StreamReader]:
    async for each in open_reader(settings, tenant, "vigie_deliver"):
        yield each


@pytest.fixture
async def delivery(settings: VigieSettings) -> AsyncIterator[RawConnection]:
    """A connection of the delivery process."""
    database = Database(settings.database, application="tests", role="vigie_deliver")
    pool = await database.pool(size=1)
    async with pool.acquire() as connection:
        yield connection
    await pool.close()
    await database.close()


async def lease(
    delivery: RawConnection, *, lease_s: float = 30, limit: int = 64, served: frozenset[UUID] = frozenset()
) -> list[str]:
    rows = await lease_due_subscriptions(delivery, HEAD, lease_s, limit, served)
    return [str(row["id"]) for row in rows]


async def test_a_subscription_that_is_still_served_is_not_leased_again(
    tenant: Tenant, boxes: list[str], delivery: RawConnection, reader: StreamReader
) -> None:
    made = await subscribe(tenant, WEBHOOK)
    await send(tenant, boxes[0], (0, {"pm2_5": 1}))
    await reader.assign()
    assert await lease(delivery, lease_s=0) == [made["id"]]
    # The lease has ended, and the task runs on.
    assert await lease(delivery, served=frozenset({UUID(made["id"])})) == []
    assert await lease(delivery) == [made["id"]]


async def test_a_rewind_by_the_former_version_is_served_at_once(
    tenant: Tenant,
    boxes: list[str],
    delivery: RawConnection,
    reader: StreamReader,
    owner: asyncpg.Connection,
) -> None:
    """It clears `waiting_since`, and knows nothing of how far the stream was searched."""
    await subscribe(tenant, WEBHOOK)
    await send(tenant, boxes[0], (0, {"pm2_5": 1}))
    await reader.assign()
    searched = (
        "UPDATE measurement_subscriptions SET searched_position = $1, searched_index = 0, found_count = 1"
    )
    await owner.execute(f"{searched}, waiting_since = now() + interval '1 hour'", HEAD)
    assert await lease(delivery) == []
    await owner.execute("UPDATE measurement_subscriptions SET waiting_since = NULL")
    assert len(await lease(delivery)) == 1


async def test_an_attempt_after_the_end_of_its_lease_is_not_recorded(
    tenant: Tenant, boxes: list[str], delivery: RawConnection, reader: StreamReader
) -> None:
    made = await subscribe(tenant, WEBHOOK)
    await send(tenant, boxes[0], (0, {"pm2_5": 1}))
    await reader.assign()
    row = (await lease_due_subscriptions(delivery, HEAD, 30, 64, ()))[0]
    organisation = row["organisation_id"]
    item = Item(row["cursor_position"] + 1, 0, "sample", organisation, UUID(int=1), boxes[0], 0, None, {})
    batch = MeasurementBatch.of(UUID(made["id"]), organisation, [item])
    assert await batch_repository.add_batch(delivery, row["leased_until"], batch)
    entry = AttemptEntry.of(AttemptOutcome(DELIVERED, 200, None, 1.0), row["now"])

    async def record(until: object) -> tuple[str, int]:
        await batch_repository.record_attempt(delivery, until, batch.id, entry, state="delivered", count=1)  # type: ignore[arg-type]
        shown = (await list_batches(tenant, made["id"]))[0]
        return shown["state"], shown["attempt_total"]

    assert await record(row["leased_until"] - timedelta(seconds=1)) == ("pending", 0)
    assert await record(row["leased_until"]) == ("delivered", 1)


async def test_the_news_of_others_lease_nothing(
    tenant: Tenant, other_tenant: Tenant, boxes: list[str], delivery: RawConnection, reader: StreamReader
) -> None:
    mine = await subscribe(tenant, WEBHOOK)
    await subscribe(other_tenant, WEBHOOK)
    await send(tenant, boxes[0], (0, {"pm2_5": 1}))
    await reader.assign()
    assert await lease(delivery) == [mine["id"]]


async def test_organisations_share_a_process(
    tenant: Tenant, other_tenant: Tenant, delivery: RawConnection
) -> None:
    """One with many subscriptions leaves room for the others."""
    many = [await subscribe(tenant, WEBHOOK) for _ in range(4)]
    one = await subscribe(other_tenant, WEBHOOK)
    for made in many:
        await act(tenant, made["id"], "test")
    await act(other_tenant, one["id"], "test")
    first = await lease(delivery, limit=2)
    assert one["id"] in first
    assert len(first) == 2
    assert len(await lease(delivery)) == 3


async def test_a_replay_is_not_closed_after_the_end_of_its_lease(
    settings: VigieSettings, tenant: Tenant, boxes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its range was empty with an access that has changed since."""
    read_range, reads = BatchSearch.read_range, 0

    async def change_access(*arguments: Any) -> list[Item]:  # noqa: ANN401 (passed on)
        nonlocal reads
        reads += 1
        if reads > 1:
            return await read_range(*arguments)
        path = f"/v1/measurement-subscriptions/{made['id']}"
        (await tenant.client.patch(path, json={"name": "Other"})).raise_for_status()
        return []

    monkeypatch.setattr(BatchSearch, "read_range", change_access)
    async with receiving(status(204)) as receiver, serving(settings):
        made = await subscribe(tenant, {"kind": "webhook", "url": receiver.url})
        await send(tenant, boxes[0], (0, {"pm2_5": 1}))
        await until_sent(tenant, made["id"], 1)
        (batch,) = await list_batches(tenant, made["id"])
        (await tenant.client.post(f"/v1/measurement-batches/{batch['id']}/replay")).raise_for_status()

        async def find_settled() -> dict[str, Any] | None:
            (shown,) = await list_batches(tenant, made["id"])
            return None if shown["state"] == "pending" else shown

        settled = await eventually(find_settled)
    assert settled is not None
    assert (settled["state"], settled["item_count"], len(receiver.got)) == ("delivered", 1, 2)
