"""The log in NATS JetStream, on three real nodes."""

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest
from nats.aio.client import Client

from app.ingest.sources.log_source import LogSource
from app.message_log import jetstream_reader
from app.message_log.log_records import LogRecord, encode_record
from app.message_log.message_log import (
    LogFullError,
    LogUnavailableError,
    MessageLog,
    RecordsRemovedError,
)
from app.platform.kernel.atomic_files import replace_file_text
from tests.integration.message_log.conftest import MakeLog, check_ledger, find_leader, read_all
from tests.scenarios.processes import until
from tools.clusters import nats_cluster
from tools.clusters.append_ledger import AppendLedger
from tools.clusters.nats_cluster import NatsCluster

# The client leaves a connection to the garbage collector when the node does not greet it in time.
LEFT_CONNECTION = pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <function StreamWriter:pytest.PytestUnraisableExceptionWarning"
)


async def test_a_repeated_append_is_stored_once(make_jetstream_log: MakeLog) -> None:
    log, other = await make_jetstream_log(), await make_jetstream_log()
    assert await log.append(0, b"one", record_id="a") == 1
    assert await log.append(0, b"two", record_id="b") == 2
    assert await other.append(0, b"one", record_id="a") == 1
    assert await read_all(log, 0) == [(1, b"one"), (2, b"two")]
    assert await log.find_newest_position(0) == 2


