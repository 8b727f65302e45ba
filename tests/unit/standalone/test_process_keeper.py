import asyncio
import sys
import time
from pathlib import Path

import asyncpg
import pytest

from app.standalone.child_process import ChildProcess
from app.standalone.process_keeper import BackOff, ProcessKeeper
from app.standalone.unprivileged_accounts import StandaloneError


async def until(condition: object, patience_s: float = 60.0) -> None:
    deadline = time.monotonic() + patience_s
    while not condition():  # type: ignore[operator]  # any callable
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


def test_pauses_double_up_to_the_longest() -> None:
    back_off = BackOff(first_s=0.5, longest_s=3.0, stable_s=60.0)
    assert [back_off.pause(1.0) for _ in range(5)] == [0.5, 1.0, 2.0, 3.0, 3.0]


def test_a_stable_time_resets_the_pause() -> None:
    back_off = BackOff(first_s=0.5, longest_s=30.0, stable_s=60.0)
    for _ in range(4):
        back_off.pause(1.0)
    assert back_off.pause(61.0) == 0.5
    assert back_off.pause(1.0) == 1.0


async def test_a_crashed_child_is_started_again(tmp_path: Path) -> None:
    told: list[str] = []
    changes: list[int] = []

    async def start() -> ChildProcess:
        return await ChildProcess.start(
            [sys.executable, "-c", "import time; time.sleep(60)"], environment={}, log=tmp_path / "log"
        )

    keeper = ProcessKeeper("sleeper", start, told.append, changes.append)
    await keeper.begin()
    first = keeper.pid
    assert first is not None
    assert keeper.child is not None
    keeper.child.kill()
    await until(lambda: keeper.pid not in {None, first})
    assert keeper.crashes == 1
    assert changes == [first, first, keeper.pid]
    assert any("ended (-9)" in line for line in told)
    await keeper.release()
    await keeper.child.stop()
    assert keeper.pid is None


@pytest.mark.parametrize(
    "failure", [StandaloneError("not yet"), OSError("not yet"), asyncpg.DiskFullError("not yet")], ids=repr
)
async def test_a_start_that_fails_is_tried_again(tmp_path: Path, failure: Exception) -> None:
    told: list[str] = []
    starts = 0

    async def start() -> ChildProcess:
        nonlocal starts
        starts += 1
        if starts == 2:
            raise failure
        return await ChildProcess.start(
            [sys.executable, "-c", "import time; time.sleep(60)"], environment={}, log=tmp_path / "log"
        )

    keeper = ProcessKeeper("sleeper", start, told.append, lambda _: None)
    await keeper.begin()
    assert keeper.child is not None
    keeper.child.kill()
    await until(lambda: starts == 3 and keeper.pid is not None)
    assert any("not yet" in line for line in told)
    await keeper.release()
    await keeper.child.stop()
