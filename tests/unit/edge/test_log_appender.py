"""Appending until the log has it, with failures that are injected."""

import asyncio
from collections import deque

import pytest

from app.edge import log_appender
from app.edge.log_appender import LogAppender
from app.message_log.message_log import (
    LogDescription,
    LogFullError,
    LogUnavailableError,
    PartitionReader,
)


class FailingLog:
    """A log in memory whose next calls fail with the given errors."""

    def __init__(self, *errors: Exception | None) -> None:
        self.errors = deque(errors)
        self.records: dict[int, list[bytes]] = {}
        self.ids: list[str] = []
        self.newest: dict[int, int] = {}
        self.is_connected = True

    @property
    def connected(self) -> bool:
        return self.is_connected

    @property
    def max_record_bytes(self) -> int:
        return 1000

    async def _fail(self) -> None:
        await asyncio.sleep(0)
        error = self.errors.popleft() if self.errors else None
        if error is not None:
            raise error

    async def open(self) -> None:
        await self._fail()

    async def append(self, partition: int, data: bytes, *, record_id: str) -> int | None:
        self.ids.append(record_id)
        await self._fail()
        stored = self.records.setdefault(partition, [])
        stored.append(data)
        return len(stored)

    async def find_newest_position(self, partition: int) -> int:
        await self._fail()
        return self.newest.get(partition, len(self.records.get(partition, ())))

    def read(self, partition: int, after: int) -> PartitionReader:
        raise NotImplementedError

    async def trim(self, partition: int, before: int) -> None:
        raise NotImplementedError

    async def describe(self) -> LogDescription:
        raise NotImplementedError

    async def close(self) -> None:
        """Nothing to close."""


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_appender, "_FIRST_WAIT_S", 0.01)


async def test_an_append_is_repeated_under_the_same_id_and_in_order() -> None:
    log = FailingLog(None, LogUnavailableError(), LogUnavailableError(), None, None)
    appender = LogAppender(log)
    await appender.open()
    await appender.append(3, [b"a", b"b"], "x")
    assert log.records == {3: [b"a", b"b"]}
    assert log.ids == ["x-0", "x-0", "x-0", "x-1"]


@pytest.mark.parametrize(
    ("error", "problem"), [(LogFullError(), "log_full"), (LogUnavailableError(), "log_unavailable")]
)
async def test_the_problem_is_reported_while_it_lasts(error: Exception, problem: str) -> None:
    log = FailingLog(None, error)
    appender = LogAppender(log)
    await appender.open()
    assert appender.problem is None
    appending = asyncio.create_task(appender.append(0, [b"a"], "x"))
    while log.errors:  # noqa: ASYNC110 (the log sends no signal)
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    problems: list[str | None] = [appender.problem]
    await appending
    problems.append(appender.problem)
    assert problems == [problem, None]


async def test_a_log_that_is_not_open_or_connected_is_a_problem_without_an_append() -> None:
    log = FailingLog()
    appender = LogAppender(log)
    assert appender.problem == "log_unavailable"
    await appender.open()
    assert appender.problem is None
    log.is_connected = False
    assert appender.problem == "log_unavailable"


async def test_the_newest_position_is_never_older_than_the_own_append() -> None:
    """A former leader of the log may answer with a position of before."""
    log = FailingLog()
    appender = LogAppender(log)
    await appender.append(0, [b"a", b"b"], "x")
    log.newest[0] = 1
    assert await appender.find_newest_position(0) == 2
    log.newest[0] = 7
    assert await appender.find_newest_position(0) == 7
