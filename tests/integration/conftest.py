"""Logs, edges and brokers on real servers. All folders use the same three nodes of NATS."""

from collections.abc import AsyncIterator

import pytest

from app.platform.db.database import Database
from app.settings import VigieSettings
from app.standalone.private_mosquitto import PrivateMosquitto
from tests.conftest import ACCOUNTS
from tests.integration.edge.machines import EdgeMachine, LogCluster
from tools.clusters.nats_cluster import NatsCluster


@pytest.fixture(scope="session")
async def nats_nodes(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[NatsCluster]:
    async with NatsCluster(tmp_path_factory.mktemp("nats")) as cluster:
        yield cluster


@pytest.fixture(scope="session")
async def brokers(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[list[PrivateMosquitto]]:
    """The brokers of two edges. A test leaves no session and nothing retained there."""
    async with (
        PrivateMosquitto(tmp_path_factory.mktemp("broker-a"), accounts=ACCOUNTS) as first,
        PrivateMosquitto(tmp_path_factory.mktemp("broker-b"), accounts=ACCOUNTS) as second,
    ):
        yield [first, second]


@pytest.fixture
async def cluster(
    nats_nodes: NatsCluster, settings: VigieSettings, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[LogCluster]:
    """A log of this test's own on the three nodes; its settings are in the environment."""
    made = LogCluster(nats_nodes, settings)
    for name, value in made.environment().items():
        monkeypatch.setenv(name, value)
    yield made
    for node in nats_nodes.nodes:
        node.resume()
    await made.close()
    await made.remove()


@pytest.fixture
def machines(brokers: list[PrivateMosquitto], cluster: LogCluster, database: Database) -> list[EdgeMachine]:
    """Two edges, a and b, that do not run yet."""
    return [EdgeMachine(name, broker, cluster, database) for name, broker in zip("ab", brokers, strict=True)]
