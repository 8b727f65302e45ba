"""Roles as real processes, for the scenarios: started, killed, and ended by their pid."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import httpx

from app.standalone.free_ports import find_free_port
from tests.nursery import ForkedProcess


class RoleProcess:
    """`vigie <role>` under the test's settings (they are in the environment)."""

    def __init__(self, role: str, log: Path) -> None:
        self.role = role
        self.log = log
        self._process: asyncio.subprocess.Process | ForkedProcess | None = None

    async def start(self, **environment: str) -> None:
        whole = {**os.environ, **environment}
        with self.log.open("ab") as log:
            # What the interpreter or the loader is told is told to a new program only.
            if all(name.startswith("VIGIE_") for name in environment):
                self._process = await ForkedProcess.start(self.role, environment=whole, log=log.fileno())
                return
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "app", self.role), env=whole, stdout=log, stderr=log
            )

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def suspend(self) -> None:
        """Have it hang (SIGSTOP)."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on where it was."""
        os.kill(self.pid, signal.SIGCONT)

    async def kill(self) -> None:
        """End it at once, as a crash would."""
        assert self._process is not None
        self._process.kill()
        await self._process.wait()

    async def terminate(self) -> int:
        """Ask it to drain and end. Gives its exit status."""
        assert self._process is not None
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            return await asyncio.wait_for(self._process.wait(), 60)
        except TimeoutError:
            await self.kill()
            raise


@contextlib.asynccontextmanager
async def role(name: str, folder: Path, **environment: str) -> AsyncIterator[RoleProcess]:
    """Run a role for the length of a block, which it must survive and leave cleanly."""
    process = RoleProcess(name, folder / f"{name}.log")
    await process.start(**environment)
    try:
        yield process
    finally:
        status = await process.terminate()
        if status != 0:
            raise AssertionError(f"{name} ended with {status}:\n{process.log.read_text()[-4000:]}")


async def serves(url: str) -> bool:
    """Whether an API is ready."""
    with contextlib.suppress(httpx.TransportError):
        async with httpx.AsyncClient() as client:
            return (await client.get(f"{url}/readyz")).status_code == 200
    return False


@contextlib.asynccontextmanager
async def serving(folder: Path, **environment: str) -> AsyncIterator[str]:
    """Run the API on a free port for the length of a block. Gives its address once it is ready."""
    port = find_free_port()
    url = f"http://127.0.0.1:{port}"
    async with role("api", folder, VIGIE_API__PORT=str(port), **environment):
        await until(lambda: serves(url), patience_s=90)
        yield url


async def until[T](ask: Callable[[], Awaitable[T]], *, patience_s: float = 60.0) -> T:
    """Ask until the answer is true-ish."""
    async with asyncio.timeout(patience_s):
        while True:
            if answer := await ask():
                return answer
            await asyncio.sleep(0.05)
