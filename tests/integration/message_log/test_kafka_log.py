"""The log in Kafka, on librdkafka's mock of three brokers: it cannot make topics, delete records or die."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator

import pytest
from confluent_kafka import Producer

from app.message_log.kafka_log import KafkaLog
from app.message_log.message_log import LogFullError, LogUnavailableError
from app.message_log.settings import MessageLogSettings
from tests.integration.message_log.conftest import read_all

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def mock_brokers() -> Iterator[list[str]]:
    owner = Producer({"test.mock.num.brokers": 3, "bootstrap.servers": "mock"})
    brokers = owner.list_topics(timeout=10).brokers.values()
    yield [f"{broker.host}:{broker.port}" for broker in brokers]
    del owner


@pytest.fixture
async def log(mock_brokers: list[str], monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[KafkaLog]:
    async def make_topic(_: KafkaLog) -> None:
        """The mock makes a topic of four partitions when it is first used."""

    monkeypatch.setattr(KafkaLog, "_make_topic", make_topic)
    settings = MessageLogSettings(
        engine="kafka", servers=mock_brokers, name=f"log{next(_numbers)}", partitions=4, max_bytes=2**20
    )
    log = KafkaLog(settings)
    await log.open()
    yield log
    await log.close()


async def test_each_partition_returns_its_records_in_order(log: KafkaLog) -> None:
    for number in range(20):
        for partition in range(3):
            position = await log.append(
                partition, f"{partition}.{number}".encode(), record_id=f"{partition}.{number}"
            )
            assert position == number + 1
    for partition in range(3):
        expected = [(number + 1, f"{partition}.{number}".encode()) for number in range(20)]
        assert await read_all(log, partition) == expected
        assert await read_all(log, partition, after=15) == expected[15:]
        assert await log.find_newest_position(partition) == 20
    assert await log.find_newest_position(3) == 0


async def test_large_records_come_one_by_one_and_too_large_ones_are_refused(log: KafkaLog) -> None:
    log._settings.max_bytes = 2**30
    size = 2 * 2**20  # the mock keeps the last 5 MB of a partition
    for number in range(2):
        await log.append(0, bytes([number]) * size, record_id=str(number))
    reader = log.read(0, 0)
    for number in range(2):
        [record] = await reader.fetch(max_bytes=1000, max_wait_s=5.0)
        assert record == (number + 1, bytes([number]) * size)
    with pytest.raises(ValueError, match="larger than 4194304"):
        await log.append(0, bytes(log.max_record_bytes + 1), record_id="large")


async def test_a_cancelled_fetch_loses_nothing(log: KafkaLog) -> None:
    for number in range(100):
        await log.append(0, b"%d" % number, record_id=str(number))
    reader = log.read(0, 0)
    found: list[int] = []
    for delay_ms in range(30):
        task = asyncio.create_task(reader.fetch(max_bytes=20, max_wait_s=1.0))
        await asyncio.sleep(delay_ms / 1000)
        task.cancel()
        try:
            found.extend(record.position for record in await task)
        except asyncio.CancelledError:
            continue
    while records := await reader.fetch(max_bytes=1000, max_wait_s=1.0):
        found.extend(record.position for record in records)
    assert found == list(range(1, 101))


async def test_a_full_partition_refuses(log: KafkaLog) -> None:
    for number in range(11):
        await log.append(0, bytes(100_000), record_id=str(number))
    with pytest.raises(LogFullError):
        await log.append(0, bytes(100_000), record_id="11")
    assert await log.append(1, b"another partition has room", record_id="x") == 1


async def test_the_description_names_nodes_and_positions(log: KafkaLog, mock_brokers: list[str]) -> None:
    await log.append(1, bytes(5000), record_id="a")
    empty, one, *_ = await log.describe()
    assert set(one.replicas) == set(one.in_sync) == set(mock_brokers)
    assert one.leader in mock_brokers
    assert (one.oldest, one.newest) == (1, 1)
    assert (empty.oldest, empty.newest) == (0, 0)


async def test_without_nodes_the_log_is_unavailable() -> None:
    settings = MessageLogSettings(engine="kafka", servers=["127.0.0.1:1"], timeout_s=0.5)
    log = KafkaLog(settings)
    with pytest.raises(LogUnavailableError):
        await log.append(0, b"x", record_id="x")
    with pytest.raises(LogUnavailableError):
        await log.open()
    assert not log.connected
    with pytest.raises(LogUnavailableError):
        await log.append(0, b"x", record_id="x")
    await log.close()
