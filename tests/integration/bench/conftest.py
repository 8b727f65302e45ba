"""The bench's roles are forked here: what they do is looked at, not how much memory they take."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import pytest

import bench.stack
from bench.process import RunningProcess, python
from tests.nursery import ForkedProcess


@asynccontextmanager
async def _python(
    module: str, *arguments: str, environment: Mapping[str, str], log: Path
) -> AsyncIterator[RunningProcess]:
    if module != "app":
        async with python(module, *arguments, environment=environment, log=log) as running:
            yield running
        return
    with log.open("ab") as sink:
        process = await ForkedProcess.start(*arguments, environment=environment, log=sink.fileno())
    forked = RunningProcess(cast("asyncio.subprocess.Process", process), log)
    try:
        yield forked
    finally:
        await forked.end()


@pytest.fixture(autouse=True)
def _forked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench.stack, "python", _python)
