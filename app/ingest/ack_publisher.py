"""Publishes acknowledgements of committed samples to boxes, on `vigie/v1/{box}/ack`.

A box registered with `ack` stores each sample until it is acknowledged. A lost acknowledgement therefore
costs a repeated sample, never a lost one. While the broker is unavailable, acknowledgements are dropped and
counted.
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress

import aiomqtt
import msgspec

from app.ingest.pipeline.batch_receipt import BoxAck
from app.ingest.prometheus_metrics import ACKS_FAILED, ACKS_SENT
from app.platform.broker.broker_client_factory import make_broker_client
from app.platform.config.platform_settings import BrokerSettings
from app.platform.observability.metrics_and_logs import get_logger

_log = get_logger(__name__)
_MAX_QUEUED = 50_000
_MAX_CONCURRENT = 50
# Boxes have small receive buffers: long lists are split.
_SEQS_PER_MESSAGE = 500
_REFUSED_PER_MESSAGE = 100


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
        self._client_id = client_id
        self._queue: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue(_MAX_QUEUED)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start the background task."""
        self._task = asyncio.create_task(self._run())

    def publish(self, acks: Mapping[str, BoxAck]) -> None:
        """Queue acknowledgements without waiting. If the queue is full, they are dropped and counted."""
        for box, ack in acks.items():
            for message in build_ack_messages(box, ack):
                try:
                    self._queue.put_nowait(message)
                except asyncio.QueueFull:
                    ACKS_FAILED.inc()

    async def stop(self, timeout_s: float = 2.0) -> None:
        """Publish the queued acknowledgements within a timeout (s), and stop."""
        if self._task is None:
            return
        with suppress(TimeoutError):
            await asyncio.wait_for(self._queue.join(), timeout_s)
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    async def _run(self) -> None:
        wait = 0.2
        while True:
            try:
                async with self._client() as client:
                    wait = 0.2
                    await self._publish_queued(client)
            except (aiomqtt.MqttError, OSError) as error:
                _log.warning("ack_connection_lost", error=str(error))
                self._drop()
                await asyncio.sleep(wait)
                wait = min(wait * 2, 10.0)

    def _client(self) -> aiomqtt.Client:
        version = aiomqtt.ProtocolVersion.V5
        return make_broker_client(self._settings, timeout_s=5, identifier=self._client_id, protocol=version)

    async def _publish_queued(self, client: aiomqtt.Client) -> None:
        running: set[asyncio.Task[None]] = set()
        while True:
            topic, payload = await self._queue.get()
            task = asyncio.create_task(self._send(client, topic, payload))
            running.add(task)
            if len(running) >= _MAX_CONCURRENT or self._queue.empty():
                done, running = await asyncio.wait(running, return_when=asyncio.ALL_COMPLETED)
                for finished in done:
                    finished.result()

    async def _send(self, client: aiomqtt.Client, topic: str, payload: bytes) -> None:
        try:
            await client.publish(topic, payload, qos=1, timeout=5)
        except aiomqtt.MqttError:
            ACKS_FAILED.inc()
            raise
        else:
            ACKS_SENT.inc()
        finally:
            self._queue.task_done()

    def _drop(self) -> None:
        while not self._queue.empty():
            self._queue.get_nowait()
            self._queue.task_done()
            ACKS_FAILED.inc()
