"""Clusters of real servers, and logs on them."""

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from pydantic import SecretStr

from app.message_log.message_log import MessageLog
from app.message_log.message_log_factory import make_message_log
from app.message_log.settings import MessageLogSettings
from tools.clusters import nats_cluster
from tools.clusters.nats_cluster import NatsCluster

MakeLog = Callable[..., Awaitable[MessageLog]]
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
async def nats_nodes(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[NatsCluster]:
    async with NatsCluster(tmp_path_factory.mktemp("nats")) as cluster:
        yield cluster


@pytest.fixture
async def make_log(nats_nodes: NatsCluster) -> AsyncIterator[MakeLog]:
    """Open logs of one name on the three nodes; all are closed after the test."""
    name = f"log{next(_numbers)}"
    made: list[MessageLog] = []

    async def make(**changes: object) -> MessageLog:
        settings = MessageLogSettings(
            engine="jetstream",
            servers=nats_nodes.servers,
            username=nats_cluster.USERNAME,
            password=SecretStr(nats_cluster.PASSWORD),
            name=name,
            partitions=3,
            max_bytes=64 * 2**20,
        ).model_copy(update=changes)
        log = make_message_log(settings)
        made.append(log)
        await log.open()
        return log

    yield make
    for log in made:
        await log.close()
