"""A coroutine that is driven step by step, with pauses in between."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest

from app.platform.http.fairness.low_priority_queue import SteppedCoroutine
from tests.unit.platform.http.fairness.test_fair_semaphore import settled


class Pauses:
    """Pauses that last until they are told to end."""

    def __init__(self) -> None:
        self.begun = 0
        self._over = asyncio.Event()

    def __call__(self) -> Awaitable[None]:
        self.begun += 1
        return self._wait()

    async def _wait(self) -> None:
        await self._over.wait()
        self._over.clear()

    async def end(self) -> None:
        self._over.set()
        await settled()


async def _steps(came: list[str], what: Awaitable[str]) -> str:
    came.append("began")
    came.append(await what)
    await asyncio.sleep(0)
    came.append("ends")
    return "done"


async def _drive[Result](paced: SteppedCoroutine[Result]) -> Result:
    return await paced


def _pauses_not() -> None:
    """Go on at once."""


def paced[Result](
    work: Awaitable[Result], pause: Callable[[], Awaitable[None] | None], spent: list[float] | None = None
) -> SteppedCoroutine[Result]:
    return SteppedCoroutine(work, pause=pause, spent=([] if spent is None else spent).append)


async def test_each_step_but_the_first_waits_for_its_pause() -> None:
    came: list[str] = []
    pauses = Pauses()
    told = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(_drive(paced(_steps(came, told), pauses)))
    await settled()
    assert (came, pauses.begun) == (["began"], 0)
    told.set_result("told")
    await settled()
    assert (came, pauses.begun) == (["began"], 1)
    await pauses.end()
    assert (came, pauses.begun) == (["began", "told"], 2)
    await pauses.end()
    assert (came, pauses.begun) == (["began", "told", "ends"], 2)
    assert await task == "done"


async def test_its_error_is_the_awaiters() -> None:
    async def fails() -> None:
        await asyncio.sleep(0)
        raise LookupError("it is not there")

    with pytest.raises(LookupError, match="it is not there"):
        await paced(fails(), _pauses_not)


async def test_what_it_waits_for_can_fail() -> None:
    async def catches() -> str:
        try:
            await refused
        except LookupError as error:
            return str(error)
        return "nothing failed"

    refused = asyncio.get_running_loop().create_future()
    refused.set_exception(LookupError("no such thing"))
    assert await paced(catches(), _pauses_not) == "no such thing"


@pytest.mark.parametrize("paused", [True, False])
async def test_a_task_that_is_cancelled_ends_in_it(*, paused: bool) -> None:
    came: list[str] = []

    async def clears_up() -> None:
        try:
            await told
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            came.append("cancelled")
            await asyncio.sleep(0)
            came.append("cleared up")
            raise

    told = asyncio.get_running_loop().create_future()
    pauses = Pauses()
    task = asyncio.create_task(_drive(paced(clears_up(), pauses)))
    await settled()
    if paused:
        told.set_result(None)
        await settled()
    assert pauses.begun == paused
    task.cancel()
    await settled()
    # What it does then is paced as well.
    await pauses.end()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert came == ["cancelled", "cleared up"]


async def test_a_time_out_within_it_holds_in_its_pauses() -> None:
    async def hurries() -> str:
        try:
            async with asyncio.timeout(0.02):
                await asyncio.sleep(0)
                return "in time"
        except TimeoutError:
            return "too late"

    pauses = Pauses()
    task = asyncio.create_task(_drive(paced(hurries(), pauses)))
    async with asyncio.timeout(60):
        assert await task == "too late"


async def test_its_own_time_is_told_and_not_that_in_which_it_waits() -> None:
    async def works() -> None:
        busy(0.01)
        await asyncio.sleep(0)
        busy(0.02)
        raise LookupError

    def busy(seconds: float) -> None:
        until = time.thread_time() + seconds
        while time.thread_time() < until:
            pass

    async def waits() -> None:
        busy(0.2)

    spent: list[float] = []
    with pytest.raises(LookupError):
        await paced(works(), waits, spent)
    assert len(spent) == 2
    assert spent[0] >= 0.01
    assert spent[1] >= 0.02
    assert sum(spent) < 0.2
