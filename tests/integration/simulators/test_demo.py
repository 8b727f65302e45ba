"""The demo as a process: it sets itself up, its alerts reach its receiver, it stops and starts again."""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from simulators.demo_state import DemoState
from simulators.rest import Api
from simulators.target import Target
from tests.nursery import ForkedProcess
from tests.scenarios.processes import RoleProcess, role, until

LISTS = ("organisations", "api-keys", "sites", "boxes", "rules", "webhooks")


@contextlib.asynccontextmanager
async def demo(folder: Path) -> AsyncIterator[ForkedProcess]:
    with (folder / "demo.log").open("ab") as log:
        words = ("simulate", "demo", "--run", str(folder / "run.json"))
        process = await ForkedProcess.start(*words, environment=os.environ, log=log.fileno())
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def stop(process: ForkedProcess) -> tuple[int, float]:
    started = time.monotonic()
    process.send_signal(signal.SIGTERM)
    status = await asyncio.wait_for(process.wait(), 10)
    return status, time.monotonic() - started


async def things(target: Target) -> dict[str, list[str]]:
    async with Api(target.api, target.key) as api:
        return {name: sorted([str(each["id"]) async for each in api.list(f"/v1/{name}")]) for name in LISTS}


@pytest.mark.timeout(180)
async def test_it_finds_its_things_again_and_creates_nothing_twice(
    target: Target, ingest: RoleProcess, tmp_path: Path
) -> None:
    assert ingest.role == "ingest"
    log = tmp_path / "demo.log"

    async def says(*texts: str) -> bool:
        return all(text in log.read_text() for text in texts)

    async with role("deliver", tmp_path):
        async with demo(tmp_path) as first:
            assert await until(lambda: says("webhook verified", "stored, says vigie/v1/demo-street-1/ack"))
            status, took = await stop(first)
        assert (status, took < 6.0) == (0, True), log.read_text()
        state = DemoState.load(tmp_path / "demo.json")
        assert (tmp_path / "demo.json").stat().st_mode & 0o777 == 0o600
        assert len(state.boxes) == 29
        assert state.replayed
        made = await things(target)
        assert (len(made["sites"]), len(made["boxes"]), len(made["webhooks"])) == (4, 29, 1)
        log.write_text("")
        async with demo(tmp_path) as second:
            assert await until(lambda: says("synthetic boxes are live", "webhook verified"))
            status, took = await stop(second)
        assert (status, took < 6.0) == (0, True), log.read_text()
        assert "REFUSED" not in log.read_text()
        assert await things(target) == made
        # Its memory lost, it finds all but the key, which nobody can read again.
        (tmp_path / "demo.json").unlink()
        log.write_text("")
        async with demo(tmp_path) as third:
            assert await until(lambda: says("synthetic boxes are live", "webhook verified"))
            await stop(third)
        found = await things(target)
        assert {name: found[name] for name in LISTS if name != "api-keys"} == {
            name: made[name] for name in LISTS if name != "api-keys"
        }
        assert len(found["api-keys"]) == len(made["api-keys"]) + 1
