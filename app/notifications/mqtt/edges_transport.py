"""Publishes deliveries to the brokers of all edges: a subscriber may be connected to any of them.

A delivery succeeds when it has reached every edge that is alive. An edge that has not reported for some
seconds, or has lost its broker, is tried too, without waiting for it and without effect on the outcome: a
dead machine blocks no alert.

If one of several edges fails, the dispatcher attempts the delivery again. The process remembers which edges
it has reached, so the others get it alone. After a restart of the process an edge may get it twice, under the
same event id.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import datetime
from typing import Final, NamedTuple, Self
from uuid import UUID

from app.notifications.delivery.transport_types import DELIVERED, AttemptOutcome, LeasedDelivery
from app.notifications.mqtt.mqtt_transport import MqttTransport, SendByMqtt
from app.platform.broker.edges import RegisteredEdge, list_edges
from app.platform.config.platform_settings import BrokerSettings
from app.platform.db.database import DATABASE_ERRORS, Database, get_driver_connection
from app.platform.observability.metrics_and_logs import get_logger, redact_error

KNOWN_FOR_S: Final = 60.0
"""Edges that were silent for longer get no alerts."""

ALIVE_FOR_S: Final = 5.0
"""Edges that reported within this time must get each alert. They report once a second."""

_LIST_EVERY_S: Final = 1.0
_LIST_TIMEOUT_S: Final = 2.0
_SILENT_WAIT_S: Final = 0.2
_MOST_REMEMBERED: Final = 10_000
_log = get_logger(__name__)


class _EdgeState(NamedTuple):
    """An edge that may get alerts, and whether a delivery must reach it."""

    edge: RegisteredEdge
    is_alive: bool


class EdgesTransport:
    """Publishes deliveries of MQTT channels to all edges. A context manager.

    Args:
        settings: Vigie's own account at the brokers, and TLS; host and port are those of each edge.
        database: Has the reports of edges. While it is away, the last known edges are used.
    """

    def __init__(self, settings: BrokerSettings, database: Database) -> None:
        self._settings = settings
        self._database = database
        self._opened = AsyncExitStack()
        self._transports: dict[tuple[str, int], MqttTransport] = {}
        self._edges: list[RegisteredEdge] = []
        self._listed_at = -KNOWN_FOR_S
        self._listing = asyncio.Lock()
        # delivery → names of the edges that have it, of deliveries that others lack
        self._reached: OrderedDict[UUID, set[str]] = OrderedDict()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._opened.aclose()

    async def send(self, claimed: LeasedDelivery, now: datetime) -> AttemptOutcome:
        """Publish a delivery to the edges that do not have it yet."""
        return await self.send_to_each(claimed.id, lambda transport: transport.send(claimed, now))

    async def send_to_each(self, identifier: UUID, send: SendByMqtt) -> AttemptOutcome:
        """Send to the edges that do not have it yet.

        Args:
            identifier: Of what is sent, under which the edges that have it are remembered.
            send: Sends it to one broker.
        """
        began = time.perf_counter()
        reached = self._reached.pop(identifier, set())
        states = [each for each in await self._find_edges() if each.edge.name not in reached]
        outcomes = await self._send_to(states, send)
        reached |= {name for name, outcome in outcomes.items() if outcome.delivered}
        failed = [
            outcomes[state.edge.name]
            for state in states
            if state.is_alive and not outcomes[state.edge.name].delivered
        ]
        if failed or not reached:
            self._remember(identifier, reached)
        took_ms = (time.perf_counter() - began) * 1000
        if failed:
            return failed[0]._replace(duration_ms=took_ms)
        if not reached:
            return AttemptOutcome("connect_failed", None, None, took_ms)
        remark = next((each.body for each in outcomes.values() if each.delivered), None)
        return AttemptOutcome(DELIVERED, None, remark, took_ms)

    async def _send_to(self, states: Sequence[_EdgeState], send: SendByMqtt) -> dict[str, AttemptOutcome]:
        """Publish to edges concurrently; returns the outcomes that are known when all live ones answered."""
        tasks = {}
        for state in states:
            transport = await self._open_transport(state.edge.host, state.edge.port)
            tasks[state.edge.name] = asyncio.ensure_future(send(transport))
        alive = [tasks[state.edge.name] for state in states if state.is_alive]
        try:
            if alive:
                await asyncio.wait(alive)
            if others := [task for task in tasks.values() if not task.done()]:
                await asyncio.wait(others, timeout=_SILENT_WAIT_S)
            return {name: task.result() for name, task in tasks.items() if task.done()}
        finally:
            for task in tasks.values():
                task.cancel()

    async def _open_transport(self, host: str, port: int) -> MqttTransport:
        transport = self._transports.get((host, port))
        if transport is None:
            settings = self._settings.model_copy(update={"host": host, "port": port})
            transport = self._transports[host, port] = MqttTransport(settings)
            await self._opened.enter_async_context(transport)
        return transport

    async def _find_edges(self) -> list[_EdgeState]:
        async with self._listing:
            if time.monotonic() - self._listed_at >= _LIST_EVERY_S:
                await self._list_edges()
        age_s = time.monotonic() - self._listed_at
        return [
            _EdgeState(edge, edge.connected and edge.silent_s <= ALIVE_FOR_S)
            for edge in self._edges
            if edge.silent_s + age_s <= KNOWN_FOR_S
        ]

    async def _list_edges(self) -> None:
        try:
            async with asyncio.timeout(_LIST_TIMEOUT_S), self._database.read() as session:
                self._edges = await list_edges(await get_driver_connection(session))
        except DATABASE_ERRORS as error:
            _log.warning("edges_not_listed", error=redact_error(error))
        else:
            self._listed_at = time.monotonic()

    def _remember(self, delivery: UUID, reached: set[str]) -> None:
        self._reached[delivery] = reached
        if len(self._reached) > _MOST_REMEMBERED:
            self._reached.popitem(last=False)
