"""`python -m bench.fleet_client FILE`: boxes of a fleet, as many as one process can be.

On its standard input it reads commands: `go` (connect; `go 60`: at random moments of so many seconds), `send`
(a sample of each box in each period, at a moment of its own; `send 0.5` sets the period) and `hush` (no new
ones). It prints its counters every 0.1 s, and ends with its parent.

FILE is a JSON object: `boxes` (index and password of each), `host`, `port`, `period_s`, `seed`; if wanted,
`ports` (instead of `port`, dealt out to the boxes in turn), `authority` (a file: use TLS, and trust it),
`behaviour` (the fields of `FleetBehaviour`).
"""

import asyncio
import json
import random
import resource
import ssl
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import uvloop

from bench.fleet_box import FleetBehaviour, FleetBox, FleetCounts

_SAY_EVERY_S: Final = 0.1
_REPEAT_EVERY_S: Final = 2.0


def allow_files(wanted: int) -> None:
    """Let this process open so many files.

    Raises:
        OSError: the system does not let it.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        if hard != resource.RLIM_INFINITY and hard < wanted:
            raise OSError(f"{wanted} open files are needed, and {hard} allowed (ulimit -n)")
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class _Fleet:
    """The boxes of this process."""

    def __init__(self, task: dict[str, Any]) -> None:
        self.counts = FleetCounts()
        self._chance = random.Random(task["seed"])
        ports = task.get("ports", [task["port"]])
        tls = ssl.create_default_context(cafile=task["authority"]) if "authority" in task else None
        behaviour = FleetBehaviour(**task.get("behaviour", {}))
        self._boxes = [
            FleetBox(
                *(index, password, (task["host"], ports[number % len(ports)])),
                *(self.counts, self._chance),
                tls=tls,
                behaviour=behaviour,
            )
            for number, (index, password) in enumerate(task["boxes"])
        ]
        self._running: set[asyncio.Task[None]] = set()
        self._sending: asyncio.Task[None] | None = None
        self._period_s: float = task["period_s"]

    async def obey(self, word: str) -> None:
        """Do what is asked."""
        word, _, seconds = word.partition(" ")
        if word == "go":
            within_s = float(seconds) if seconds else 0.0
            self._running = {asyncio.create_task(box.live(within_s)) for box in self._boxes}
        elif word == "send":
            self._period_s = float(seconds) if seconds else self._period_s
            self._stop_sending()
            self._sending = asyncio.create_task(self._send())
        elif word == "hush" and self._sending is not None:
            self._stop_sending()
            self._running.add(asyncio.create_task(self._repeat()))

    def _stop_sending(self) -> None:
        if self._sending is not None:
            self._sending.cancel()

    async def _send(self) -> None:
        due = sorted((self._chance.uniform(0, self._period_s), number) for number in range(len(self._boxes)))
        began = time.monotonic()
        while True:
            for moment, number in due:
                if time.monotonic() < began + moment:
                    await asyncio.sleep(began + moment - time.monotonic())
                self._boxes[number].measure()
            began += self._period_s

    async def _repeat(self) -> None:
        while True:
            await asyncio.sleep(_REPEAT_EVERY_S)
            for box in self._boxes:
                box.repeat()

    async def say(self) -> None:
        """Say how far it is, again and again."""
        while True:
            print(json.dumps({"at": time.monotonic(), **asdict(self.counts)}), flush=True)
            await asyncio.sleep(_SAY_EVERY_S)


async def _run(task: dict[str, Any]) -> None:
    allow_files(len(task["boxes"]) + 100)
    fleet = _Fleet(task)
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    saying = asyncio.create_task(fleet.say())
    while line := await reader.readline():
        await fleet.obey(line.decode().strip())
    saying.cancel()


if __name__ == "__main__":
    uvloop.run(_run(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))))
