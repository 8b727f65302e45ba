"""A real `vigie up` in a process of its own, for the tests of this folder."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PATIENCE_S = 60.0


@dataclass
class Stack:
    """One supervisor and what it tells of itself."""

    process: subprocess.Popen[str]
    data: Path
    output: Path

    @property
    def run(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.data / "run.json").read_text())
        return found

    @property
    def pids(self) -> dict[str, int]:
        return dict(self.run["pids"])

    def wait_ready(self) -> None:
        until(
            lambda: (self.data / "run.json").exists() or self.process.poll() is not None,
            self.said,
        )
        assert self.process.poll() is None, self.said()

    def said(self) -> str:
        return self.output.read_text()

    def stop(self, number: signal.Signals = signal.SIGTERM) -> float:
        """Send `number` to the supervisor and wait; gives the seconds that the stop took."""
        started = time.monotonic()
        self.process.send_signal(number)
        self.process.wait(PATIENCE_S)
        return time.monotonic() - started


def until(
    condition: Callable[[], bool], detail: Callable[[], str] = str, patience_s: float = PATIENCE_S
) -> None:
    deadline = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < deadline, detail()
        time.sleep(0.05)


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and was not reaped yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def processes_of(data: Path) -> list[str]:
    """Command lines of all living processes that name the data directory or carry it in their environment."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal() or not alive(int(entry.name)):
            continue
        try:
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            surroundings = (entry / "environ").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if str(data) in command or re.search(rf"VIGIE_STACK=\w+@{re.escape(str(data))}\0", surroundings):
            found.append(command)
    return found


@contextmanager
def started(data: Path, *arguments: str, prefix: Sequence[str] = ()) -> Iterator[Stack]:
    """Start `vigie up` on `data`; whatever is left of it at the end is stopped."""
    output = data.parent / f"{data.name}.out"
    # What the test session itself was told about services is not for this stack.
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("VIGIE_", "PROM"))
    }
    with output.open("a") as file:
        process = subprocess.Popen(  # noqa: S603  # our own program
            [
                *prefix,
                sys.executable,
                "-P",
                "-m",
                "app",
                "up",
                "--data-dir",
                str(data),
                "--port",
                "0",
                *arguments,
            ],
            stdout=file,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
            env=environment,
        )
    try:
        yield Stack(process, data, output)
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
