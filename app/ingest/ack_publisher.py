"""Publishes acknowledgements of committed samples to boxes, on `vigie/v1/{box}/ack`.

A box registered with `ack` stores each sample until it is acknowledged. A lost acknowledgement therefore
costs a repeated sample, never a lost one. While the broker is unavailable, acknowledgements are dropped and
counted.
"""

import asyncio
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

import mqtt5
import msgspec

from app.ingest.ack_connection import KEEPALIVE_S, SILENCE_S, AckConnection
from app.ingest.pipeline.batch_receipt import BoxAck
from app.ingest.prometheus_metrics import ACKS_FAILED, ACKS_SENT
from app.platform.broker.broker_client_factory import make_tls_context
from app.platform.config.platform_settings import BrokerSettings
from app.platform.observability.metrics_and_logs import get_logger

_log = get_logger(__name__)
_MAX_QUEUED: Final = 50_000
_MOST_AT_ONCE: Final = 500
# Boxes have small receive buffers: long lists are split.
_SEQS_PER_MESSAGE: Final = 500
_REFUSED_PER_MESSAGE: Final = 100
_FIRST_WAIT_S: Final = 0.2
_LONGEST_WAIT_S: Final = 10.0
_COUNT_EVERY_S: Final = 0.5


def build_ack_messages(box: str, ack: BoxAck) -> list[tuple[str, bytes]]:
    """Build the (topic, payload) messages for one box.

    Refused messages come last, when the box already knows the refused samples with a `seq`.
    """
    longest = max(len(ack.seqs), len(ack.event_seqs), len(ack.rejected), len(ack.partly))
    parts = []
    for start in range(0, longest, _SEQS_PER_MESSAGE):
        end = start + _SEQS_PER_MESSAGE
        parts.append(
            BoxAck(
                ack.seqs[start:end], ack.event_seqs[start:end], ack.rejected[start:end], ack.partly[start:end]
            )
        )
    for start in range(0, len(ack.refused), _REFUSED_PER_MESSAGE):
        refused = ack.refused[start : start + _REFUSED_PER_MESSAGE]
        if parts and not start:
            parts[-1].refused = refused
        else:
            parts.append(BoxAck(refused=refused))
    return [(f"vigie/v1/{box}/ack", msgspec.json.encode(part.payload())) for part in parts]


class AckPublisher:
    """Publishes acknowledgements in the background, over its own broker connection."""

    def __init__(self, settings: BrokerSettings, *, client_id: str) -> None:
        self._settings = settings
        self._tls = make_tls_context(settings)
        password = settings.password.get_secret_value()
        self._connect = mqtt5.ConnectPacket(
            client_id,
            username=settings.username or None,
            password=password.encode() if settings.username else None,
            clean_start=True,
            keep_alive=KEEPALIVE_S,
        ).write()
        self._queue: deque[tuple[str, bytes]] = deque()
        self._has_messages = asyncio.Event()
        self._is_empty = asyncio.Event()
        self._is_empty.set()
        self._connection: AckConnection | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start the background task."""
        self._task = asyncio.create_task(self._run())

    def publish(self, acks: Mapping[str, BoxAck]) -> None:
        """Queue acknowledgements without waiting. If the queue is full, they are dropped and counted."""
        for box, ack in acks.items():
            messages = build_ack_messages(box, ack)
            fitting = messages[: max(0, _MAX_QUEUED - len(self._queue))]
            self._queue.extend(fitting)
            ACKS_FAILED.inc(len(messages) - len(fitting))
        self._note_queue()

    async def stop(self, timeout_s: float = 2.0) -> None:
        """Publish the queued acknowledgements within a timeout (s), and stop."""
        if self._task is None:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._is_empty.wait()
                if self._connection is not None:
                    await self._connection.is_idle.wait()
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    async def _run(self) -> None:
        wait = _FIRST_WAIT_S
        while True:
            try:
                connection = await self._open()
            except (TimeoutError, OSError) as error:
                reason = "no answer in time" if isinstance(error, TimeoutError) else str(error)
                self._drop()
            else:
                wait = _FIRST_WAIT_S
                reason = await self._publish_while_connected(connection)
            # What waits in the queue is sent by the next connection, if that succeeds at once.
            _log.warning("ack_connection_lost", error=reason)
            await asyncio.sleep(wait)
            wait = min(wait * 2, _LONGEST_WAIT_S)

    async def _open(self) -> AckConnection:
        """Connect (TimeoutError, OSError)."""
        settings, connection = self._settings, AckConnection(self._connect)
        try:
            async with asyncio.timeout(SILENCE_S):
                await asyncio.get_running_loop().create_connection(
                    lambda: connection,
                    settings.host,
                    settings.port,
                    ssl=self._tls,
                    server_hostname=None if self._tls is None else settings.host,
                )
                await asyncio.wait((connection.ready, connection.ended), return_when=asyncio.FIRST_COMPLETED)
        except BaseException:
            connection.close()
            raise
        if connection.ended.done():
            raise OSError(connection.ended.result())
        return connection

    async def _publish_while_connected(self, connection: AckConnection) -> str:
        """Publish until the connection has ended; returns the reason."""
        self._connection, counted = connection, 0
        sending = asyncio.create_task(self._send_queued(connection))
        try:
            while not connection.ended.done():
                await asyncio.wait(
                    (connection.ended, sending),
                    timeout=_COUNT_EVERY_S,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                ACKS_SENT.inc(connection.confirmed - counted)
                counted = connection.confirmed
                if sending.done():
                    return repr(sending.exception())
            return connection.ended.result()
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
            connection.close()
            ACKS_SENT.inc(connection.confirmed - counted)
            ACKS_FAILED.inc(connection.in_flight)
            self._connection = None

    async def _send_queued(self, connection: AckConnection) -> None:
        while True:
            await self._has_messages.wait()
            await connection.can_send.wait()
            count = min(len(self._queue), connection.free_window, _MOST_AT_ONCE)
            connection.send([self._queue.popleft() for _ in range(count)])
            self._note_queue()
            # Batches are committed meanwhile.
            await asyncio.sleep(0)

    def _drop(self) -> None:
        ACKS_FAILED.inc(len(self._queue))
        self._queue.clear()
        self._note_queue()

    def _note_queue(self) -> None:
        filled, empty = self._has_messages, self._is_empty
        (filled if self._queue else empty).set()
        (empty if self._queue else filled).clear()
