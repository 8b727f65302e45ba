"""The log in NATS JetStream, on three real nodes."""

import asyncio
import time
from contextlib import suppress

import pytest
from nats.aio.client import Client

from app.message_log.message_log import LogFullError, LogUnavailableError
from app.message_log.message_log_factory import make_message_log
from app.message_log.settings import MessageLogSettings
from tests.integration.message_log.conftest import MakeLog, check_ledger, read_all
from tools.clusters import nats_cluster
from tools.clusters.append_ledger import AppendLedger
from tools.clusters.nats_cluster import NatsCluster

# The client leaves a connection to the garbage collector when the node does not greet it in time.
LEFT_CONNECTION = pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <function StreamWriter:pytest.PytestUnraisableExceptionWarning"
)


async def test_each_partition_returns_its_records_in_order(make_log: MakeLog) -> None:
    log = await make_log()
    for number in range(40):
        for partition in range(3):
            position = await log.append(
                partition, f"{partition}.{number}".encode(), record_id=f"{partition}.{number}"
            )
            assert position == number + 1
    for partition in range(3):
        expected = [(number + 1, f"{partition}.{number}".encode()) for number in range(40)]
        assert await read_all(log, partition) == expected
        assert await read_all(log, partition, after=30) == expected[30:]


async def test_a_repeated_append_is_stored_once(make_log: MakeLog) -> None:
    log, other = await make_log(), await make_log()
    assert await log.append(0, b"one", record_id="a") == 1
    assert await log.append(0, b"two", record_id="b") == 2
    assert await other.append(0, b"one", record_id="a") == 1
    assert await read_all(log, 0) == [(1, b"one"), (2, b"two")]
    assert await log.find_newest_position(0) == 2


async def test_large_records_come_one_by_one_and_too_large_ones_are_refused(make_log: MakeLog) -> None:
    log = await make_log()
    assert log.max_record_bytes == 4 * 2**20
    for number in range(4):
        await log.append(0, bytes([number]) * log.max_record_bytes, record_id=str(number))
    reader = log.read(0, 0)
    for number in range(4):
        [record] = await reader.fetch(max_bytes=1000, max_wait_s=5.0)
        assert record == (number + 1, bytes([number]) * log.max_record_bytes)
    with pytest.raises(ValueError, match="larger than 4194304"):
        await log.append(0, bytes(log.max_record_bytes + 1), record_id="large")


async def test_a_waiting_reader_gets_a_record_at_once(make_log: MakeLog) -> None:
    log = await make_log()
    reader = log.read(1, 0)
    assert await reader.fetch(max_bytes=1000, max_wait_s=0.1) == []
    slowest = 0.0
    for number in range(5):
        waiting = asyncio.create_task(reader.fetch(max_bytes=1000, max_wait_s=10.0))
        await asyncio.sleep(0.1)
        await log.append(1, b"x", record_id=str(number))
        began = time.monotonic()
        assert await waiting == [(number + 1, b"x")]
        slowest = max(slowest, time.monotonic() - began)
    # Polls alone would take up to half a second.
    assert slowest < 0.3


async def test_a_cancelled_fetch_loses_nothing(make_log: MakeLog) -> None:
    log = await make_log()
    for number in range(200):
        await log.append(0, b"%d" % number, record_id=str(number))
    reader = log.read(0, 0)
    found: list[int] = []
    for delay_ms in range(40):
        task = asyncio.create_task(reader.fetch(max_bytes=20, max_wait_s=1.0))
        await asyncio.sleep(delay_ms / 10_000)
        task.cancel()
        try:
            found.extend(record.position for record in await task)
        except asyncio.CancelledError:
            continue
    while records := await reader.fetch(max_bytes=1000, max_wait_s=0.6):
        found.extend(record.position for record in records)
    assert found == list(range(1, 201))


async def test_a_full_partition_refuses_until_it_is_trimmed(make_log: MakeLog) -> None:
    log = await make_log(max_bytes=2**20)
    stored = 0
    with suppress(LogFullError):
        while stored < 20:
            await log.append(0, bytes(100_000), record_id=str(stored))
            stored += 1
    assert 8 <= stored <= 10
    with pytest.raises(LogFullError):
        await log.append(0, bytes(100_000), record_id=str(stored))
    await log.append(1, b"another partition has room", record_id="x")
    await log.trim(0, 4)
    assert [position for position, _ in await read_all(log, 0)] == list(range(4, stored + 1))
    assert await log.append(0, bytes(100_000), record_id=str(stored)) == stored + 1


async def test_reading_after_trimmed_records_begins_with_the_oldest(make_log: MakeLog) -> None:
    log = await make_log()
    for number in range(10):
        await log.append(2, b"%d" % number, record_id=str(number))
    await log.trim(2, 8)
    assert [position for position, _ in await read_all(log, 2, after=3)] == [8, 9, 10]
    await log.trim(2, 11)
    assert await read_all(log, 2, after=3) == []
    status = (await log.describe())[2]
    assert (status.oldest, status.newest, status.size) == (0, 10, 0)
    assert await log.append(2, b"next", record_id="next") == 11
    assert await read_all(log, 2, after=3) == [(11, b"next")]


