"""`python -m bench.console_calls TOKEN PATH WARM CALLS`: calls the API as pages of the console do.

It prints the CPU time of this process for each call (µs).
"""

import sys
import time

import uvloop

from app.console.framework.api_calls import ConsoleApi
from app.processes.api_application import create_app
from app.settings import VigieSettings
from bench.neighbour_client import say


async def run(token: str, path: str, warm: int, calls: int) -> None:
    """Call `warm` times, then `calls` times, and print the CPU time of these."""
    app = create_app(VigieSettings())
    async with app.router.lifespan_context(app):
        api = ConsoleApi(app, token, ("127.0.0.1", 0))
        for _ in range(warm):
            await api.get(path)
        before = time.process_time()
        for _ in range(calls):
            await api.get(path)
        say(cpu_us=(time.process_time() - before) / calls * 1e6)


if __name__ == "__main__":
    uvloop.run(run(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
