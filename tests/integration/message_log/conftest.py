"""Logs of each engine: on three real nodes of NATS and RabbitMQ, and on librdkafka's mock of brokers."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from confluent_kafka import Producer
from pydantic import SecretStr

from app.message_log.kafka_log import KafkaLog
from app.message_log.message_log import LogUnavailableError, MessageLog, StoredRecord
from app.message_log.message_log_factory import make_message_log
from app.message_log.settings import MessageLogSettings
from tests.integration.edge.machines import remove_streams
from tests.scenarios.processes import until
from tools.clusters import nats_cluster, rabbitmq_cluster
from tools.clusters.append_ledger import AppendLedger
from tools.clusters.nats_cluster import NatsCluster
from tools.clusters.rabbitmq_cluster import RabbitMQCluster

MakeLog = Callable[..., Awaitable[MessageLog]]
_numbers = itertools.count(1)


async def open_patiently(log: MessageLog) -> None:
    """Open a log whose nodes may have just started: they take no stream for some seconds."""
    is_open = False
    async with asyncio.timeout(60):
        while not is_open:
            try:
                await log.open()
                is_open = True
            except LogUnavailableError:
                await asyncio.sleep(0.2)


@pytest.fixture(scope="session")
async def rabbitmq_nodes(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RabbitMQCluster]:
    async with RabbitMQCluster(tmp_path_factory.mktemp("rabbitmq")) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def kafka_brokers() -> Iterator[list[str]]:
    """A mock of three brokers. It cannot make topics, delete records or die."""
    owner = Producer({"test.mock.num.brokers": 3, "bootstrap.servers": "mock"})
    brokers = owner.list_topics(timeout=10).brokers.values()
    yield [f"{broker.host}:{broker.port}" for broker in brokers]
    del owner


@asynccontextmanager
async def made_logs(**common: Any) -> AsyncIterator[MakeLog]:  # noqa: ANN401 (settings)
    """Open logs of one name; all are closed at the end."""
    defaults = {"name": f"log{next(_numbers)}", "partitions": 3, "max_bytes": 64 * 2**20, **common}
    made: list[MessageLog] = []

    async def make(**changes: object) -> MessageLog:
        log = make_message_log(MessageLogSettings.model_validate({**defaults, **changes}))
        made.append(log)
        await open_patiently(log)
        return log

    yield make
    for log in made:
        await log.close()
    if defaults["engine"] == "jetstream" and made:
        await remove_streams(MessageLogSettings.model_validate(defaults))


@pytest.fixture
async def make_jetstream_log(nats_nodes: NatsCluster) -> AsyncIterator[MakeLog]:
    async with made_logs(
        engine="jetstream",
        servers=nats_nodes.servers,
        username=nats_cluster.USERNAME,
        password=SecretStr(nats_cluster.PASSWORD),
    ) as make:
        yield make


@pytest.fixture
async def make_rabbitmq_log(rabbitmq_nodes: RabbitMQCluster) -> AsyncIterator[MakeLog]:
    async with made_logs(
        engine="rabbitmq",
        servers=rabbitmq_nodes.servers,
        username=rabbitmq_cluster.USERNAME,
        password=SecretStr(rabbitmq_cluster.PASSWORD),
    ) as make:
        yield make


@pytest.fixture
async def make_kafka_log(kafka_brokers: list[str], monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[MakeLog]:
    async def make_topic(log: KafkaLog) -> None:
        """The mock makes a topic of four partitions when a producer first asks for it."""
        assert log._producer is not None
        await asyncio.to_thread(log._producer.list_topics, log._settings.name, timeout=20)

    async def read_id(_: KafkaLog) -> str:
        """The mock does not describe topics."""
        return "mock"

    monkeypatch.setattr(KafkaLog, "_make_topic", make_topic)
    monkeypatch.setattr(KafkaLog, "_read_id", read_id)
    async with made_logs(engine="kafka", servers=kafka_brokers, partitions=4) as make:
        yield make


@pytest.fixture(params=["jetstream", "rabbitmq", "kafka"])
def make_log(request: pytest.FixtureRequest) -> MakeLog:
    """Open logs of each engine in turn."""
    make: MakeLog = request.getfixturevalue(f"make_{request.param}_log")
    return make


async def find_leader(log: MessageLog) -> str:
    """Return the leader of partition 0: a new stream has none for a moment."""

    async def find() -> str | None:
        return (await log.describe()).partitions[0].leader

    return str(await until(find))


async def read_all(log: MessageLog, partition: int, after: int = 0) -> list[StoredRecord]:
    """Read up to the newest record, and until nothing comes for a moment after it."""
    newest = await log.find_newest_position(partition)
    reader = log.read(partition, after)
    found: list[StoredRecord] = []
    read = after
    while records := await reader.fetch(max_bytes=2**20, max_wait_s=10.0 if read < newest else 0.2):
        found.extend(records)
        read = found[-1].position
    await reader.close()
    return found


def check_ledger(ledger: AppendLedger, *, least: int) -> None:
    """Check that nothing was lost or repeated, and that each partition took so many records."""
    for each in ledger.partitions:
        assert (each.lost, each.repeated, each.is_ordered) == (0, 0, True), each.partition
        assert each.acknowledged >= least
