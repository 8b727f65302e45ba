import asyncio
import time

import pytest

from app.ingest.sources.batch_queue import BatchQueue
from app.ingest.sources.message_source import MessageBatch, SourceCounters, SourceStoppedError


class Flow:
    def __init__(self) -> None:
        self.reading = True

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True


def make(**changes: float) -> tuple[BatchQueue, Flow, SourceCounters]:
    bounds: dict[str, float] = {
        "batch_messages": 3,
        "batch_bytes": 1000,
        "batch_delay_s": 0.02,
        "window": 100,
        "pending_limit_bytes": 10_000,
    } | changes
    counters = SourceCounters()
    inbox = BatchQueue(counters, **bounds)  # type: ignore[arg-type] # whole numbers where whole numbers are due
    flow = Flow()
    inbox.attach(flow)
    return inbox, flow, counters


def put(inbox: BatchQueue, number: int, size: int = 10) -> None:
    inbox.topics.append(f"t{number}")
    inbox.payloads.append(b"x" * size)
    inbox.packet_ids.append(number)
    inbox.settle(size)


async def soon(inbox: BatchQueue) -> MessageBatch:
    return await asyncio.wait_for(inbox.next_batch(), 60)


async def test_full_by_messages() -> None:
    inbox, _, _ = make(batch_delay_s=60)
    for number in range(1, 7):
        put(inbox, number)
    assert (await soon(inbox)).topics == ["t1", "t2", "t3"]
    assert (await soon(inbox)).topics == ["t4", "t5", "t6"]


async def test_full_by_bytes() -> None:
    inbox, _, _ = make(batch_delay_s=60, batch_bytes=25)
    put(inbox, 1, 20)
    put(inbox, 2, 20)
    assert len(await soon(inbox)) == 2


async def test_handed_out_by_age_and_not_before() -> None:
    inbox, _, _ = make(batch_delay_s=0.05)
    began = time.monotonic()
    asyncio.get_running_loop().call_later(0.01, put, inbox, 1)
    assert len(await soon(inbox)) == 1
    assert time.monotonic() - began >= 0.055


async def test_not_held_back_when_the_window_is_full() -> None:
    inbox, _, _ = make(batch_delay_s=60, window=2)
    put(inbox, 1)
    asyncio.get_running_loop().call_later(0.01, put, inbox, 2)
    assert len(await soon(inbox)) == 2


async def test_a_cancelled_wait_loses_nothing() -> None:
    inbox, _, _ = make(batch_delay_s=0.05)
    put(inbox, 1)
    waiting = asyncio.create_task(inbox.next_batch())
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert (await soon(inbox)).topics == ["t1"]


async def test_pauses_above_the_limit_and_resumes_once_acknowledged() -> None:
    inbox, flow, counters = make(pending_limit_bytes=30, batch_messages=2)
    for number in range(1, 5):
        put(inbox, number)
    assert not flow.reading
    assert counters.pauses == 1
    first = await soon(inbox)
    assert not flow.reading
    assert inbox.acknowledge(first) == [1, 2]
    assert flow.reading
    assert inbox.pending_bytes == 20


async def test_reads_on_above_the_limit_when_nothing_is_left_to_hand_out() -> None:
    inbox, flow, _ = make(pending_limit_bytes=5, batch_delay_s=60)
    put(inbox, 1)
    assert not flow.reading
    await soon(inbox)  # at once, although neither full nor old: nothing more could come
    assert flow.reading


async def test_a_lost_connection_drops_what_waits_and_makes_acknowledgements_stale() -> None:
    inbox, _, counters = make(batch_messages=1)
    put(inbox, 1)
    put(inbox, 2)
    held = await soon(inbox)
    inbox.detach()
    assert inbox.pending_bytes == inbox.pending_messages == 0
    assert inbox.acknowledge(held) is None
    assert counters.stale_acks == 1
    inbox.attach(Flow())
    put(inbox, 3)
    assert (await soon(inbox)).topics == ["t3"]


async def test_acknowledging_twice_sends_once() -> None:
    inbox, _, counters = make()
    put(inbox, 1)
    batch = await soon(inbox)
    assert inbox.acknowledge(batch) == [1]
    assert inbox.acknowledge(batch) is None
    assert counters.stale_acks == 1
    assert inbox.pending_bytes == 0


