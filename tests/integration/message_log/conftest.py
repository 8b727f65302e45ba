"""Clusters of real servers, and logs on them."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from pydantic import SecretStr

from app.message_log.message_log import LogUnavailableError, MessageLog
from app.message_log.message_log_factory import make_message_log
from app.message_log.settings import MessageLogSettings
from tools.clusters import nats_cluster, rabbitmq_cluster
from tools.clusters.append_ledger import AppendLedger
from tools.clusters.nats_cluster import NatsCluster
from tools.clusters.rabbitmq_cluster import RabbitMQCluster

MakeLog = Callable[..., Awaitable[MessageLog]]
_numbers = itertools.count(1)


async def open_patiently(log: MessageLog) -> None:
    """Open a log whose nodes may have just started: they take no stream for some seconds."""
    is_open = False
    async with asyncio.timeout(40):
        while not is_open:
            try:
                await log.open()
                is_open = True
            except LogUnavailableError:
                await asyncio.sleep(0.2)


@pytest.fixture(scope="session")
async def nats_nodes(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[NatsCluster]:
    async with NatsCluster(tmp_path_factory.mktemp("nats")) as cluster:
        yield cluster


@pytest.fixture(scope="session")
async def rabbitmq_nodes(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RabbitMQCluster]:
    async with RabbitMQCluster(tmp_path_factory.mktemp("rabbitmq")) as cluster:
        yield cluster


@asynccontextmanager
async def made_logs(engine: str, servers: list[str], username: str, password: str) -> AsyncIterator[MakeLog]:
    """Open logs of one name on the three nodes; all are closed at the end."""
    name = f"log{next(_numbers)}"
    made: list[MessageLog] = []

    async def make(**changes: object) -> MessageLog:
        settings = MessageLogSettings.model_validate(
            {
                "engine": engine,
                "servers": servers,
                "username": username,
                "password": SecretStr(password),
                "name": name,
                "partitions": 3,
                "max_bytes": 64 * 2**20,
                **changes,
            }
        )
        log = make_message_log(settings)
        made.append(log)
        await open_patiently(log)
        return log

    yield make
    for log in made:
        await log.close()


@pytest.fixture
async def make_log(nats_nodes: NatsCluster) -> AsyncIterator[MakeLog]:
    async with made_logs(
        "jetstream", nats_nodes.servers, nats_cluster.USERNAME, nats_cluster.PASSWORD
    ) as make:
        yield make


@pytest.fixture
async def make_rabbitmq_log(rabbitmq_nodes: RabbitMQCluster) -> AsyncIterator[MakeLog]:
    async with made_logs(
        "rabbitmq", rabbitmq_nodes.servers, rabbitmq_cluster.USERNAME, rabbitmq_cluster.PASSWORD
    ) as make:
        yield make


async def read_all(log: MessageLog, partition: int, after: int = 0) -> list[tuple[int, bytes]]:
    """Read until nothing comes for a while."""
    reader = log.read(partition, after)
    found: list[tuple[int, bytes]] = []
    while records := await reader.fetch(max_bytes=2**20, max_wait_s=0.6):
        found.extend(records)
    await reader.close()
    return found


def check_ledger(ledger: AppendLedger, *, least: int) -> None:
    """Check that nothing was lost or repeated, and that each partition took so many records."""
    for each in ledger.partitions:
        assert (each.lost, each.repeated, each.is_ordered) == (0, 0, True), each.partition
        assert each.acknowledged >= least
