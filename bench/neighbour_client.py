"""`python -m bench.neighbour_client FILE`: one tenant's clients, as cheap as they can be.

A *steady* one sends reads and samples at moments of chance (Poisson), whatever becomes of those before, and
tells how long each took, from the moment at which it was due. A *greedy* one is told what to do on its
standard input: `drain` (ask until refused, to use up what a rested tenant may do at once), `polite` (ask
again as soon as it was answered, and after a refusal when that says so), `rude` (ask again at once, on
several connections), `hush`. It ends with its parent.
"""

import asyncio
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from itertools import cycle
from pathlib import Path
from typing import Any, Final, NamedTuple

import uvloop

_SAY_EVERY_S: Final = 0.25
_GOOD: Final = 200
_REFUSED: Final = 429
_END: Final = b"\r\n\r\n"
_RUDE_CONNECTIONS: Final = 8
_DRAIN_WITHIN_S: Final = 15.0


class HttpAnswer(NamedTuple):
    """A response: status, `Retry-After` (s), and the code of a problem."""

    status: int
    retry_after_s: float
    code: str


class ClientConnection(asyncio.Protocol):
    """A connection with one request at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._answer: asyncio.Future[HttpAnswer] | None = None

    @classmethod
    async def to(cls, port: int) -> "ClientConnection":
        """Connect."""
        _, made = await asyncio.get_running_loop().create_connection(cls, "127.0.0.1", port)
        return made

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # of TCP it is
        """Keep the way back."""
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing will come any more."""
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(exc or ConnectionResetError("The API closed the connection."))

    def data_received(self, data: bytes) -> None:
        """Read on; the answer is whole when its body is."""
        self._buffer += data
        end = self._buffer.find(_END)
        if end < 0 or self._answer is None:
            return
        head = bytes(self._buffer[:end]).lower()
        if len(self._buffer) < end + len(_END) + _number(head, b"\r\ncontent-length: "):
            return
        code = self._buffer[end:].partition(b'"code":"')[2].partition(b'"')[0].decode()
        self._buffer.clear()
        answer = HttpAnswer(int(head[9:12]), float(_number(head, b"\r\nretry-after: ")), code)
        self._answer.set_result(answer)

    async def ask(self, request: bytes) -> HttpAnswer:
        """Send a request and wait for its answer."""
        if self._transport is None:
            raise ConnectionResetError("There is no connection.")
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answer


def _number(head: bytes, name: bytes) -> int:
    at = head.find(name)
    return 0 if at < 0 else int(head[at + len(name) :].partition(b"\r\n")[0])


def read_of(path: str, key: str) -> bytes:
    """Build a request that reads."""
    return f"GET {path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {key}\r\n\r\n".encode()


