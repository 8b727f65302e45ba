"""A child process is spoken to by its pipes, and is gone after its block."""

import asyncio
import os
import time

import pytest

from app.platform.runtime.piped_child import run_piped_child


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


async def test_a_child_answers_by_its_pipes_and_ends_with_its_block() -> None:
    async with run_piped_child(["/bin/cat"], {}) as child:
        for said in (b"one", b"x" * 300_000):
            child.stdin.write(said)
            await child.stdin.drain()
            assert await child.stdout.readexactly(len(said)) == said
        assert not is_gone(child.pid)
    assert is_gone(child.pid)


async def test_a_child_that_hangs_is_killed() -> None:
    began = time.monotonic()
    with pytest.raises(TimeoutError):  # noqa: PT012 (as a caller writes it)
        async with asyncio.timeout(None) as limit, run_piped_child(["/bin/sleep", "60"], {}) as child:
            # From now on: to start a process may take longer.
            limit.reschedule(asyncio.get_running_loop().time() + 0.2)
            await child.stdout.read(1)
    assert time.monotonic() - began < 30
    assert is_gone(child.pid)


async def test_a_child_that_died_is_noticed_by_both_pipes() -> None:
    async with run_piped_child(["/bin/true"], {}) as child:
        assert await child.stdout.read() == b""
        with pytest.raises(OSError):  # noqa: PT011, PT012 (a broken pipe, or a reset connection)
            while True:
                child.stdin.write(b"x" * 100_000)
                await child.stdin.drain()
                await asyncio.sleep(0)


async def test_a_child_gets_no_other_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "1")
    async with run_piped_child(["/usr/bin/env"], {"NAME": "value"}) as child:
        assert await child.stdout.read() == b"NAME=value\n"
