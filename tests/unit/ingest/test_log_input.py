"""What a worker concludes from the statuses of the log's partitions."""

import asyncio
import time
from typing import cast

import pytest
from structlog.testing import capture_logs

from app.ingest.log_input import LogInput
from app.ingest.pipeline.batch_pipeline import IngestPipeline
from app.ingest.settings import IngestSettings
from app.message_log.message_log import LogDescription, MessageLog, PartitionStatus
from app.message_log.settings import MessageLogSettings
from app.platform.config.platform_settings import BrokerSettings
from app.platform.db.database import RawConnection

COMMITTED = {0: 40, 1: 50}


def make_input(log: MessageLog | None = None) -> LogInput:
    settings = MessageLogSettings(engine="jetstream", partitions=2)
    return LogInput(cast("MessageLog", log), settings, IngestSettings(), BrokerSettings())


def make_status(partition: int, newest: int, leader: str | None = "log-a") -> PartitionStatus:
    return PartitionStatus(partition, leader, ("log-a", "log-b"), (), 1, newest, 1000)


def test_a_partition_without_leader_is_not_known_and_not_lost() -> None:
    read = make_input()
    for _ in range(3):
        read._note_statuses([make_status(0, 0, leader=None), make_status(1, 51)], COMMITTED, time.monotonic())
    assert not read._lost
    assert read._newest is None, "the timers of silent boxes would not wait for its records"
    assert read._source._newest == {1: 51}


def test_a_partition_that_ends_before_what_was_committed_has_lost_records() -> None:
    read = make_input()
    at = time.monotonic()
    read._note_statuses([make_status(0, 40), make_status(1, 49)], COMMITTED, at)
    assert not read._lost, "a node that is slow may not have its newest record yet"
    read._note_statuses([make_status(0, 40), make_status(1, 49)], COMMITTED, at)
    assert read._lost == {1}
    assert read._newest == (at, {0: 40, 1: 49})


class _LeaderlessLog:
    """A log of which one partition has no leader, so that it has no id."""

    connected = True

    async def open(self) -> None:
        """Succeed: the partition exists."""

    async def describe(self) -> LogDescription:
        return LogDescription(None, [make_status(0, 40), make_status(1, 0, leader=None)])

    async def close(self) -> None:
        """Do nothing."""


class _FaultyLog:
    """A log whose descriptions fail by an error that no engine should raise, after some."""

    connected = True

    def __init__(self, descriptions: int) -> None:
        self._left = descriptions
        self.is_closed = False

    async def open(self) -> None:
        """Succeed."""

    async def describe(self) -> LogDescription:
        self._left -= 1
        if self._left < 0:
            raise FileNotFoundError("ca.pem")
        return LogDescription("id", [make_status(0, 40), make_status(1, 50)])

    async def close(self) -> None:
        self.is_closed = True


@pytest.mark.parametrize(
    ("descriptions", "task"), [(0, "its connection to the log"), (1, "its watch over the log")]
)
async def test_an_unforeseen_error_of_the_log_ends_the_worker(descriptions: int, task: str) -> None:
    log = _FaultyLog(descriptions)
    read = make_input(cast("MessageLog", log))
    await read.open()
    await asyncio.sleep(0.1)
    with pytest.raises(RuntimeError, match=task) as raised:
        await read.tend(cast("RawConnection", None), cast("IngestPipeline", None))
    assert isinstance(raised.value.__cause__, FileNotFoundError)
    await read.close()
    assert log.is_closed


async def test_a_worker_waits_visibly_for_a_partition_without_leader() -> None:
    read = make_input(cast("MessageLog", _LeaderlessLog()))
    with capture_logs() as logs:
        source = await read.open()
        await asyncio.sleep(0.1)
        assert source.connected
        assert read.waiting_for == "the log"
        await read.close()
    assert [(entry["event"], entry["partitions"]) for entry in logs] == [("log_partitions_unavailable", [1])]
