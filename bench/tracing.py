"""Measures the cost of telemetry for ingest: `python -m bench.tracing` drains a backlog with it off and on.

The collector is a part of this process that reads and drops what it gets. CPU for each message carries over
to other machines; rates do not.
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from statistics import median
from typing import Final

from aiohttp import web

from bench.drain import DrainCourse, run
from bench.results import DrainResult
from bench.stack import stack
from bench.suite import BenchPlan, format_drain

_REPEAT: Final = 5
_MESSAGES: Final = 400_000


@asynccontextmanager
async def _collector() -> AsyncIterator[str]:
    """Serve a collector that drops everything."""

    async def drop(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(content_type="application/x-protobuf")

    application = web.Application(client_max_size=2**26)
    application.add_routes([web.post("/v1/traces", drop), web.post("/v1/metrics", drop)])
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def _measure(repeat: int) -> dict[str, list[DrainResult]]:
    async with stack() as running, _collector() as url:
        on = {"VIGIE_TELEMETRY__ENDPOINT": url}
        ways = {"off": {}, "on": on, "on, 1 % of traces": {**on, "VIGIE_TELEMETRY__SAMPLE_RATIO": "0.01"}}
        found: dict[str, list[DrainResult]] = {way: [] for way in ways}
        for _ in range(repeat):
            for way, settings in ways.items():
                plan = BenchPlan(_MESSAGES, boxes=1000, repeat=repeat, letters="e", seed=1)
                course = DrainCourse("e", plan.load())
                drain = await run(replace(running, settings=settings), course)
                sys.stdout.write(f"{way}: {format_drain(drain)}\n")
                sys.stdout.flush()
                if drain.failure is None:
                    found[way].append(drain)
    return found


def main() -> None:
    """Measure, and print the medians."""
    repeat = int(sys.argv[1]) if len(sys.argv) > 1 else _REPEAT
    found = asyncio.run(_measure(repeat))
    off = median(drain.cpu_us("consumer") for drain in found["off"])
    for way, drains in found.items():
        cpu = median(drain.cpu_us("consumer") for drain in drains)
        rate = median(drain.rate for drain in drains)
        sys.stdout.write(f"{way}: {cpu:.2f} µs/message, {cpu / off:.3f} of off; {rate:,.0f} messages/s\n")


if __name__ == "__main__":
    main()
