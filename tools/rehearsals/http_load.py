"""Calls the API at a steady rate as several clients do, and records refusals as a client sees them.

A client knows the addresses of all APIs, as a load balancer does. Where a connection fails, it tries the next
address. Every answer that is not a success counts as refused, without a further try.
"""

import asyncio
import json
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import aiohttp

_SAMPLES_PER_CALL: Final = 5
_STEP_MS: Final = 10
_TIMEOUT_S: Final = 30.0
_OK: Final = range(200, 300)
_LATENCIES: Final = 10_000


@dataclass
class HttpLoad:
    """Sends samples and reads by HTTP as several clients do.

    Attributes:
        headers: sent with each call, with the key or the cookie of a session.
        addresses: of the APIs that may run, in the order in which clients try them. May change.
        boxes: the boxes whose samples come by HTTP.
        calls_per_s: calls of `POST /v1/telemetry` a second, five samples each.
        reads_per_s: reads a second.
        paths: the paths to read, in turn.
        sent: samples sent, by box.
        calls: calls with a successful answer, by kind.
        elsewhere: calls that succeeded at another address after a connection failed.
        refused: descriptions of calls that failed.
        latencies_s: the last successful calls' durations.
        longest_s: the longest call.
        received_bytes: the size of all answers.
    """

    headers: dict[str, str]
    addresses: list[str]
    boxes: list[str]
    calls_per_s: float
    reads_per_s: float
    paths: list[str]
    sent: dict[str, int] = field(default_factory=dict)
    calls: dict[str, int] = field(default_factory=lambda: {"sent": 0, "read": 0})
    elsewhere: int = 0
    refused: list[str] = field(default_factory=list)
    latencies_s: deque[float] = field(default_factory=lambda: deque(maxlen=_LATENCIES))
    longest_s: float = 0.0
    received_bytes: int = 0
    _times_ms: dict[str, int] = field(default_factory=dict)
    _running: set[asyncio.Task[None]] = field(default_factory=set)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Call until the end of the block, then wait for the last answers."""
        self.sent = dict.fromkeys(self.boxes, 0)
        stop = asyncio.Event()
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
        async with aiohttp.ClientSession(headers=self.headers, timeout=timeout) as session:
            pacing = [
                asyncio.create_task(self._pace(stop, self.calls_per_s, partial(self._send, session))),
                asyncio.create_task(self._pace(stop, self.reads_per_s, partial(self._read, session))),
            ]
            try:
                yield
            finally:
                stop.set()
                await asyncio.gather(*pacing)
                if self._running:
                    await asyncio.wait(self._running)

    async def _pace(self, stop: asyncio.Event, per_s: float, call: Callable[[int], Any]) -> None:
        """Start calls when they are due, whether or not earlier ones were answered."""
        began, turn = time.monotonic(), 0
        while per_s and not stop.is_set():
            task = asyncio.create_task(call(turn))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
            turn += 1
            await asyncio.sleep(max(0.0, began + turn / per_s - time.monotonic()))

    async def _send(self, session: aiohttp.ClientSession, turn: int) -> None:
        box = self.boxes[turn % len(self.boxes)]
        first = self.sent[box]
        self.sent[box] = first + _SAMPLES_PER_CALL
        # (box, time) is a sample's identity: two late calls of a box must differ in their times.
        time_ms = max(round(time.time() * 1000), self._times_ms.get(box, 0))
        self._times_ms[box] = time_ms + _SAMPLES_PER_CALL * _STEP_MS
        samples = [
            {"seq": first + n, "time": time_ms + n * _STEP_MS, "values": {"pm2_5": 11.0, "temperature": 20.0}}
            for n in range(_SAMPLES_PER_CALL)
        ]
        answer = await self._call(session, "POST", "/v1/telemetry", {"box": box, "samples": samples})
        if answer is not None:
            self.calls["sent"] += 1
            if answer["rejected"] or answer["conflict"]:
                self.refused.append(f"POST /v1/telemetry: {answer}")

    async def _read(self, session: aiohttp.ClientSession, turn: int) -> None:
        if await self._call(session, "GET", self.paths[turn % len(self.paths)]) is not None:
            self.calls["read"] += 1

    async def _call(
        self, session: aiohttp.ClientSession, method: str, path: str, body: dict[str, Any] | None = None
    ) -> dict[str, Any] | None:
        began, failure = time.monotonic(), ""
        for number, address in enumerate(tuple(self.addresses)):
            try:
                async with session.request(method, address + path, json=body) as answer:
                    if answer.status not in _OK:
                        text = (await answer.text())[:200]
                        self.refused.append(f"{method} {path}: {answer.status} {text}")
                        return None
                    content = await answer.read()
                    size = len(content)
                    found = json.loads(content) if answer.content_type == "application/json" else {}
            except (aiohttp.ClientConnectionError, TimeoutError) as error:
                failure = f"{method} {path} at {address}: {error!r}"
                continue
            took = time.monotonic() - began
            self.latencies_s.append(took)
            self.received_bytes += size
            self.longest_s = max(self.longest_s, took)
            self.elsewhere += number > 0 and bool(failure)
            return dict(found) if isinstance(found, dict) else {}
        self.refused.append(failure or "no address is known")
        return None
