"""The log in RabbitMQ streams, on three real nodes."""

import asyncio
from contextlib import suppress

import pytest

from app.message_log.message_log import LogFullError, LogUnavailableError
from app.message_log.message_log_factory import make_message_log
from app.message_log.rabbitmq_connections import connect_to_node
from app.message_log.settings import MessageLogSettings
from tests.integration.message_log.conftest import MakeLog, check_ledger, read_all
from tools.clusters.append_ledger import AppendLedger
from tools.clusters.rabbitmq_cluster import RabbitMQCluster


async def test_each_partition_returns_its_records_in_order(make_rabbitmq_log: MakeLog) -> None:
    log = await make_rabbitmq_log()
    for number in range(40):
        for partition in range(3):
            await log.append(partition, f"{partition}.{number}".encode(), record_id=f"{partition}.{number}")
    for partition in range(3):
        expected = [(number + 1, f"{partition}.{number}".encode()) for number in range(40)]
        assert await read_all(log, partition) == expected
        assert await read_all(log, partition, after=30) == expected[30:]
        assert await log.find_newest_position(partition) == 40


async def test_large_records_come_one_by_one_and_too_large_ones_are_refused(
    make_rabbitmq_log: MakeLog,
) -> None:
    log = await make_rabbitmq_log()
    assert log.max_record_bytes == 4 * 2**20
    for number in range(4):
        await log.append(0, bytes([number + 1]) * log.max_record_bytes, record_id=str(number))
    reader = log.read(0, 0)
    for number in range(4):
        [record] = await reader.fetch(max_bytes=1000, max_wait_s=5.0)
        assert record == (number + 1, bytes([number + 1]) * log.max_record_bytes)
    with pytest.raises(ValueError, match="larger than 4194304"):
        await log.append(0, bytes(log.max_record_bytes + 1), record_id="large")


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


async def test_a_cancelled_fetch_loses_nothing(make_rabbitmq_log: MakeLog) -> None:
    log = await make_rabbitmq_log()
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
    while records := await reader.fetch(max_bytes=1000, max_wait_s=1.0):
        found.extend(record.position for record in records)
    assert found == list(range(1, 201))


async def test_a_full_partition_refuses_until_it_is_trimmed(make_rabbitmq_log: MakeLog) -> None:
    log = await make_rabbitmq_log(max_bytes=2**20)
    stored = 0
    with suppress(LogFullError):
        while stored < 20:
            await log.append(0, bytes(100_000), record_id=str(stored))
            stored += 1
    assert 10 <= stored <= 12
    with pytest.raises(LogFullError):
        await log.append(0, bytes(100_000), record_id=str(stored))
    await log.append(1, b"another partition has room", record_id="x")
    await log.trim(0, stored - 3)
    async with asyncio.timeout(5):
        while True:
            with suppress(LogFullError):
                await log.append(0, bytes(100_000), record_id=str(stored))
                break
            await asyncio.sleep(0.2)
    assert len(await read_all(log, 0)) == stored + 1


async def test_the_description_names_nodes_and_positions(
    make_rabbitmq_log: MakeLog, rabbitmq_nodes: RabbitMQCluster
) -> None:
    log = await make_rabbitmq_log()
    await log.append(1, bytes(5000), record_id="a")
    empty, one, _ = await log.describe()
    assert set(one.replicas) == set(one.in_sync) == set(rabbitmq_nodes.servers)
    assert one.leader in one.replicas
    assert (one.oldest, one.newest) == (1, 1)
    assert (empty.oldest, empty.newest) == (0, 0)


async def test_the_id_changes_when_the_log_is_made_anew(
    make_rabbitmq_log: MakeLog, rabbitmq_nodes: RabbitMQCluster
) -> None:
    log, other = await make_rabbitmq_log(), await make_rabbitmq_log()
    first = await log.read_id()
    await log.append(0, b"x", record_id="x")
    assert await other.read_id() == first
    settings = log._settings  # type: ignore[attr-defined]
    connection = await connect_to_node(settings, rabbitmq_nodes.servers[0], client="test")
    await connection.delete_stream(f"{settings.name}-0")
    await connection.abort()
    again = await make_rabbitmq_log()
    assert await again.read_id() != first
    assert await again.find_newest_position(0) == 0


async def test_without_nodes_the_log_is_unavailable() -> None:
    settings = MessageLogSettings(engine="rabbitmq", servers=["127.0.0.1:1"], timeout_s=0.5)
    log = make_message_log(settings)
    with pytest.raises(LogUnavailableError):
        await log.open()
    assert not log.connected
    with pytest.raises(LogUnavailableError):
        await log.append(0, b"x", record_id="x")
    await log.close()


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
    leader = str((await (await make_rabbitmq_log()).describe())[0].leader)
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
    async with asyncio.timeout(40):
        while True:
            with suppress(LogUnavailableError):
                await log.append(0, b"second", record_id="second")
                break
    assert [data for _, data in await read_all(log, 0)] == [b"first", b"second"]
