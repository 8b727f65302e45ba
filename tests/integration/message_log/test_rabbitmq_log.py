"""The log in RabbitMQ streams, on three real nodes."""

import asyncio
from contextlib import suppress

import pytest
from rstream.connection import Connection
from rstream.schema import Deliver, Frame

from app.message_log.message_log import LogFullError, LogUnavailableError, RecordsRemovedError
from app.message_log.message_log_factory import make_message_log
from app.message_log.rabbitmq_connections import connect_to_node
from app.message_log.record_units import UNIT_BYTES
from tests.integration.message_log.conftest import MakeLog, check_ledger, find_leader, read_all
from tests.scenarios.processes import until
from tools.clusters.append_ledger import AppendLedger
from tools.clusters.rabbitmq_cluster import RabbitMQCluster


async def test_a_repeat_after_a_lost_connection_is_stored_once(make_rabbitmq_log: MakeLog) -> None:
    """The confirmation of each tenth append is lost with its connection."""
    log = await make_rabbitmq_log()
    for number in range(50):
        if number % 10 == 5:
            appender = log._appenders[0]  # type: ignore[attr-defined]
            appender._connection._handlers.clear()
            lost = asyncio.create_task(log.append(0, b"%d" % number, record_id=str(number)))
            await asyncio.sleep(0.1)
            await appender._connection.abort()
            await lost
        else:
            await log.append(0, b"%d" % number, record_id=str(number))
    found = await read_all(log, 0)
    assert found == [(number + 1, b"%d" % number) for number in range(50)]
    assert await log.find_newest_position(0) == 50


async def test_a_full_partition_has_room_once_it_is_trimmed(make_rabbitmq_log: MakeLog) -> None:
    log = await make_rabbitmq_log(max_bytes=2**20)
    stored = 0
    with suppress(LogFullError):
        while stored < 20:
            await log.append(0, bytes(100_000), record_id=str(stored))
            stored += 1
    full = (await log.describe()).partitions[0]
    assert full.size >= 2**20
    await log.trim(0, full.newest - 50)
    assert (await log.describe()).partitions[0].size == 51 * UNIT_BYTES
    async with asyncio.timeout(60):
        while True:
            with suppress(LogFullError):
                await log.append(0, bytes(100_000), record_id=str(stored))
                break
            await asyncio.sleep(0.2)
    assert len(await read_all(log, 0)) == stored + 1