async def test_the_description_names_nodes_and_positions(make_log: MakeLog) -> None:
    log = await make_log()
    await log.append(1, bytes(5000), record_id="a")
    await asyncio.sleep(1.2)  # followers report once a second
    empty, one, _ = await log.describe()
    assert set(one.replicas) == set(one.in_sync) == {"nats1", "nats2", "nats3"}
    assert one.leader == one.replicas[0]
    assert (one.oldest, one.newest) == (1, 1)
    assert 5000 < one.size < 6000
    assert (empty.oldest, empty.newest, empty.size) == (0, 0, 0)


async def test_the_id_changes_when_the_log_is_made_anew(make_log: MakeLog, nats_nodes: NatsCluster) -> None:
    log, other = await make_log(), await make_log()
    first = await log.read_id()
    assert await other.read_id() == first
    await log.append(0, b"x", record_id="x")
    reader = other.read(0, 0)
    assert await reader.fetch(max_bytes=10, max_wait_s=2.0) == [(1, b"x")]
    connection = Client()
    await connection.connect(nats_nodes.servers, user=nats_cluster.USERNAME, password=nats_cluster.PASSWORD)
    streams = connection.jetstream()
    for info in await streams.streams_info():
        if (info.config.name or "").startswith(log._settings.name + "-"):  # type: ignore[attr-defined]
            await streams.delete_stream(str(info.config.name))
    await connection.close()
    again = await make_log()
    assert await again.read_id() != first
    with pytest.raises(LogUnavailableError, match="made anew"):
        await reader.fetch(max_bytes=10, max_wait_s=6.0)


async def test_changed_limits_are_applied_to_existing_streams(make_log: MakeLog) -> None:
    log = await make_log(max_bytes=2**20)
    first = await log.read_id()
    larger = await make_log(max_bytes=2**21)
    for number in range(15):
        await larger.append(0, bytes(100_000), record_id=str(number))
    assert await larger.read_id() == first


async def test_without_nodes_the_log_is_unavailable() -> None:
    settings = MessageLogSettings(engine="jetstream", servers=["127.0.0.1:1"], timeout_s=0.5)
    log = make_message_log(settings)
    with pytest.raises(LogUnavailableError, match="no node"):
        await log.open()
    assert not log.connected
    with pytest.raises(LogUnavailableError):
        await log.append(0, b"x", record_id="x")
    await log.close()


async def test_nodes_killed_one_after_another_lose_nothing(
    make_log: MakeLog, nats_nodes: NatsCluster
) -> None:
    """Each node leads one of the partitions and follows in the others."""
    writer, reader = await make_log(), await make_log()
    async with AppendLedger(writer, reader, 3) as ledger:
        for node in nats_nodes.nodes:
            await asyncio.sleep(0.5)
            await node.kill()
            await ledger.wait_for_appends(10, 20.0)
            await nats_nodes.start(node)
            await nats_nodes.wait_for_peers()
        await ledger.finish(20.0)
    check_ledger(ledger, least=30)


@LEFT_CONNECTION
async def test_a_suspended_leader_stops_nothing_for_long(make_log: MakeLog, nats_nodes: NatsCluster) -> None:
    writer, reader = await make_log(), await make_log()
    node = nats_nodes.find_node(str((await writer.describe())[0].leader))
    async with AppendLedger(writer, reader, 3) as ledger:
        await asyncio.sleep(0.5)
        node.suspend()
        try:
            await ledger.wait_for_appends(10, 25.0)
            status = (await writer.describe())[0]
            assert status.leader not in {None, node.name}
            assert node.name not in status.in_sync
        finally:
            node.resume()
        await nats_nodes.wait_for_peers()
        await ledger.finish(20.0)
    check_ledger(ledger, least=20)


@LEFT_CONNECTION
async def test_a_record_without_majority_is_not_acknowledged_however_often_it_is_repeated(
    make_log: MakeLog, nats_nodes: NatsCluster
) -> None:
    """A leader answers the repeat of a message that it could not replicate as if it had stored it."""
    log = await make_log(timeout_s=2.5)
    await log.append(0, b"first", record_id="first")
    leader = str((await log.describe())[0].leader)
    others = [node for node in nats_nodes.nodes if node.name != leader]
    for node in others:
        node.suspend()
    try:
        for _ in range(2):
            with pytest.raises(LogUnavailableError):
                await log.append(0, b"second", record_id="second")
    finally:
        for node in others:
            node.resume()
    await nats_nodes.wait_for_peers()
    async with asyncio.timeout(20):
        while True:
            try:
                assert await log.append(0, b"second", record_id="second") == 2
                break
            except LogUnavailableError:
                continue
    assert await read_all(log, 0) == [(1, b"first"), (2, b"second")]
