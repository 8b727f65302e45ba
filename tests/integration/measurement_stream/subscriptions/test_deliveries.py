"""Attempts of one delivery continue each other; a rewind or a replay begins another delivery of a batch.

A graceful stop lets the running attempt end.
"""

import asyncio
from collections import Counter
from datetime import datetime
from functools import partial
from uuid import UUID

import asyncpg
import pytest
from aiohttp import web

from app.measurement_stream.measurement_batch import MeasurementBatch
from app.measurement_stream.subscriptions import worker
from app.notifications.delivery.transport_types import DELIVERED, AttemptOutcome
from app.settings import VigieSettings
from tests.conftest import Tenant
from tests.integration.measurement_stream.conftest import send
from tests.integration.measurement_stream.subscribing import (
    act,
    eventually,
    list_batches,
    serving,
    subscribe,
    until_sent,
)
from tests.integration.notifications.receivers import receiving


class RecordingSink:
    """Records batches; the first and the third attempt fail."""

    def __init__(self) -> None:
        self.got: list[tuple[UUID, UUID]] = []

    async def send(self, batch: MeasurementBatch, now: datetime) -> AttemptOutcome:
        del now
        self.got.append((batch.id, batch.delivery_id))
        reason = "timeout" if len(self.got) in {1, 3} else DELIVERED
        return AttemptOutcome(reason, None, None, 1.0)

    async def close(self) -> None:
        """Nothing is open."""


async def test_a_rewind_or_a_replay_is_another_delivery(
    settings: VigieSettings, tenant: Tenant, boxes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = RecordingSink()
    monkeypatch.setattr(worker, "make_sink", lambda *_: sink)
    made = await subscribe(tenant, {"kind": "webhook", "url": "https://example.com/hooks"})

    async def is_settled(attempts: int) -> bool:
        batches = await list_batches(tenant, made["id"])
        return len(sink.got) == attempts and [batch["state"] for batch in batches] == ["delivered"]

    async with serving(settings):
        await send(tenant, boxes[0], (0, {"pm2_5": 1}))
        await eventually(partial(is_settled, 2))
        [batch] = await list_batches(tenant, made["id"])
        for attempts in (4, 5):
            replay = await tenant.client.post(f"/v1/measurement-batches/{batch['id']}/replay")
            replay.raise_for_status()
            await eventually(partial(is_settled, attempts))
        await act(tenant, made["id"], "rewind", {"time": "2026-01-01T00:00:00Z"})
        await eventually(partial(is_settled, 6))
    assert {identifier for identifier, _ in sink.got} == {UUID(batch["id"])}
    first, first_again, second, second_again, third, fourth = (delivery for _, delivery in sink.got)
    assert (first, second) == (first_again, second_again)
    assert len({first, second, third, fourth}) == 4


async def test_a_graceful_stop_sends_no_batch_twice(
    settings: VigieSettings, tenant: Tenant, boxes: list[str], owner: asyncpg.Connection
) -> None:
    """The next process continues at once with the batch after the last one that was confirmed."""
    items, answer_s = 20, 0.5

    async def answer_slowly(_: web.Request) -> web.StreamResponse:
        await asyncio.sleep(answer_s)
        return web.Response(status=204)

    async with receiving(answer_slowly) as receiver:
        sink = {"kind": "webhook", "url": receiver.url}
        made = await subscribe(tenant, sink, batch={"size": 1, "max_age": "PT0S"})
        await send(tenant, boxes[0], *((float(second), {"pm2_5": 1.0}) for second in range(items)))
        async with serving(settings):
            await receiver.wait(2)
            begun = len(receiver.got)
        assert len(receiver.got) == begun
        assert not await owner.fetchval("SELECT count(*) FROM measurement_batches WHERE state = 'pending'")
        assert await owner.fetchval("SELECT leased_until FROM measurement_subscriptions") is None
        answer_s = 0
        async with serving(settings):
            await until_sent(tenant, made["id"], items)
    sent = Counter(request.headers["webhook-id"] for request in receiver.got)
    assert (len(sent), set(sent.values())) == (items, {1})
