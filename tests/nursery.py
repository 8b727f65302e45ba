"""Vigie's processes for the tests, forked from one that has loaded all modules: that alone takes seconds.

What a process does from its first line on is what `python -m app …` does. Those that are to be started as a
user would (`tests/integration/standalone`), or under another C library's clock, are not forked.

A nursery is a process (`python -m tests.nursery SOCKET`) that takes one request on each connection, a line of
JSON with the log's descriptor, and answers with two lines: the number of the process that it has forked, and,
when that has ended, its status as `subprocess` tells it.
"""

import asyncio
import contextlib
import json
import os
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Self

_MOST_BYTES: Final = 1 << 20
_READY_WITHIN_S: Final = 60.0
_MODULES: Final = (
    "app.processes.cli",
    "app.processes.audit_cli",
    "app.standalone.startup_settings_check",
    "app.processes.edge",
    "app.processes.ingest",
    "app.processes.maintain",
    "app.processes.api_server",
    "app.processes.deliver",
    "simulators.cli",
    "simulators.demo",
)


class ForkedProcess:
    """A process of a nursery's, as far as tests use one of `asyncio.subprocess`.

    Attributes:
        pid: its number.
        returncode: its status once it has ended.
    """

    def __init__(self, pid: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._ended = asyncio.create_task(self._listen(reader, writer))

    @classmethod
    async def start(cls, *words: str, environment: Mapping[str, str], log: int) -> Self:
        """Run `vigie WORDS`; its whole output goes to the descriptor."""
        return cls(*await _nursery().bear(words, environment, log))

    @classmethod
    async def start_quiet(cls, *words: str) -> Self:
        """The same under the tests' own environment; nobody reads its output."""
        nothing = os.open(os.devnull, os.O_WRONLY)
        try:
            return await cls.start(*words, environment=os.environ, log=nothing)
        finally:
            os.close(nothing)

    async def _listen(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> int:
        try:
            self.returncode = int(await reader.readline())
        finally:
            writer.close()
        return self.returncode

    async def wait(self) -> int:
        """Wait until it has ended; gives its status."""
        return await asyncio.shield(self._ended)

    def send_signal(self, number: signal.Signals) -> None:
        """Send it a signal, unless it has ended."""
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)


class Nursery:
    """The other side of a nursery's process."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="vigie-nursery-"))
        self._path = self._folder / "socket"
        # It ends when its standard input does: with the tests, however they end.
        self._process = subprocess.Popen(  # noqa: S603 (ourselves)
            [sys.executable, "-m", "tests.nursery", str(self._path)], stdin=subprocess.PIPE
        )

    async def bear(
        self, words: tuple[str, ...], environment: Mapping[str, str], log: int
    ) -> tuple[int, asyncio.StreamReader, asyncio.StreamWriter]:
        """Have a process forked; gives its number, and where its status will come."""
        line = json.dumps({"words": words, "environment": dict(environment), "folder": str(Path.cwd())})
        connection = await self._connect()
        socket.send_fds(connection, [f"{line}\n".encode()], [log])
        reader, writer = await asyncio.open_unix_connection(sock=connection)
        return int(await reader.readline()), reader, writer

    async def _connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        deadline = time.monotonic() + _READY_WITHIN_S
        while True:
            try:
                connection.connect(str(self._path))
            except (FileNotFoundError, ConnectionRefusedError):
                assert time.monotonic() < deadline, "the nursery does not answer"
                assert self._process.poll() is None, f"the nursery ended with {self._process.returncode}"
                await asyncio.sleep(0.05)
            else:
                return connection

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(60)
        shutil.rmtree(self._folder)


_one: Nursery | None = None


def _nursery() -> Nursery:
    global _one  # noqa: PLW0603 (one for all tests of a process, once one of them asks)
    if _one is None:
        _one = Nursery()
    return _one


def close() -> None:
    """End this process's nursery, if it has one."""
    global _one  # noqa: PLW0603
    if _one is not None:
        _one.close()
        _one = None


class _Serving:
    """What a nursery does. `run` returns in each process that it forks, and at the end in itself."""

    def __init__(self, path: str) -> None:
        self._selector = selectors.DefaultSelector()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(path)
        self._listener.listen(64)
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(sys.stdin, selectors.EVENT_READ)
        self._born: dict[int, tuple[int, socket.socket]] = {}  # process's descriptor → its number, who asked

    def run(self) -> bool:
        """Serve; True in a process that was forked."""
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is self._listener:
                    if self._bear():
                        return True
                elif key.fileobj is sys.stdin:
                    return False
                else:
                    self._bury(key.fd)

    def _bear(self) -> bool:
        connection, _ = self._listener.accept()
        message, (log, *_), *_ = socket.recv_fds(connection, _MOST_BYTES, 1)
        while not message.endswith(b"\n"):
            message += connection.recv(_MOST_BYTES)
        pid = os.fork()
        if pid == 0:
            self._leave(connection)
            _become(json.loads(message), log)
            return True
        os.close(log)
        watched = os.pidfd_open(pid)
        self._born[watched] = pid, connection
        self._selector.register(watched, selectors.EVENT_READ)
        connection.sendall(f"{pid}\n".encode())
        return False

    def _bury(self, watched: int) -> None:
        self._selector.unregister(watched)
        os.close(watched)
        pid, connection = self._born.pop(watched)
        _, status = os.waitpid(pid, 0)
        # Whoever asked may have gone.
        with contextlib.suppress(OSError):
            connection.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
        connection.close()

    def _leave(self, connection: socket.socket) -> None:
        """Close what is the nursery's."""
        self._selector.close()
        self._listener.close()
        connection.close()
        for watched, (_, other) in self._born.items():
            os.close(watched)
            other.close()


def _become(wanted: Mapping[str, Any], log: int) -> None:
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    os.close(nothing)
    os.close(log)
    os.environ.clear()
    os.environ.update(wanted["environment"])
    os.chdir(wanted["folder"])
    sys.argv = ["vigie", *wanted["words"]]


if __name__ == "__main__":
    import gc
    from importlib import import_module

    for module in _MODULES:
        import_module(module)
    gc.freeze()
    # What it forks tells its own end; an interrupt of the tests is theirs to hand on.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if _Serving(sys.argv[1]).run():
        signal.signal(signal.SIGINT, signal.default_int_handler)
        from app.processes.cli import main

        main()
