"""How a role ends."""

import asyncio

import pytest

from app.platform.db.database import Database
from app.platform.runtime import process_runner
from app.platform.runtime.process_runner import ProcessContext
from app.settings import VigieSettings


@pytest.fixture
async def quick(monkeypatch: pytest.MonkeyPatch) -> ProcessContext:
    monkeypatch.setattr(process_runner, "_DRAIN_S", 0.2)
    monkeypatch.setattr(process_runner, "_CANCEL_S", 0.2)
    settings = VigieSettings(_env_file=None)
    return ProcessContext("ingest", Database(settings.database, application="tests"))


async def test_work_that_drains_in_time_ends_by_itself(
    quick: ProcessContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_runner, "_DRAIN_S", 60.0)
    done = []

    async def work(given: ProcessContext) -> None:
        await given.stop.wait()
        await asyncio.sleep(0.05)
        done.append(1)

    asyncio.get_running_loop().call_later(0.05, quick.stop.set)
    await process_runner._work_until_stopped(quick, work(quick))
    assert done == [1]


async def test_work_that_hangs_is_given_up(quick: ProcessContext) -> None:
    """A database that does not answer must not keep a role from ending."""

    async def work(_: ProcessContext) -> None:
        await asyncio.sleep(60)

    quick.stop.set()
    async with asyncio.timeout(60):
        await process_runner._work_until_stopped(quick, work(quick))


async def test_work_that_fails_fails_the_role(quick: ProcessContext) -> None:
    async def work(_: ProcessContext) -> None:
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        await process_runner._work_until_stopped(quick, work(quick))