async def test_poison_keeps_its_place_in_the_order_of_acknowledgements() -> None:
    inbox, _, counters = make()
    put(inbox, 1)
    inbox.add_poison(b"raw", 2)
    put(inbox, 3)
    batch = await soon(inbox)
    assert (batch.topics, batch.poison) == (["t1", "t3"], [b"raw"])
    assert inbox.acknowledge(batch) == [1, 2, 3]
    assert (counters.messages, counters.poison) == (2, 1)


async def test_another_sources_batch_is_refused() -> None:
    inbox, _, _ = make()
    batch = MessageBatch(topics=[], payloads=[], retained=[], poison=[], received_at=0, token="offset 7")
    with pytest.raises(TypeError):
        inbox.acknowledge(batch)


async def test_stop_ends_the_wait() -> None:
    inbox, _, _ = make()
    asyncio.get_running_loop().call_later(0.01, inbox.stop)
    with pytest.raises(SourceStoppedError):
        await soon(inbox)
    with pytest.raises(SourceStoppedError):
        await soon(inbox)


async def test_a_second_consumer_is_refused() -> None:
    inbox, _, _ = make()
    first = asyncio.create_task(inbox.next_batch())
    await asyncio.sleep(0)
    with pytest.raises(RuntimeError):
        await inbox.next_batch()
    first.cancel()


async def test_a_traceparent_is_kept_where_telemetry_is_on(monkeypatch: pytest.MonkeyPatch) -> None:
    parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    inbox, _, _ = make()
    for tracing in (False, True):
        monkeypatch.setattr("app.ingest.sources.batch_queue.is_tracing", lambda on=tracing: on)
        put(inbox, 1)
        inbox.add_properties(b"7", [("other", "x"), ("traceparent", parent)])
    put(inbox, 3)
    batch = await soon(inbox)
    assert batch.correlations == {0: b"7", 1: b"7"}
    assert batch.traceparents == {1: parent}
    assert batch.since(1).traceparents == {0: parent}


async def test_a_malformed_traceparent_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.ingest.sources.batch_queue.is_tracing", lambda: True)
    inbox, _, _ = make(batch_delay_s=0)
    put(inbox, 1)
    inbox.add_properties(None, [("traceparent", "00-no-01")])
    assert (await soon(inbox)).traceparents == {}


@pytest.mark.parametrize(
    ("limits", "sizes", "may_have_more"),
    [
        ({"batch_messages": 10}, [10] * 5, False),
        ({"batch_messages": 10}, [10] * 6, True),
        ({"batch_messages": 10, "window": 6}, [10] * 4, True),
        ({"batch_messages": 10, "batch_bytes": 100}, [25, 25], False),
        ({"batch_messages": 10, "batch_bytes": 100}, [25, 26], True),
        ({"batch_messages": 10, "pending_limit_bytes": 80}, [41], True),
    ],
)
async def test_a_batch_that_a_limit_nearly_ended_may_not_be_the_last(
    limits: dict[str, float],
    sizes: list[int],
    may_have_more: bool,  # noqa: FBT001 (a parameter of the test)
) -> None:
    inbox, _, _ = make(batch_delay_s=0, **limits)
    for number, size in enumerate(sizes, 1):
        put(inbox, number, size)
    batch = await soon(inbox)
    assert len(batch) == len(sizes)
    assert inbox.may_have_more(batch) is may_have_more
    inbox.acknowledge(batch)
    assert inbox.may_have_more(batch) is may_have_more


async def test_a_small_batch_before_a_full_window_may_not_be_the_last() -> None:
    inbox, _, _ = make(batch_messages=10, batch_delay_s=0, window=8)
    put(inbox, 1)
    first = await soon(inbox)
    for number in range(2, 9):
        put(inbox, number)
    assert inbox.may_have_more(first)
    inbox.acknowledge(first)
    assert inbox.may_have_more(first)
    inbox.acknowledge(await soon(inbox))
    put(inbox, 9)
    last = await soon(inbox)
    inbox.acknowledge(last)
    assert not inbox.may_have_more(last)
