"""`python -m bench.api_client FILE`: sends one kind of GET to an API, as cheaply as possible.

In a closed loop every connection sends its next request as soon as the last one was answered. At a fixed rate
requests arrive at random (Poisson), and each is timed from the moment at which it was due.
"""

import asyncio
import json
import random
import sys
import time
from pathlib import Path
from typing import Any, Final

import uvloop

from bench.neighbour_client import ClientConnection, read_of, say

_GOOD: Final = 200
_WARM_CALLS: Final = 50


class RequestLoad:
    """Sends the requests of one task.

    Args:
        task: `port`, `key`, `path`, `connections`, `seconds`, and `rate` (requests a second; 0: closed loop).
    """

    def __init__(self, task: dict[str, Any]) -> None:
        self._task = task
        self._request = read_of(task["path"], task["key"])
        self._took_ms: list[float] = []

    async def run(self) -> None:
        """Connect and warm up, wait for a line on standard input, then send and print the durations (ms)."""
        task = self._task
        connections = [await ClientConnection.to(task["port"]) for _ in range(task["connections"])]
        for connection in connections:
            for _ in range(_WARM_CALLS):
                await self._ask(connection, time.monotonic())
        self._took_ms.clear()
        say(ready=time.monotonic())
        await asyncio.to_thread(sys.stdin.readline)
        end = time.monotonic() + task["seconds"]
        if task["rate"]:
            await self._send_at_rate(connections, end)
        else:
            await asyncio.gather(*(self._send_in_loop(each, end) for each in connections))
        say(took_ms=self._took_ms)

    async def _ask(self, connection: ClientConnection, due: float) -> None:
        answer = await connection.ask(self._request)
        if answer.status != _GOOD:
            raise RuntimeError(f"{self._task['path']}: {answer.status} {answer.code}")
        self._took_ms.append((time.monotonic() - due) * 1000)

    async def _send_in_loop(self, connection: ClientConnection, end: float) -> None:
        while (now := time.monotonic()) < end:
            await self._ask(connection, now)

    async def _send_at_rate(self, free: list[ClientConnection], end: float) -> None:
        chance = random.Random(1)
        due = time.monotonic()

        async def send(due: float) -> None:
            connection = free.pop() if free else await ClientConnection.to(self._task["port"])
            await self._ask(connection, due)
            free.append(connection)

        async with asyncio.TaskGroup() as sending:
            while due < end:
                due += chance.expovariate(self._task["rate"])
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                sending.create_task(send(due))


if __name__ == "__main__":
    uvloop.run(RequestLoad(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))).run())