async def test_records_that_the_retention_removed_are_never_skipped_silently(
    make_rabbitmq_log: MakeLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An appender with a larger limit than that of the stream fills it, until the nodes remove records."""
    monkeypatch.setattr("app.message_log.rabbitmq_log._SEGMENT_BYTES", 2**20)
    log = await make_rabbitmq_log(max_bytes=2**20)
    log._settings.max_bytes = 2**30  # type: ignore[attr-defined]
    for number in range(24):
        await log.append(0, b"%02d" % number + bytes(2**19), record_id=str(number))

    async def find_removed() -> int | None:
        oldest = (await log.describe()).partitions[0].oldest
        return oldest if oldest > 1 else None

    oldest = await until(find_removed)
    assert oldest is not None
    with pytest.raises(RecordsRemovedError) as raised:
        await read_all(log, 0, after=129)
    assert raised.value.after == 129
    assert raised.value.oldest >= oldest
    found = await read_all(log, 0, after=raised.value.oldest - 1)
    assert [int(record.data[:2]) for record in found] == list(range(24 - len(found), 24))
    assert await read_all(log, 0) == found, "a reader without a position begins with the oldest"


async def test_other_limits_than_those_of_the_streams_are_refused_with_what_to_do(
    make_rabbitmq_log: MakeLog,
) -> None:
    log = await make_rabbitmq_log(max_bytes=2**20)
    settings = log._settings.model_copy(update={"max_bytes": 2**21})  # type: ignore[attr-defined]
    other = make_message_log(settings)
    with pytest.raises(LogUnavailableError, match="VIGIE_MESSAGE_LOG__MAX_BYTES"):
        await other.open()
    await other.close()


async def test_noted_offsets_between_records_are_no_gap(make_rabbitmq_log: MakeLog) -> None:
    log, other = await make_rabbitmq_log(), await make_rabbitmq_log()
    reader = log.read(0, 0)
    for number in range(6):
        await (log, other)[number % 2].append(0, b"%d" % number, record_id=str(number))
        await log.trim(0, 1)
        [record] = await reader.fetch(max_bytes=10, max_wait_s=20.0)
        assert record.data == b"%d" % number
    found = await read_all(log, 0)
    assert [record.data for record in await read_all(log, 0, after=found[1].position)] == [
        b"%d" % number for number in range(2, 6)
    ]


async def test_the_id_changes_when_the_log_is_recreated(
    make_rabbitmq_log: MakeLog, rabbitmq_nodes: RabbitMQCluster
) -> None:
    log, other = await make_rabbitmq_log(), await make_rabbitmq_log()
    first = (await log.describe()).log_id
    await log.append(0, b"x", record_id="x")
    assert (await other.describe()).log_id == first
    settings = log._settings  # type: ignore[attr-defined]
    connection = await connect_to_node(settings, rabbitmq_nodes.servers[0], client="test")
    await connection.delete_stream(f"{settings.name}-0")
    await connection.abort()
    again = await make_rabbitmq_log()
    assert (await again.describe()).log_id != first
    assert await again.find_newest_position(0) == 0


async def test_a_slow_node_does_not_look_like_an_empty_log(
    make_rabbitmq_log: MakeLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each chunk arrives after 1.3 s, and all later answers of the node after it."""
    log = await make_rabbitmq_log()
    await log.append(1, b"x", record_id="x")
    read_frame = Connection.read_frame

    async def read_slowly(self: Connection) -> Frame:
        frame = await read_frame(self)
        if isinstance(frame, Deliver):
            await asyncio.sleep(1.3)
        return frame

    monkeypatch.setattr(Connection, "read_frame", read_slowly)
    fresh = await make_rabbitmq_log()
    assert await fresh.find_newest_position(1) == 1
    assert await fresh.find_newest_position(0) == 0, "it is empty"
    status = (await fresh.describe()).partitions[1]
    assert (status.oldest, status.newest) == (1, 1)


@pytest.mark.parametrize("is_trimmed", [True, False])
async def test_a_node_that_withholds_known_records_does_not_answer(
    make_rabbitmq_log: MakeLog, monkeypatch: pytest.MonkeyPatch, *, is_trimmed: bool
) -> None:
    """A position was noted in the stream, or read before. No chunk arrives: none is committed yet."""
    log = await make_rabbitmq_log()
    await log.append(1, b"x", record_id="x")
    if is_trimmed:
        await log.trim(1, 1)
        log = await make_rabbitmq_log()
    else:
        assert await log.find_newest_position(1) == 1
    read_frame = Connection.read_frame

    async def read_without_chunks(self: Connection) -> Frame:
        while isinstance(frame := await read_frame(self), Deliver):
            pass
        return frame

    monkeypatch.setattr(Connection, "read_frame", read_without_chunks)
    with pytest.raises(LogUnavailableError, match="which has some"):
        await log.find_newest_position(1)
    assert [each.leader is None for each in (await log.describe()).partitions] == [False, True, False]


async def test_positions_of_a_recreated_log_are_forgotten(
    make_rabbitmq_log: MakeLog, rabbitmq_nodes: RabbitMQCluster
) -> None:
    log = await make_rabbitmq_log()
    await log.append(1, b"x", record_id="x")
    assert await log.find_newest_position(1) == 1
    settings = log._settings  # type: ignore[attr-defined]
    connection = await connect_to_node(settings, rabbitmq_nodes.servers[0], client="test")
    for partition in range(3):
        await connection.delete_stream(f"{settings.name}-{partition}")
    await connection.abort()
    await make_rabbitmq_log()
    assert await log.find_newest_position(1) == 0


async def test_nodes_killed_one_after_another_lose_nothing(
    make_rabbitmq_log: MakeLog, rabbitmq_nodes: RabbitMQCluster
) -> None:
    writer, reader = await make_rabbitmq_log(), await make_rabbitmq_log()
    async with AppendLedger(writer, reader, 3) as ledger:
        for node in rabbitmq_nodes.nodes[:2]:
            await asyncio.sleep(0.5)
            await node.kill()
            await ledger.wait_for_appends(10, 30.0)
            await rabbitmq_nodes.start(node)
            await rabbitmq_nodes.wait_for_peers()
            await ledger.wait_for_appends(10, 30.0)
        await ledger.finish(20.0)
    check_ledger(ledger, least=30)


async def test_a_record_without_majority_is_not_acknowledged_however_often_it_is_repeated(
    make_rabbitmq_log: MakeLog, rabbitmq_nodes: RabbitMQCluster
) -> None:
    leader = await find_leader(await make_rabbitmq_log())
    # The client knows only the leader, so that it meets no node that hangs.
    log = await make_rabbitmq_log(timeout_s=2.0, servers=[leader])
    await log.append(0, b"first", record_id="first")
    others = [node for node in rabbitmq_nodes.nodes if rabbitmq_nodes.address(node) != leader]
    for node in others:
        node.suspend()
    try:
        for _ in range(2):
            with pytest.raises(LogUnavailableError):
                await log.append(0, b"second", record_id="second")
            assert log._appenders[0]._unfinished is not None  # type: ignore[attr-defined]
    finally:
        for node in others:
            node.resume()
    async with asyncio.timeout(60):
        while True:
            with suppress(LogUnavailableError):
                await log.append(0, b"second", record_id="second")
                break
    assert [data for _, data in await read_all(log, 0)] == [b"first", b"second"]
