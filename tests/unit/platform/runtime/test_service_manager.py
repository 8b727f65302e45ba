"""Reports to the service manager, on a real socket."""

import asyncio
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from app.platform.runtime import service_manager
from app.platform.runtime.service_manager import STALLED_S, STARTING, ServiceManager, has_progress


@dataclass
class Process:
    state: str = STARTING
    progressed_at: float | None = None
    stop: asyncio.Event = field(default_factory=asyncio.Event)


class Manager:
    """What systemd would receive."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.socket.bind(address.replace("@", "\0", 1))

    def received(self) -> list[str]:
        lines = []
        while True:
            try:
                lines += self.socket.recv(4096).decode().splitlines()
            except BlockingIOError:
                return lines


@pytest.fixture(params=["path", "abstract"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "notify") if request.param == "path" else f"@vigie-tests-{os.getpid()}"


@pytest.fixture
def manager(address: str) -> Iterator[Manager]:
    found = Manager(address)
    yield found
    found.socket.close()


def environment(address: str, **more: str) -> dict[str, str]:
    return {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "60000", **more}


async def report_for(manager: ServiceManager, process: Process, seconds: float) -> None:
    reports = asyncio.create_task(manager.report(process, every_s=0.01))
    await asyncio.sleep(seconds)
    process.stop.set()
    await reports
    manager.close()


async def test_a_process_is_ready_once_it_has_left_the_start(manager: Manager, address: str) -> None:
    process, sender = Process(), ServiceManager.of(environment(address))
    reports = asyncio.create_task(sender.report(process, every_s=0.01))
    await asyncio.sleep(0.05)
    early = manager.received()
    assert "READY=1" not in early
    assert "STATUS=starting" in early
    process.state = "consuming"
    lines: list[str] = []
    async with asyncio.timeout(60):
        while "STATUS=consuming" not in lines:
            await asyncio.sleep(0.01)
            lines += manager.received()
    # Once, however often it reports.
    await asyncio.sleep(0.05)
    lines += manager.received()
    assert lines.count("READY=1") == 1
    process.stop.set()
    await reports
    assert {"STOPPING=1", "STATUS=draining"} <= set(manager.received())
    sender.close()


class SteppedClock:
    """A clock that only `step` moves, which then waits until the report has looked at it."""

    def __init__(self) -> None:
        self.now = 0.0
        self._looks = 0

    def __call__(self) -> float:
        self._looks += 1
        return self.now

    async def step(self, seconds: float) -> None:
        self.now += seconds
        seen = self._looks + 4  # at most three times a turn
        async with asyncio.timeout(60):
            while self._looks < seen:  # noqa: ASYNC110 (the report has no event)
                await asyncio.sleep(0.001)


async def test_the_watchdog_is_fed_three_times_per_timeout(manager: Manager, address: str) -> None:
    process, sender, clock = Process("working"), ServiceManager.of(environment(address)), SteppedClock()
    reports = asyncio.create_task(sender.report(process, clock, every_s=0.001))
    lines: list[str] = []
    for _ in range(60):
        await clock.step(0.005)
        lines += manager.received()
    # 0.3 s are five timeouts of 60 ms.
    assert 12 <= lines.count("WATCHDOG=1") <= 17
    process.stop.set()
    await reports
    sender.close()


async def test_it_starves_while_the_work_makes_no_progress(
    manager: Manager, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_manager, "STALLED_S", 0.1)
    process, sender, clock = Process("working", 0.0), ServiceManager.of(environment(address)), SteppedClock()
    reports = asyncio.create_task(sender.report(process, clock, every_s=0.001))
    await clock.step(0.05)
    assert "WATCHDOG=1" in manager.received()
    await clock.step(0.2)
    assert "WATCHDOG=1" not in manager.received()
    process.progressed_at = clock.now
    await clock.step(0.05)
    assert "WATCHDOG=1" in manager.received()
    process.stop.set()
    await reports
    sender.close()


def test_work_without_a_loop_of_its_own_is_never_stalled() -> None:
    assert has_progress(Process(), 1e9)
    assert has_progress(Process(progressed_at=10.0), 10 + STALLED_S - 1)
    assert not has_progress(Process(progressed_at=10.0), 10 + STALLED_S)


@pytest.mark.parametrize(
    "more", [{"WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": ""}, {"WATCHDOG_USEC": "0"}, {"WATCHDOG_USEC": "soon"}]
)
async def test_a_watchdog_that_is_meant_for_nobody_or_another_is_not_fed(
    manager: Manager, address: str, more: dict[str, str]
) -> None:
    sender = ServiceManager.of(environment(address) | more)
    assert sender.watchdog_s is None
    process = Process("working")
    reports = asyncio.create_task(sender.report(process, every_s=0.01))
    await asyncio.sleep(0.05)
    assert "WATCHDOG=1" not in manager.received()
    process.stop.set()
    await reports
    sender.close()


async def test_nothing_is_sent_without_a_manager_and_one_that_is_gone_is_no_error(tmp_path: Path) -> None:
    process = Process("working")
    async with asyncio.timeout(60):
        await ServiceManager.of({"WATCHDOG_USEC": "60000"}).report(process)
    await report_for(ServiceManager.of(environment(str(tmp_path / "gone"))), process, 0.05)
