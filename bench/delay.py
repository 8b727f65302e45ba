"""Measures the latency from a published sample to the client's webhook, at a steady rate.

Publisher and receiver are this process, so one clock measures both ends.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import asyncpg
from aiohttp import web

from bench.load import METRICS, RANGES, LoadSample, MessageLoad, box_id, topic, vigie_message
from bench.process import FailedError
from bench.publisher import BrokerAccount, drop_session, encode_connect, encode_publish
from bench.results import percentile
from bench.stack import BenchStack, free_port

_BOXES: Final = 1_000  # each sends once a second
_ALERTS_EVERY: Final = 20  # one box in so many fires, each second others
_TICK_S: Final = 0.01
_CLIENT: Final = "vigie-bench-delay"
_SETTLE_S: Final = 2.0
_PATIENCE_S: Final = 20.0
_HIGH: Final = RANGES[METRICS[0]][1] + 5
_PACKET_IDS: Final = 65_535


@dataclass(frozen=True, slots=True)
class AlertDelays:
    """The latencies of alerts.

    Attributes:
        rate: messages a second that were published.
        seconds: for so long.
        expected: alerts that had to come.
        delays_ms: of those that came.
    """

    rate: float
    seconds: float
    expected: int
    delays_ms: tuple[float, ...]

    def line(self) -> str:
        """Format the result as a sentence."""
        if not self.delays_ms:
            return f"None of {self.expected:,} alerts arrived"
        p50, p99 = percentile(self.delays_ms, 0.5), percentile(self.delays_ms, 0.99)
        return (
            f"Load: {self.rate:,.0f} messages/s for {self.seconds:.0f} s. Result: {len(self.delays_ms):,} of "
            f"{self.expected:,} alerts arrived; p50 {p50:.0f} ms, p99 {p99:.0f} ms,"
            f" longest {max(self.delays_ms):.0f} ms"
        )


class _Receiver:
    """Receives alerts as the client's webhook, and records their times by box and measurement time."""

    def __init__(self) -> None:
        self.came: dict[tuple[str, str], float] = {}
        self.port = free_port()

    async def _take(self, request: web.Request) -> web.Response:
        now = time.monotonic()
        data: dict[str, Any] = json.loads(await request.read())["data"]
        self.came.setdefault((data["box"], data["started_at"]), now)
        return web.Response(status=204)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        application = web.Application()
        application.router.add_post("/", self._take)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", self.port).start()
            yield
        finally:
            await runner.cleanup()


@asynccontextmanager
async def _connection(account: BrokerAccount) -> AsyncIterator[asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection(account.host, account.port)

    async def discard() -> None:
        while await reader.read(65_536):
            pass

    discarding = asyncio.create_task(discard())
    try:
        writer.write(encode_connect("bench-delay-load", account))
        await asyncio.sleep(_SETTLE_S / 4)
        yield writer
    finally:
        writer.close()
        discarding.cancel()


async def _publish(stack: BenchStack, seconds: int) -> tuple[dict[tuple[str, int], float], float]:
    """Send each box's sample of each second in its turn; gives when alarming ones were sent, and the rate."""
    sent: dict[tuple[str, int], float] = {}
    samples = list(MessageLoad(_BOXES, _BOXES, 0).samples())
    per_tick = round(_BOXES * _TICK_S)
    async with _connection(stack.account("gateway")) as writer:
        began = time.monotonic()
        for number in range(round(seconds / _TICK_S)):
            await asyncio.sleep(max(0.0, began + number * _TICK_S - time.monotonic()))
            for index in range(number * per_tick, (number + 1) * per_tick):
                second, box = divmod(index, _BOXES)
                sample = samples[box]._replace(seq=second, time_ms=round(time.time() * 1000))
                if box % _ALERTS_EVERY == second % _ALERTS_EVERY:
                    sample = sample._replace(values=(_HIGH, *sample.values[1:]))
                    sent[box_id(box), sample.time_ms] = time.monotonic()
                else:
                    sample = _calm(sample)
                writer.write(encode_publish(topic(box), vigie_message(sample), index % _PACKET_IDS + 1))
        rate = seconds * _BOXES / (time.monotonic() - began)
        await writer.drain()
        await asyncio.sleep(_SETTLE_S)
    return sent, rate


def _calm(sample: LoadSample) -> LoadSample:
    return sample._replace(values=(RANGES[METRICS[0]][0], *sample.values[1:]))


async def _consuming(database: str) -> None:
    connection = await asyncpg.connect(database)
    try:
        async with asyncio.timeout(_PATIENCE_S):
            while not await connection.fetchval("SELECT count(*) FROM heartbeats WHERE state = 'consuming'"):  # noqa: ASYNC110 (another process's word)
                await asyncio.sleep(0.1)
    finally:
        await connection.close()


async def measure(stack: BenchStack, *, seconds: int = 20) -> AlertDelays:
    """Run ingest and delivery, publish steadily, and see when alerts arrive.

    Raises:
        FailedError: nothing was measured.
    """
    database = await stack.database("delay")
    await stack.fleet(database, boxes=_BOXES, rules_per_site=20)
    receiver = _Receiver()
    async with receiver.serving():
        async with stack.api(database) as client:
            hook = {"url": f"http://127.0.0.1:{receiver.port}/", "events": ["alert.firing"]}
            await client.call("POST", "/v1/webhooks", hook)
        async with (
            stack.role("ingest", database, VIGIE_INGEST__CLIENT_ID=_CLIENT),
            stack.role("deliver", database),
        ):
            await _consuming(database)
            await asyncio.sleep(_SETTLE_S)
            sent, rate = await _publish(stack, seconds)
    await drop_session(stack.account("ingest"), _CLIENT)
    await stack.drop("delay")
    came = {(box, _milliseconds(text)): at for (box, text), at in receiver.came.items()}
    delays = tuple((came[key] - at) * 1000 for key, at in sent.items() if key in came)
    if not delays:
        raise FailedError("No alert came.")
    return AlertDelays(rate, float(seconds), len(sent), delays)


def _milliseconds(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)
