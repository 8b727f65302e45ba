"""Idle sinks are closed while the worker leases subscriptions."""

import asyncio
from datetime import UTC, datetime
from typing import cast
from uuid import UUID

import asyncpg

from app.measurement_stream.measurement_batch import MeasurementBatch
from app.measurement_stream.sinks.sink_factory import SinkConnections
from app.measurement_stream.subscriptions.worker import SubscriptionWorker, _OpenSink
from app.notifications.delivery.transport_types import AttemptOutcome
from app.notifications.settings import WebhookSettings
from app.platform.secrets.sealing import SecretSealer


class HangingSink:
    """Its connection closes when `ended` is set."""

    def __init__(self) -> None:
        self.closing, self.ended = asyncio.Event(), asyncio.Event()

    async def send(self, batch: MeasurementBatch, now: datetime) -> AttemptOutcome:
        raise NotImplementedError

    async def close(self) -> None:
        self.closing.set()
        await self.ended.wait()


async def test_idle_sinks_are_closed_at_once_beside_the_round() -> None:
    worker = SubscriptionWorker(
        WebhookSettings(),
        cast("asyncpg.Pool", None),
        cast("SecretSealer", None),
        cast("SinkConnections", None),
    )
    sinks = [HangingSink() for _ in range(3)]
    for number, sink in enumerate(sinks):
        worker._sinks[UUID(int=number)] = _OpenSink(sink, datetime.now(UTC), -1e9)
    worker._close_idle_sinks()
    async with asyncio.timeout(60):
        await asyncio.gather(*(sink.closing.wait() for sink in sinks))
    assert not worker._sinks
    for sink in sinks:
        sink.ended.set()
    await asyncio.gather(*worker._closing)
