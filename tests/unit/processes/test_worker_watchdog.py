"""Workers of the API that hang, as real processes."""

import asyncio
import os
import signal
import socket
from collections.abc import Mapping
from pathlib import Path

import pytest

from app.processes.worker_watchdog import WorkerWatchdog
from app.standalone.child_process import ChildProcess
from app.standalone.process_keeper import ProcessKeeper


async def keep(watchdog: WorkerWatchdog) -> tuple[ProcessKeeper, Mapping[str, str]]:
    environment = watchdog.add()

    async def start() -> ChildProcess:
        return await ChildProcess.start(["sleep", "60"], environment={"PATH": "/usr/bin:/bin"}, log=None)

    keeper = ProcessKeeper("worker", start, lambda _: None, lambda _: None)
    watchdog.watch([keeper])
    await keeper.begin()
    return keeper, environment


async def send(environment: Mapping[str, str], text: bytes) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.sendto(text, environment["NOTIFY_SOCKET"])
    await asyncio.sleep(0.05)


async def end(watchdog: WorkerWatchdog, keeper: ProcessKeeper) -> None:
    await keeper.release()
    if keeper.child is not None:
        await keeper.child.stop()
    watchdog.close()


@pytest.mark.parametrize("is_suspended", [False, True])
async def test_a_silent_worker_is_killed_and_restarted(tmp_path: Path, *, is_suspended: bool) -> None:
    watchdog = WorkerWatchdog(tmp_path, hung_after_s=3)
    keeper, environment = await keep(watchdog)
    first = keeper.pid
    assert first is not None
    assert keeper.child is not None
    if is_suspended:
        keeper.child.send(signal.SIGSTOP)
    assert not watchdog.are_ready
    await send(environment, b"READY=1\nWATCHDOG=1")
    assert watchdog.are_ready
    assert await watchdog.check() == []
    await send(environment, b"WATCHDOG=1")
    # Its silence begins again with each report.
    assert [await watchdog.check() for _ in range(2)] == [[], []]
    assert await watchdog.check() == [first]
    async with asyncio.timeout(60):
        while keeper.pid in {None, first}:  # noqa: ASYNC110 (it has no event)
            await asyncio.sleep(0.02)
    assert keeper.crashes == 1
    await end(watchdog, keeper)


async def test_a_worker_that_still_starts_gets_more_time(tmp_path: Path) -> None:
    watchdog = WorkerWatchdog(tmp_path, hung_after_s=3, starts_within_s=5)
    keeper, environment = await keep(watchdog)
    first = keeper.pid
    assert [await watchdog.check() for _ in range(4)] == [[]] * 4
    assert await watchdog.check() == [first]
    await send(environment, b"WATCHDOG=1")
    watchdog.forget_silence(0)
    # Another process, which starts as slowly.
    assert [await watchdog.check() for _ in range(4)] == [[]] * 4
    await end(watchdog, keeper)


async def test_each_worker_has_a_socket_of_its_own_that_disappears(tmp_path: Path) -> None:
    watchdog = WorkerWatchdog(tmp_path)
    paths = {watchdog.add()["NOTIFY_SOCKET"] for _ in range(3)}
    assert len(paths) == 3
    watchdog.close()
    assert os.listdir(tmp_path) == []  # noqa: PTH208
