"""Real receivers of measurements, each started once on a free port of loopback."""

from collections.abc import AsyncIterator, Iterator
from uuid import UUID

import pytest
from confluent_kafka import Producer

from app.measurement_stream.items import Item
from app.measurement_stream.measurement_batch import MeasurementBatch
from tests.integration.measurement_stream.conftest import NOW
from tests.integration.measurement_stream.receiving_servers import (
    Server,
    run_nats,
    run_rabbitmq,
    run_victoria,
)

ONE = UUID(int=1)


def make_batch(**values: float) -> MeasurementBatch:
    """Make a batch of one sample."""
    time_us = int(NOW.timestamp() * 1_000_000)
    return MeasurementBatch.of(ONE, ONE, [Item(1, 0, "sample", ONE, ONE, "box-0001", time_us, None, values)])


@pytest.fixture(scope="session")
async def victoria(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    async with run_victoria(tmp_path_factory.mktemp("victoria")) as server:
        yield server


@pytest.fixture(scope="session")
async def nats_server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    async with run_nats(tmp_path_factory.mktemp("nats")) as server:
        yield server


@pytest.fixture(scope="session")
async def rabbitmq_server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    async with run_rabbitmq(tmp_path_factory.mktemp("rabbitmq")) as server:
        yield server


@pytest.fixture(scope="session")
def kafka_brokers() -> Iterator[list[str]]:
    """librdkafka's mock of three brokers."""
    owner = Producer({"test.mock.num.brokers": 3, "bootstrap.servers": "mock"})
    brokers = owner.list_topics(timeout=60).brokers.values()
    yield [f"{broker.host}:{broker.port}" for broker in brokers]
    del owner
