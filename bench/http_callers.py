"""`python -m bench.http_callers FILE`: callers that send samples by HTTP, as cheaply as they can.

It builds all requests first, says `ready`, and begins when it is told to. Each caller has one connection and
sends its next request when the last one was answered. At the end it says how many answers were not 200, and
how long all and each took.
"""

import asyncio
import json
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import batched, zip_longest
from pathlib import Path
from typing import Any

import uvloop

from bench.load import LoadSample, MessageLoad, http_body
from bench.neighbour_client import ClientConnection, say
from bench.results import percentile

_GOOD = 200


def build_requests(load: MessageLoad, per_call: int, key: str) -> list[bytes]:
    """Build the requests that send a load, the boxes in turns as they send."""
    by_box: dict[int, list[LoadSample]] = {}
    for sample in load.samples():
        by_box.setdefault(sample.box, []).append(sample)
    calls = [
        [http_body(box, list(part)) for part in batched(samples, per_call)] for box, samples in by_box.items()
    ]
    head = (
        f"POST /v1/telemetry HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {key}\r\n"
        "Content-Type: application/json\r\nContent-Length: "
    ).encode()
    bodies = [body for turn in zip_longest(*calls) for body in turn if body is not None]
    return [b"%b%d\r\n\r\n%b" % (head, len(body), body) for body in bodies]


async def _call(port: int, requests: Iterator[bytes], took_ms: list[float]) -> int:
    """Send requests until there is none left; gives how many were refused."""
    connection = await ClientConnection.to(port)
    refused = 0
    for request in requests:
        began = time.monotonic()
        answer = await connection.ask(request)
        took_ms.append((time.monotonic() - began) * 1000)
        refused += answer.status != _GOOD
    return refused


async def _send(task: dict[str, Any], requests: Sequence[bytes]) -> None:
    todo = iter(requests)
    took_ms: list[float] = []
    began, began_cpu = time.monotonic(), time.process_time()
    refused = await asyncio.gather(*(_call(task["port"], todo, took_ms) for _ in range(task["callers"])))
    say(seconds=time.monotonic() - began)
    say(cpu_s=time.process_time() - began_cpu)
    say(refused=sum(refused))
    say(p50_ms=percentile(took_ms, 0.5))
    say(p99_ms=percentile(took_ms, 0.99))


def _run(task: dict[str, Any]) -> None:
    load = MessageLoad(task["calls"] * task["per_call"], task["boxes"], task["start_ms"])
    requests = build_requests(load, task["per_call"], task["key"])
    say(ready=time.monotonic())
    sys.stdin.readline()
    uvloop.run(_send(task, requests))


if __name__ == "__main__":
    _run(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
