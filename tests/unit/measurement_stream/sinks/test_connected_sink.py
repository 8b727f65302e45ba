"""Sinks with a connection end their attempts in time, and continue after the messages that were confirmed."""

import asyncio
from dataclasses import replace
from uuid import UUID

import pytest

from app.measurement_stream.items import Item
from app.measurement_stream.measurement_batch import MeasurementBatch
from app.measurement_stream.sinks import sink_types
from app.measurement_stream.sinks.guarded_addresses import ServerAddress
from app.measurement_stream.sinks.sink_types import REFUSED, ConnectedSink, SinkConfig, SinkError
from app.notifications.delivery.transport_types import DELIVERED
from app.notifications.http.guarded_resolver import AddressRefusedError
from app.platform.kernel.instants import to_datetime
from tests.unit.measurement_stream.sinks.test_mqtt_sink import CONFIG, batch_of


class MessageSink(ConnectedSink):
    """Counts what its receiver confirms; after `limit` messages in one attempt it raises an error."""

    def __init__(self, config: SinkConfig, limit: int, error: Exception) -> None:
        super().__init__(config, 30, allow_private=True)
        self.limit, self.error, self.in_attempt = limit, error, 0
        self.got: list[str] = []

    async def deliver(self, batch: MeasurementBatch) -> None:
        self.in_attempt = 0
        await self.publish_each(batch, self.publish)

    async def publish(self, item: Item) -> None:
        if self.in_attempt == self.limit:
            raise self.error
        self.in_attempt += 1
        self.got.append(item.id)

    async def disconnect(self) -> None:
        """Nothing is open."""


class TidySink(ConnectedSink):
    """Its library tidies up after a cancellation, until `tidied` is set; its connection may hang too."""

    def __init__(self, timeout_s: float, *, is_closable: bool = True) -> None:
        super().__init__(CONFIG, timeout_s, allow_private=True)
        self.is_closable = is_closable
        self.begun, self.tidied = asyncio.Event(), asyncio.Event()
        self.was_cancelled_open = False

    async def deliver(self, batch: MeasurementBatch) -> None:
        del batch
        self.begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.was_cancelled_open = not self.tidied.is_set()
            await self.tidied.wait()

    async def disconnect(self) -> None:
        if self.is_closable:
            self.tidied.set()
        await self.tidied.wait()


async def ends(task: asyncio.Task[object]) -> bool:
    """Wait for a task that may not end, without cancelling it."""
    await asyncio.wait((task,), timeout=60)
    return task.done()


async def test_an_attempt_ends_where_its_library_tidies_up_with_a_server_that_hangs() -> None:
    sink = TidySink(0.05)
    task = asyncio.create_task(sink.send(batch_of(1), to_datetime(0)))
    is_over = await ends(task)
    sink.tidied.set()
    assert is_over
    assert (await task).reason == "timeout"
    assert not sink.was_cancelled_open, "the connection is closed first"


async def test_an_attempt_ends_where_neither_it_nor_its_connection_can_be_ended() -> None:
    sink = TidySink(0.05, is_closable=False)
    task = asyncio.create_task(sink.send(batch_of(1), to_datetime(0)))
    is_over = await ends(task)
    was_tidied = sink.tidied.is_set()
    sink.tidied.set()
    assert is_over
    assert not was_tidied
    assert (await task).reason == "timeout"


async def test_a_cancelled_attempt_ends() -> None:
    sink = TidySink(600)
    task = asyncio.create_task(sink.send(batch_of(1), to_datetime(0)))
    await sink.begun.wait()
    task.cancel()
    is_over = await ends(task)
    sink.tidied.set()
    assert is_over
    assert task.cancelled()


async def test_a_client_does_not_see_the_address_behind_a_name() -> None:
    error = AddressRefusedError("vault.internal.example.com resolves to 10.20.30.40, which is private")
    outcome = await MessageSink(CONFIG, 0, error).send(batch_of(1), to_datetime(0))
    assert outcome.reason == "address_refused"
    assert outcome.body == "The server has an address to which Vigie does not connect."


async def test_after_a_failed_attempt_the_next_address_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    used = []

    async def find(_: ServerAddress, *, allow_private: bool) -> list[str]:
        del allow_private
        return ["2001:db8::1", "192.0.2.1"]

    class TwoAddresses(MessageSink):
        async def deliver(self, batch: MeasurementBatch) -> None:
            del batch
            used.append(await self.resolve(ServerAddress("db.example.com", 5432)))
            if ":" in used[-1]:
                raise ConnectionRefusedError

    monkeypatch.setattr(sink_types, "resolve_allowed_addresses", find)
    sink = TwoAddresses(CONFIG, 0, TimeoutError())
    reasons = [(await sink.send(batch_of(1), to_datetime(0))).reason for _ in range(3)]
    assert reasons == ["connect_failed", DELIVERED, DELIVERED]
    assert used == ["2001:db8::1", "192.0.2.1", "192.0.2.1"]


async def test_the_next_attempt_continues_after_what_was_confirmed() -> None:
    batch = batch_of(900)
    sink = MessageSink(CONFIG, 400, TimeoutError())
    reasons = [(await sink.send(batch, to_datetime(0))).reason for _ in range(3)]
    assert reasons == ["timeout", "timeout", DELIVERED]
    assert sink.got == [item.id for item in batch.items]
    # A replay sends everything.
    sink.limit = 900
    assert (await sink.send(batch, to_datetime(0))).delivered
    assert len(sink.got) == 1800


async def test_a_rewind_or_a_replay_of_what_another_process_finished_sends_everything() -> None:
    first = replace(batch_of(900), delivery="1")
    sink = MessageSink(CONFIG, 400, TimeoutError())
    assert (await sink.send(first, to_datetime(0))).reason == "timeout"
    sink.limit = 900
    assert (await sink.send(replace(first, delivery="2"), to_datetime(0))).delivered
    assert sink.got[400:] == [item.id for item in first.items]


async def test_a_batch_that_was_refused_is_sent_from_its_begin() -> None:
    batch = batch_of(900)
    sink = MessageSink(CONFIG, 400, SinkError(REFUSED))
    assert (await sink.send(batch, to_datetime(0))).reason == REFUSED
    assert (await sink.send(batch, to_datetime(0))).reason == REFUSED
    assert sink.got == [item.id for item in batch.items[:400]] * 2


async def test_another_batch_is_sent_from_its_begin() -> None:
    sink = MessageSink(CONFIG, 400, TimeoutError())
    assert (await sink.send(batch_of(900), to_datetime(0))).reason == "timeout"
    other = batch_of(300)
    other = MeasurementBatch(UUID(int=9), other.subscription_id, other.organisation_id, other.items)
    assert (await sink.send(other, to_datetime(0))).delivered
    assert sink.got[400:] == [item.id for item in other.items]
