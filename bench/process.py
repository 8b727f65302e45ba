"""Processes of Python that are measured: started, listened to, and ended by their pid."""

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from app.standalone.child_process import read_log_tail

_END_WITHIN_S: Final = 15.0
# A line can have the durations of a hundred thousand requests.
_LINE_BYTES: Final = 2**23


class FailedError(Exception):
    """A competitor or a role failed; the text is a sentence."""


@dataclass(frozen=True, slots=True)
class RunningProcess:
    """A running process.

    Attributes:
        process: the process; its standard input and output are pipes.
        log: where its standard error goes.
    """

    process: asyncio.subprocess.Process
    log: Path

    @property
    def pid(self) -> int:
        """The process id."""
        return self.process.pid

    def check(self) -> None:
        """See that it still runs.

        Raises:
            FailedError: it ended.
        """
        if self.process.returncode is not None:
            raise FailedError(f"It ended with {self.process.returncode}: {self.last_words()}")

    def last_words(self) -> str:
        """The last line that it wrote to its log."""
        lines = read_log_tail(self.log).strip().splitlines()
        return lines[-1][:300] if lines else "it said nothing"

    async def told(self, word: str) -> float:
        """Wait until it says this word; gives the instant that it says with it.

        Raises:
            FailedError: it ended, or said something else.
        """
        return float(await self.read_result(word))

    async def read_result(self, word: str) -> Any:  # noqa: ANN401 (JSON)
        """Wait for a line with this word, and return what it says with it.

        Raises:
            FailedError: it ended, or said something else.
        """
        if self.process.stdout is None:
            raise FailedError("It cannot be heard.")
        line = await self.process.stdout.readline()
        if not line:
            await self.process.wait()
            self.check()
        said = json.loads(line or b"{}")
        if word not in said:
            raise FailedError(f"It said {line.decode()!r}, not {word!r}.")
        return said[word]

    async def go(self) -> None:
        """Let it begin."""
        if self.process.stdin is not None:
            self.process.stdin.write(b"go\n")
            await self.process.stdin.drain()

    async def end(self) -> int:
        """Ask it to end, and see that it does; gives its status."""
        for step in (signal.SIGTERM, signal.SIGKILL):
            if self.process.returncode is not None:
                break
            self.process.send_signal(step)
            try:
                await asyncio.wait_for(self.process.wait(), _END_WITHIN_S)
            except TimeoutError:
                continue
        return await self.process.wait()


@asynccontextmanager
async def python(
    module: str, *arguments: str, environment: Mapping[str, str], log: Path, piped: bool = False
) -> AsyncIterator[RunningProcess]:
    """Run `python -m module` for the length of a block.

    Args:
        module: what to run.
        arguments: its arguments.
        environment: its whole environment.
        log: where standard error goes; standard output too, unless `piped`.
        piped: whether to talk to it by its standard input and output.
    """
    with log.open("ab") as sink:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", module, *arguments),
            env=dict(environment),
            stdin=asyncio.subprocess.PIPE if piped else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE if piped else sink,
            stderr=sink,
            limit=_LINE_BYTES,
        )
    running = RunningProcess(process, log)
    try:
        yield running
    finally:
        await running.end()