async def test_a_waiting_reader_gets_a_record_at_once(
    make_jetstream_log: MakeLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    # By polls alone it would get none before the end of the test.
    monkeypatch.setattr(jetstream_reader, "_POLL_S", 3600.0)
    log = await make_jetstream_log()
    reader = log.read(1, 0)
    assert await reader.fetch(max_bytes=1000, max_wait_s=0.1) == []
    for number in range(5):
        waiting = asyncio.create_task(reader.fetch(max_bytes=1000, max_wait_s=3600.0))
        await asyncio.sleep(0.1)
        await log.append(1, b"x", record_id=str(number))
        assert await waiting == [(number + 1, b"x")]


async def test_a_full_partition_has_room_once_it_is_trimmed(make_jetstream_log: MakeLog) -> None:
    log = await make_jetstream_log(max_bytes=2**20)
    stored = 0
    with suppress(LogFullError):
        while stored < 20:
            await log.append(0, bytes(100_000), record_id=str(stored))
            stored += 1
    await log.trim(0, 4)
    assert [position for position, _ in await read_all(log, 0)] == list(range(4, stored + 1))
    assert await log.append(0, bytes(100_000), record_id=str(stored)) == stored + 1


async def test_records_that_were_removed_are_never_skipped_silently(make_jetstream_log: MakeLog) -> None:
    log = await make_jetstream_log()
    for number in range(10):
        await log.append(2, b"%d" % number, record_id=str(number))
    reader = log.read(2, 0)
    first = await reader.fetch(max_bytes=1, max_wait_s=20.0)
    assert [position for position, _ in first] == [1]
    await log.trim(2, 8)
    for after in (3, 6):
        with pytest.raises(RecordsRemovedError) as raised:
            await read_all(log, 2, after=after)
        assert (raised.value.after, raised.value.oldest) == (after, 8)
    for after in (0, 7):
        assert [position for position, _ in await read_all(log, 2, after=after)] == [8, 9, 10]
    await log.trim(2, 11)
    with pytest.raises(RecordsRemovedError) as raised:
        await read_all(log, 2, after=3)
    assert raised.value.oldest == 11
    status = (await log.describe()).partitions[2]
    assert (status.oldest, status.newest, status.size) == (0, 10, 0)
    assert await log.append(2, b"next", record_id="next") == 11
    assert await read_all(log, 2, after=10) == [(11, b"next")]


async def test_the_id_changes_when_the_log_is_recreated(
    make_jetstream_log: MakeLog, nats_nodes: NatsCluster
) -> None:
    log, other = await make_jetstream_log(), await make_jetstream_log()
    first = (await log.describe()).log_id
    assert (await other.describe()).log_id == first
    await log.append(0, b"x", record_id="x")
    reader = other.read(0, 0)
    assert await reader.fetch(max_bytes=10, max_wait_s=20.0) == [(1, b"x")]
    connection = Client()
    await connection.connect(nats_nodes.servers, user=nats_cluster.USERNAME, password=nats_cluster.PASSWORD)
    streams = connection.jetstream()
    for info in await streams.streams_info():
        if (info.config.name or "").startswith(log._settings.name + "-"):  # type: ignore[attr-defined]
            await streams.delete_stream(str(info.config.name))
    await connection.close()
    again = await make_jetstream_log()
    assert (await again.describe()).log_id != first
    with pytest.raises(LogUnavailableError, match="recreated"):
        await reader.fetch(max_bytes=10, max_wait_s=60.0)


async def test_changed_limits_are_applied_to_existing_streams(make_jetstream_log: MakeLog) -> None:
    log = await make_jetstream_log(max_bytes=2**20)
    first = (await log.describe()).log_id
    larger = await make_jetstream_log(max_bytes=2**21)
    for number in range(15):
        await larger.append(0, bytes(100_000), record_id=str(number))
    assert (await larger.describe()).log_id == first


class SeenDescriptions:
    """The ids and leaders of a log while its nodes restart."""

    def __init__(self, log: MessageLog) -> None:
        self._log = log
        self.leaders: set[str | None] = set()
        self.ids: set[str | None] = set()

    async def look(self) -> bool:
        try:
            description = await self._log.describe()
        except LogUnavailableError:  # the client reconnects
            return False
        self.leaders.update(each.leader for each in description.partitions)
        self.ids.add(description.log_id)
        return description.log_id is not None


@contextmanager
def another_password(nodes: NatsCluster) -> Iterator[None]:
    """Let all nodes read a configuration with another password, and at the end one with the right password.

    They end the connections of a listed user by an authorization violation: the client closes for good.
    """

    def reload(password: str) -> None:
        for node in nodes.nodes:
            config = node.folder / "nats.conf"
            users = f'[{{user: "{nats_cluster.USERNAME}", password: "{password}"}}]'
            text = config.read_text().partition("authorization {")[0]
            replace_file_text(config, f"{text}authorization {{ users: {users} }}\n")
            node.send(signal.SIGHUP)

    reload("another")
    try:
        yield
    finally:
        reload(nats_cluster.PASSWORD)


@LEFT_CONNECTION
async def test_a_worker_reads_again_after_its_account_was_invalid_for_a_while(
    make_jetstream_log: MakeLog, nats_nodes: NatsCluster
) -> None:
    log = await make_jetstream_log(timeout_s=1.0)
    source = LogSource(log, batch_messages=1, batch_bytes=2**20, batch_delay_s=0.0, buffer_bytes=4096)
    await source.set_partitions({0: 0, 1: 0})

    async def append(data: bytes) -> None:
        record = encode_record(LogRecord("edge-a", 1.0, ["t"], [data]))
        await (await make_jetstream_log()).append(0, record, record_id=data.decode())

    async def is_described() -> bool:
        with suppress(LogUnavailableError):
            return (await log.describe()).log_id is not None
        return False

    async def is_refused() -> bool:
        return former.is_closed and not await is_described()

    await append(b"before")
    assert (await asyncio.wait_for(source.next_batch(), 60)).payloads == [b"before"]
    former = log._connection  # type: ignore[attr-defined]
    with another_password(nats_nodes):
        await until(is_refused)
    await until(is_described)
    await append(b"after")
    assert (await asyncio.wait_for(source.next_batch(), 60)).payloads == [b"after"]
    await source.stop()


@pytest.mark.parametrize("end", ["kill", "stop"])
async def test_nodes_that_end_one_after_another_lose_nothing_and_the_id_remains(
    make_jetstream_log: MakeLog, nats_nodes: NatsCluster, end: str
) -> None:
    """Each node leads one of the partitions and follows in the others."""
    writer, reader = await make_jetstream_log(), await make_jetstream_log()
    first, seen = (await writer.describe()).log_id, SeenDescriptions(writer)
    assert first is not None
    async with AppendLedger(writer, reader, 3) as ledger:
        for node in nats_nodes.nodes:
            await ledger.wait_for_appends(5, 60.0)
            await (node.kill() if end == "kill" else node.stop())
            await until(seen.look)
            await ledger.wait_for_appends(10, 60.0)
            await nats_nodes.start(node)
            await nats_nodes.wait_for_peers()
            await until(seen.look)
            seen.ids.add((await (await make_jetstream_log()).describe()).log_id)
        await ledger.finish(20.0)
    check_ledger(ledger, least=30)
    assert len(seen.leaders - {None}) > 1
    assert seen.ids - {None} == {first}


@LEFT_CONNECTION
async def test_a_suspended_leader_stops_nothing_for_long(
    make_jetstream_log: MakeLog, nats_nodes: NatsCluster
) -> None:
    writer, reader = await make_jetstream_log(), await make_jetstream_log()
    node = nats_nodes.find_node(await find_leader(writer))
    async with AppendLedger(writer, reader, 3) as ledger:
        await ledger.wait_for_appends(10, 60.0)
        node.suspend()
        try:
            await ledger.wait_for_appends(10, 25.0)
            status = (await writer.describe()).partitions[0]
            assert status.leader not in {None, node.name}
            assert node.name not in status.in_sync
        finally:
            node.resume()
        await nats_nodes.wait_for_peers()
        await ledger.finish(20.0)
    check_ledger(ledger, least=20)


@LEFT_CONNECTION
async def test_a_record_without_majority_is_not_acknowledged_however_often_it_is_repeated(
    make_jetstream_log: MakeLog, nats_nodes: NatsCluster
) -> None:
    """A leader answers the repeat of a message that it could not replicate as if it had stored it."""
    log = await make_jetstream_log(timeout_s=2.5)
    await log.append(0, b"first", record_id="first")
    leader = await find_leader(log)
    others = [node for node in nats_nodes.nodes if node.name != leader]
    for node in others:
        node.suspend()
    await asyncio.sleep(0.2)  # a thread that runs stops a moment later
    try:
        for _ in range(2):
            with pytest.raises(LogUnavailableError):
                await log.append(0, b"second", record_id="second")
    finally:
        for node in others:
            node.resume()
    await nats_nodes.wait_for_peers()
    async with asyncio.timeout(60):
        while True:
            try:
                assert await log.append(0, b"second", record_id="second") == 2
                break
            except LogUnavailableError:
                continue
    assert await read_all(log, 0) == [(1, b"first"), (2, b"second")]
