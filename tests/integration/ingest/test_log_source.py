"""Reading the partitions of a real log: order, batches, records that wait, and what cannot be read."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from itertools import pairwise

import pytest

from app.ingest.prometheus_metrics import LOG_REMOVED
from app.ingest.sources.log_source import LogBatchToken, LogSource
from app.ingest.sources.message_source import MessageBatch, SourceStoppedError
from app.message_log.log_records import LogRecord, encode_record
from app.message_log.message_log import LogUnavailableError, MessageLog, PartitionReader
from app.message_log.positions import PositionAdvance
from tests.integration.edge.machines import LogCluster


async def append(
    log: MessageLog, partition: int, payloads: Sequence[bytes], *, edge: str = "a", **more: object
) -> int:
    """Append a record of messages; gives its position."""
    record = LogRecord(edge, 1.0, [f"t/{partition}"] * len(payloads), list(payloads), **more)  # type: ignore[arg-type]
    position = await log.append(partition, encode_record(record), record_id=f"{partition}-{payloads}")
    assert position is not None
    return position


def advances(batch: MessageBatch) -> dict[int, PositionAdvance]:
    assert isinstance(batch.token, LogBatchToken)
    return batch.token.advances


async def take(source: LogSource, messages: int) -> list[MessageBatch]:
    """Take and acknowledge batches until so many messages have come."""
    found: list[MessageBatch] = []
    async with asyncio.timeout(60):
        while sum(map(len, found)) < messages:
            found.append(await source.next_batch())
            source.acknowledge(found[-1])
    return found


@pytest.fixture
async def source(cluster: LogCluster) -> AsyncIterator[LogSource]:
    made = LogSource(
        await cluster.open(), batch_messages=100, batch_bytes=2**20, batch_delay_s=0.01, buffer_bytes=4096
    )
    yield made
    await made.stop()


async def test_each_partition_is_read_in_order_from_its_position_on(
    cluster: LogCluster, source: LogSource
) -> None:
    log = await cluster.open()
    expected: dict[int, list[bytes]] = {0: [], 1: []}
    first = 0
    for number in range(30):
        for partition in expected:
            payloads = [b"%d-%d-%d" % (partition, number, index) for index in range(3)]
            position = await append(log, partition, payloads)
            if number or partition:
                expected[partition] += payloads
            else:
                first = position
    await source.set_partitions({0: first, 1: 0})
    batches = await take(source, 87 + 90)
    for partition, payloads in expected.items():
        topic = f"t/{partition}"
        read = [
            payload
            for batch in batches
            for at, payload in zip(batch.topics, batch.payloads, strict=True)
            if at == topic
        ]
        assert read == payloads
        steps = [advances(batch)[partition] for batch in batches if partition in advances(batch)]
        assert steps[0].former == (first if partition == 0 else 0)
        assert all(one.position == two.former for one, two in pairwise(steps)), "without a gap"
        assert steps[-1].position == source.committed[partition] == await log.find_newest_position(partition)


async def test_a_partition_is_read_although_its_first_reader_does_not_start(
    cluster: LogCluster, source: LogSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = await cluster.open()
    await append(log, 0, [b"x"])
    start = log.read
    failures: list[Exception] = [LogUnavailableError("no CA file"), ValueError("unforeseen")]

    def read(partition: int, after: int) -> PartitionReader:
        if failures:
            raise failures.pop()
        return start(partition, after)

    monkeypatch.setattr(log, "read", read)
    await source.set_partitions({0: 0})
    assert (await take(source, 1))[0].payloads == [b"x"]
    assert not failures


async def test_a_record_waits_for_what_was_before_it_elsewhere(
    cluster: LogCluster, source: LogSource
) -> None:
    """A box has moved: its messages in the new partition come after those in the one it has left."""
    log = await cluster.open()
    await append(log, 2, [b"former"])
    last = await append(log, 2, [b"last"])
    await append(log, 0, [b"after"], after={2: last})
    await source.set_partitions({0: 0})
    waiting = asyncio.create_task(source.next_batch())
    async with asyncio.timeout(60):
        while not source.awaited:  # noqa: ASYNC110 (the source's word)
            await asyncio.sleep(0.01)
    assert source.awaited == {2}
    source.set_other_positions({2: last - 1})
    await asyncio.sleep(0.05)
    assert not waiting.done(), "all but the last is not enough"
    source.set_other_positions({2: last})
    assert (await asyncio.wait_for(waiting, 60)).payloads == [b"after"]


async def test_a_record_does_not_wait_for_what_the_log_has_lost(
    cluster: LogCluster, source: LogSource
) -> None:
    log = await cluster.open()
    await append(log, 0, [b"after"], after={2: 1000})
    await source.set_partitions({0: 0})
    before = time.monotonic()
    waiting = asyncio.create_task(source.next_batch())
    async with asyncio.timeout(60):
        while not source.awaited:  # noqa: ASYNC110 (the source's word)
            await asyncio.sleep(0.01)
    source.set_newest_positions({0: 1, 2: 0}, before)
    await asyncio.sleep(0.05)
    assert not waiting.done(), "the log may have got it since"
    source.set_newest_positions({0: 1, 2: 0}, time.monotonic())
    assert (await asyncio.wait_for(waiting, 60)).payloads == [b"after"]


async def test_of_two_owned_partitions_the_other_is_read_first(
    cluster: LogCluster, source: LogSource
) -> None:
    log = await cluster.open()
    last = await append(log, 2, [b"former"])
    await append(log, 0, [b"after"], after={2: last})
    await source.set_partitions({0: 0, 2: 0})
    batches = await take(source, 2)
    assert [payload for batch in batches for payload in batch.payloads] == [b"former", b"after"]


async def test_a_batch_knows_the_edge_of_each_message(cluster: LogCluster, source: LogSource) -> None:
    log = await cluster.open()
    await append(log, 1, [b"1", b"2"], edge="a", retained=[1], correlations={0: b"c"}, traceparents={1: "t"})
    await append(log, 1, [b"3"], edge="b", retained=[0], correlations={0: b"d"}, poison=[b"raw"])
    await append(log, 1, [b"4"], edge="b")
    await source.set_partitions({1: 0})
    async with asyncio.timeout(60):
        while source.counters.messages < 4:
            batch = await source.next_batch()
            if len(batch) == 4:
                break
            # They may have come one by one: read them again, together.
            await source.set_partitions({})
            await source.set_partitions({1: 0})
            await asyncio.sleep(0.2)
            source.counters.messages = 0
    assert batch.edges == [(2, "a"), (4, "b")]
    assert (batch.retained, batch.correlations, batch.traceparents, batch.poison) == (
        [1, 2],
        {0: b"c", 2: b"d"},
        {1: "t"},
        [b"raw"],
    )
    part = batch.since(2)
    assert (part.payloads, part.edges, part.retained, part.correlations) == (
        [b"3", b"4"],
        [(2, "b")],
        [0],
        {0: b"d"},
    )


async def test_what_is_no_record_is_handed_on_and_passed_over(cluster: LogCluster, source: LogSource) -> None:
    log = await cluster.open()
    await log.append(3, b"\xc1 no record", record_id="bad")
    last = await append(log, 3, [b"good"])
    await source.set_partitions({3: 0})
    batches = await take(source, 1)
    assert [packet for batch in batches for packet in batch.poison] == [b"\xc1 no record"]
    assert source.committed == {3: last}
    assert source.counters.malformed == 1


async def test_more_than_fits_in_memory_is_read_bit_by_bit(cluster: LogCluster, source: LogSource) -> None:
    log = await cluster.open()
    for number in range(40):
        await append(log, 0, [b"%d" % number + b"." * 1000])
    await source.set_partitions({0: 0})
    batches = await take(source, 40)
    read = [int(payload.split(b".")[0]) for batch in batches for payload in batch.payloads]
    assert read == list(range(40))


async def test_records_that_grow_in_memory_are_decoded_one_by_one(
    cluster: LogCluster, source: LogSource
) -> None:
    """Each has about 100 bytes in the log, and more than the limit of memory once it is decompressed."""
    log = await cluster.open()
    for number in range(20):
        record = LogRecord("a", 1.0, ["t/0"], [b"%d" % number + b"." * 100_000])
        await log.append(0, encode_record(record), record_id=str(number))
    await source.set_partitions({0: 0})
    async with asyncio.timeout(60):
        while not source.counters.pauses:  # noqa: ASYNC110 (the source sends no signal)
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.2)
    batches = await take(source, 20)
    assert [len(batch) for batch in batches] == [1] * 20, "a batch has what was in memory"
    read = [int(payload.split(b".")[0]) for batch in batches for payload in batch.payloads]
    assert read == list(range(20))


async def test_a_partition_that_is_given_up_is_read_no_more(cluster: LogCluster, source: LogSource) -> None:
    log = await cluster.open()
    await append(log, 0, [b"one"])
    await source.set_partitions({0: 0, 1: 0})
    await take(source, 1)
    await source.set_partitions({1: 0})
    await append(log, 0, [b"two"])
    await append(log, 1, [b"three"])
    (batch,) = await take(source, 1)
    assert batch.payloads == [b"three"]
    await source.stop()
    with pytest.raises(SourceStoppedError):
        await source.next_batch()


async def test_another_record_at_the_committed_position_means_that_the_newest_were_lost(
    cluster: LogCluster, source: LogSource
) -> None:
    log = await cluster.open()
    for number in range(4):
        await append(log, 0, [b"%d" % number])
    await source.set_partitions({0: 0})
    last = advances((await take(source, 4))[-1])[0]
    await append(log, 0, [b"4"])
    await source.set_partitions({})
    await source.set_partitions({0: last.position}, {0: last.digest})
    (batch,) = await take(source, 1)
    assert batch.payloads == [b"4"], "the record there is the one that was committed"
    assert source.list_without_tail() == []
    await source.set_partitions({})
    await source.set_partitions({0: last.position}, {0: last.digest ^ 1})
    async with asyncio.timeout(60):
        while source.list_without_tail() != [0]:  # noqa: ASYNC110 (the source sends no signal)
            await asyncio.sleep(0.01)
    assert source.committed == {0: last.position}


async def test_records_that_were_removed_unread_are_counted(cluster: LogCluster, source: LogSource) -> None:
    log = await cluster.open()
    for number in range(8):
        await append(log, 0, [b"%d" % number])
    await source.set_partitions({0: 0})
    steps = [advances(batch)[0] for batch in await take(source, 8)]
    assert source.removed == {}
    for number in range(8, 14):
        await append(log, 0, [b"%d" % number])
    await source.set_partitions({})
    await log.trim(0, 12)
    before = LOG_REMOVED._value.get()
    await source.set_partitions({0: 8}, {0: steps[-1].digest})
    batches = await take(source, 3)
    assert [payload for batch in batches for payload in batch.payloads] == [b"11", b"12", b"13"]
    assert advances(batches[0])[0].former == 8
    assert source.removed == {0: 3}
    source.forget_removed(0, 1)
    assert source.removed == {0: 2}
    source.forget_removed(0, 2)
    assert source.removed == {}
    assert LOG_REMOVED._value.get() == before + 3


async def test_a_committed_record_that_was_trimmed_is_no_loss(cluster: LogCluster, source: LogSource) -> None:
    log = await cluster.open()
    for number in range(3):
        await append(log, 0, [b"%d" % number])
    await log.trim(0, 3)
    await source.set_partitions({0: 2}, {0: 4711})
    (batch,) = await take(source, 1)
    assert batch.payloads == [b"2"]
    assert source.removed == {}