def samples_of(box: str, key: str, number: int) -> bytes:
    """Build a request that sends a sample of now."""
    values = f'{{"pm2_5":{10 + number % 20},"temperature":{number % 30},"laeq":{50 + number % 9}}}'
    now_ms = time.time_ns() // 1_000_000
    body = f'{{"box":"{box}","samples":[{{"seq":{number},"time":{now_ms},"values":{values}}}]}}'
    return (
        f"POST /v1/telemetry HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    ).encode()


def say(**words: object) -> None:
    """Tell the parent."""
    print(json.dumps(words), flush=True)


class SteadyClient:
    """Sends requests at random times, and reports each response."""

    def __init__(self, task: dict[str, Any]) -> None:
        self._task = task
        self._chance = random.Random(task["seed"])
        self._free: list[ClientConnection] = []
        self._found: list[tuple[float, float, str]] = []
        self._running: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Go on for ever."""
        task = self._task
        kinds = [(kind, task[kind]) for kind in ("reads", "samples") if task[kind]]
        total = sum(rate for _, rate in kinds)
        keys, paths, boxes = (cycle(task[name]) for name in ("keys", "paths", "boxes"))
        due = time.monotonic()
        telling = asyncio.create_task(self._tell())
        for number in range(sys.maxsize):
            due += self._chance.expovariate(total)
            if (wait_s := due - time.monotonic()) > 0:
                await asyncio.sleep(wait_s)
            (kind,) = self._chance.choices([name for name, _ in kinds], [rate for _, rate in kinds])
            key = next(keys)
            request = read_of(next(paths), key) if kind == "reads" else samples_of(next(boxes), key, number)
            sending = asyncio.create_task(self._send(request, due, kind))
            self._running.add(sending)
            sending.add_done_callback(self._running.discard)
        await telling

    async def _send(self, request: bytes, due: float, kind: str) -> None:
        connection = self._free.pop() if self._free else await ClientConnection.to(self._task["port"])
        answer = await connection.ask(request)
        took_s = time.monotonic() - due
        self._found.append(
            (due, took_s, kind if answer.status == _GOOD else f"{answer.status} {answer.code}")
        )
        self._free.append(connection)

    async def _tell(self) -> None:
        while True:
            await asyncio.sleep(_SAY_EVERY_S)
            found, self._found = self._found, []
            say(found=found)


class GreedyClient:
    """Sends as many requests as the limits admit."""

    def __init__(self, task: dict[str, Any]) -> None:
        self._port: int = task["port"]
        self._keys: list[str] = task["keys"]
        self._requests: list[bytes] = [read_of(path, key) for path in task["paths"] for key in self._keys]
        self._rude = task.get("connections", _RUDE_CONNECTIONS)
        self._tally: Counter[str] = Counter()
        self._asking: list[asyncio.Task[None]] = []

    async def run(self) -> None:
        """Do what is said."""
        reader = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        while line := await reader.readline():
            word = line.decode().strip()
            await self._hush()
            if word == "drain":
                await self._drain()
            elif word == "polite":
                self._start(len(self._keys), polite=True)
            elif word == "rude":
                self._start(self._rude, polite=False)
            say(word=word, tally=self._tally)
            self._tally.clear()

    async def _drain(self) -> None:
        """Use up what may be asked at once, with what costs least; but first the keys have to be known."""
        known = await ClientConnection.to(self._port)
        for request in self._requests[: len(self._keys)]:
            await known.ask(request)
        nothing = cycle([read_of("/v1/nowhere", key) for key in self._keys])
        # Who goes behind others may be let through less often than its rate allows: it is never refused.
        with suppress(TimeoutError):
            async with asyncio.timeout(_DRAIN_WITHIN_S):
                await asyncio.gather(*(self._ask(nothing, until_refused=True) for _ in range(self._rude)))

    def _each(self, connections: int) -> list[Iterator[bytes]]:
        """List the requests of each connection; with one connection for each key, each has its own key."""
        return [
            cycle(self._requests[number % len(self._requests) :: connections])
            for number in range(connections)
        ]

    def _start(self, connections: int, *, polite: bool) -> None:
        self._asking = [
            asyncio.create_task(self._ask(mine, polite=polite)) for mine in self._each(connections)
        ]

    async def _ask(
        self, requests: Iterator[bytes], *, polite: bool = False, until_refused: bool = False
    ) -> None:
        connection = await ClientConnection.to(self._port)
        for request in requests:
            answer = await connection.ask(request)
            self._tally[str(answer.status)] += 1
            if answer.status == _REFUSED:
                if until_refused:
                    return
                if polite:
                    await asyncio.sleep(answer.retry_after_s)

    async def _hush(self) -> None:
        for task in self._asking:
            task.cancel()
        for ended in await asyncio.gather(*self._asking, return_exceptions=True):
            if isinstance(ended, Exception):
                raise ended
        self._asking = []


async def _run(task: dict[str, Any]) -> None:
    await (SteadyClient if task["steady"] else GreedyClient)(task).run()


if __name__ == "__main__":
    uvloop.run(_run(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))))
