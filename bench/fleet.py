"""Connects a fleet of boxes at once, each with its own account, and crashes the broker.

The boxes are two processes of their own (`bench.fleet_client`). Each box was registered with `ack`, and keeps
a sample until Vigie names it: what was made and what is stored are compared at the end.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from typing import Any, Final

import aiomqtt

from app.platform.broker.mosquitto_password_hash import (
    ITERATIONS,
    hash_mosquitto_password,
    verify_mosquitto_password,
)
from bench.fleet_clients import FleetClients, register_fleet, run_fleet_clients
from bench.measure import cpu_seconds, rss
from bench.publisher import drop_session
from bench.stack import BenchStack
from bench.tables import stored
from simulators.rest_client import ApiClient

BOXES: Final = 10_000
PERIOD_S: Final = 60.0
"""Each box sends once in this time."""

_CLIENT: Final = "vigie-bench-fleet"
_DATABASE: Final = "fleet"
_CONNECT_WITHIN_S: Final = 90.0
_SETTLE_WITHIN_S: Final = 60.0
_HASHES: Final = 500
_ROLES: Final = ("ingest", "deliver", "maintain")


@dataclass(frozen=True, slots=True)
class FleetArrival:
    """The time and cost of connecting a fleet.

    Attributes:
        half_s: seconds until half of the boxes were.
        all_s: until all were.
        attempts: connections that it took.
        cpu_s: CPU seconds of the broker.
    """

    half_s: float
    all_s: float
    attempts: int
    cpu_s: float


@dataclass(frozen=True, slots=True)
class FleetResult:
    """The results of a fleet.

    Attributes:
        boxes: how many.
        cold: their first connections.
        seconds: how long all were connected and sent.
        made: samples that they made meanwhile.
        memory: bytes by process, at the end of this time; `mosquitto before` is without boxes.
        broker_back_s: from the broker's death to its first answer.
        again: the connections after it; counted from its death.
        total: samples made by the end.
        stored: rows in the table.
        twice: rows too many.
        rejected: samples that Vigie refused.
        sent: samples sent, repeats among them.
        check_us: CPU of one check of a password, in µs.
    """

    boxes: int
    cold: FleetArrival
    seconds: float
    made: int
    memory: Mapping[str, int]
    broker_back_s: float
    again: FleetArrival
    total: int
    stored: int
    twice: int
    rejected: int
    sent: int
    check_us: float
    iterations: int = ITERATIONS


@dataclass(frozen=True, slots=True)
class _Beginning:
    """The state before boxes connect: time, connections begun, CPU seconds of the broker."""

    at: float
    attempts: int
    cpu_s: float


async def _arrive(
    clients: FleetClients, boxes: int, began: _Beginning, broker: Callable[[], int]
) -> FleetArrival:
    """Wait for all of them."""
    half = await clients.until(
        lambda: clients.total("connected") >= boxes / 2, _CONNECT_WITHIN_S, "half is due"
    )
    every = await clients.until(lambda: clients.total("connected") == boxes, _CONNECT_WITHIN_S, "all are due")
    attempts = clients.total("attempts") - began.attempts
    return FleetArrival(half - began.at, every - began.at, attempts, cpu_seconds(broker()) - began.cpu_s)


async def _register(client: ApiClient, boxes: int) -> list[tuple[int, str]]:
    """Register the fleet on one site; returns indexes and passwords."""
    place = {"type": "Point", "coordinates": [1.44, 43.6]}
    site = {"name": "Fleet", "kind": "street", "timezone": "Europe/Paris", "location": place}
    site_id = str((await client.call("POST", "/v1/sites", site))["id"])
    return await register_fleet(client, boxes, [site_id], PERIOD_S)


def _check_us() -> float:
    hashed = hash_mosquitto_password("a password of thirty-two letters")
    began = time.process_time()
    for _ in range(_HASHES):
        verify_mosquitto_password("a password of thirty-two letters", hashed)
    return (time.process_time() - began) / _HASHES * 1e6


async def _crash(stack: BenchStack, clients: FleetClients, boxes: int) -> tuple[float, FleetArrival]:
    """Kill the broker, start it again, and wait for all boxes."""
    broker = stack.mosquitto
    began = _Beginning(time.monotonic(), clients.total("attempts"), 0.0)
    broker.kill()
    if broker.child is not None:
        await broker.child.wait()
    await clients.until(lambda: not clients.total("connected"), _CONNECT_WITHIN_S, "they must notice")
    await broker.start()
    back = time.monotonic() - began.at
    return back, await _arrive(clients, boxes, began, lambda: broker.pid)


async def measure(stack: BenchStack, *, boxes: int = BOXES, period_s: float = PERIOD_S) -> FleetResult:
    """Connect a fleet, have it send for one period, kill the broker, and see that nothing is missing.

    Raises:
        FailedError: not all boxes came, or not all samples were named.
    """
    database = await stack.database(_DATABASE)
    await drop_session(stack.account("ingest"), _CLIENT)
    # A broker that held a backlog before does not give its memory back.
    await stack.mosquitto.stop()
    await stack.mosquitto.start()
    try:
        async with AsyncExitStack() as running:
            client, api = await running.enter_async_context(stack.api_role(database, **stack.account_files()))
            pids = {"api": api.pid}
            for name in _ROLES:
                more = {"VIGIE_INGEST__CLIENT_ID": _CLIENT, **stack.account_files()}
                role = await running.enter_async_context(stack.role(name, database, **more))
                pids[name] = role.pid
            registered = await _register(client, boxes)
            account = stack.account("gateway")
            clients = await running.enter_async_context(
                run_fleet_clients(
                    stack.folder,
                    (account.host, account.port),
                    stack.environment(""),
                    registered,
                    period_s,
                )
            )
            found = await _observe(stack, clients, boxes, period_s, pids)
        rows, different, _ = await stored(database, narrow=False)
        return FleetResult(boxes=boxes, stored=rows, twice=rows - different, check_us=_check_us(), **found)
    finally:
        # The broker may not have come back.
        with suppress(aiomqtt.MqttError):
            await drop_session(stack.account("ingest"), _CLIENT)
        await stack.drop(_DATABASE)


async def _observe(
    stack: BenchStack, clients: FleetClients, boxes: int, seconds: float, pids: Mapping[str, int]
) -> dict[str, Any]:
    """Observe a fleet through cold start and crash, and return the measured parts of the result."""
    empty = rss(stack.mosquitto.pid)
    await clients.until(clients.begun, _CONNECT_WITHIN_S, "they must begin")
    beginning = _Beginning(time.monotonic(), 0, cpu_seconds(stack.mosquitto.pid))
    await clients.tell("go")
    cold = await _arrive(clients, boxes, beginning, lambda: stack.mosquitto.pid)
    began = time.monotonic()
    await clients.tell("send")
    await asyncio.sleep(seconds)
    made, lasted = clients.total("made"), time.monotonic() - began
    memory = {name: rss(pid) for name, pid in {"mosquitto": stack.mosquitto.pid, **pids}.items()}
    back, again = await _crash(stack, clients, boxes)
    await clients.tell("hush")
    await clients.until_settled(_SETTLE_WITHIN_S)
    return {
        "cold": cold,
        "seconds": lasted,
        "made": made,
        "memory": {"mosquitto before": empty, **memory},
        "broker_back_s": back,
        "again": again,
        "total": clients.total("made"),
        "rejected": clients.total("rejected"),
        "sent": clients.total("sent"),
    }
