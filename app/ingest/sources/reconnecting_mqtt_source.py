"""Keeps an MQTT source connected: connects, and reconnects with back-off until it is stopped.

It defines the options of both clients and logs changes of state. The subclass opens the connection and
handles its packets.
"""

import asyncio
import contextlib
import random
import ssl
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Final

from app.ingest.adapters.adapter_registry import SUBSCRIPTIONS
from app.ingest.sources.batch_queue import BatchQueue
from app.ingest.sources.message_source import MessageBatch, SourceCounters
from app.ingest.sources.pubacks_and_unreadable_packets import PoisonLedger, encode_pubacks
from app.platform.observability.metrics_and_logs import get_logger

RETAINED_TOPICS: Final = ("vigie/v1/+/status", "vigie/v1/+/config/reported")
"""Topics that boxes retain. Their flag says that the broker had the message before the subscription; the flag
of other topics says that the sender set it, which is refused."""

TOPICS: Final = ("vigie/v1/+/telemetry", "vigie/v1/+/event", *RETAINED_TOPICS, *SUBSCRIPTIONS)


@dataclass(frozen=True, slots=True, kw_only=True)
class MqttOptions:
    """The broker to connect to, and the limits.

    Attributes:
        host: Broker host.
        port: Broker port.
        client_id: A stable id, under which the broker keeps the session and its queue.
        username: Broker account; None without one.
        password: Its password.
        topics: Topic filters, subscribed at QoS 1.
        session_expiry_s: How long the broker keeps the session without a connection, in seconds.
        receive_maximum: Messages that the broker may send ahead of their acknowledgement, 1 to 65,535.
        keepalive_s: Keep-alive interval in seconds; a connection that is silent for longer is dead.
        connect_timeout_s: Seconds from the TCP connection to the granted subscription.
        reconnect_min_s: First wait before reconnecting, in seconds; doubled each time.
        reconnect_max_s: Longest wait, in seconds.
        max_packet_bytes: Largest packet that the broker may send.
        batch_messages: Messages at which a batch is full.
        batch_bytes: Bytes on the wire at which a batch is full.
        batch_delay_s: Age in seconds at which a batch is returned even if it is not full.
        pending_limit_bytes: Unacknowledged bytes above which reading pauses.
        tls: The TLS context; None without TLS.
        poison_sightings: Deliveries after which an unreadable packet is skipped.
    """

    host: str
    port: int
    client_id: str
    username: str | None = None
    password: str | None = None
    topics: tuple[str, ...] = TOPICS
    session_expiry_s: int = 604_800
    receive_maximum: int = 20_000
    keepalive_s: int = 30
    connect_timeout_s: float = 10.0
    reconnect_min_s: float = 0.2
    reconnect_max_s: float = 10.0
    max_packet_bytes: int = 16 * 1024 * 1024
    batch_messages: int = 10_000
    batch_bytes: int = 8 * 1024 * 1024
    batch_delay_s: float = 0.02
    pending_limit_bytes: int = 64 * 1024 * 1024
    poison_sightings: int = 3
    tls: ssl.SSLContext | None = None


class SessionEndedError(Exception):
    """A connection ended or was not established. The text is the same for the same reason."""


class MqttSource(ABC):
    """The base class of the MQTT sources, with everything except the client.

    Args:
        options: The broker and the limits.
    """

    def __init__(self, options: MqttOptions) -> None:
        self._options = options
        self._counters = SourceCounters()
        self._inbox = BatchQueue(
            self._counters,
            batch_messages=options.batch_messages,
            batch_bytes=options.batch_bytes,
            batch_delay_s=options.batch_delay_s,
            window=options.receive_maximum,
            pending_limit_bytes=options.pending_limit_bytes,
        )
        self._ledger = PoisonLedger(sightings=options.poison_sightings)
        self._log = get_logger("ingest.source").bind(
            client_id=options.client_id, broker=f"{options.host}:{options.port}"
        )
        self._task: asyncio.Task[None] | None = None
        self._connected = False
        self._connections = 0
        self._made_progress = False  # something was acknowledged on this connection
        self._last_reason = ""

    @property
    def connected(self) -> bool:
        """Whether the source is connected and subscribed."""
        return self._connected

    @property
    def counters(self) -> SourceCounters:
        """The live counters."""
        return self._counters

    @property
    def pending_bytes(self) -> int:
        """Bytes received and not acknowledged."""
        return self._inbox.pending_bytes

    @property
    def pending_messages(self) -> int:
        """Messages received and not acknowledged."""
        return self._inbox.pending_messages

    async def start(self) -> None:
        """Begin to connect, in the background."""
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="mqtt-source")

    async def next_batch(self) -> MessageBatch:
        """Wait for the next batch, as `MessageSource` says."""
        return await self._inbox.next_batch()

    def may_have_more(self, batch: MessageBatch) -> bool:
        """Whether the broker may have more messages than a batch that was taken last."""
        return self._inbox.may_have_more(batch)

    def acknowledge(self, batch: MessageBatch) -> None:
        """Acknowledge a batch, as `MessageSource` says: all its PUBACKs in one write."""
        packet_ids = self._inbox.acknowledge(batch)
        if packet_ids is None:
            return
        self._made_progress = True
        data = encode_pubacks(packet_ids)
        if data:
            self._write(data)

    async def stop(self) -> None:
        """Disconnect and end; every wait for a batch ends with `SourceStoppedError`."""
        self._inbox.stop()
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    @abstractmethod
    async def _session(self) -> None:
        """Connect, call `_mark_connected` once subscribed, and stay until the connection ends.

        It disconnects gracefully when it is cancelled.

        Raises:
            SessionEndedError: The connection ended; always raised eventually.
        """

    @abstractmethod
    def _write(self, data: bytes) -> None:
        """Send encoded packets on the present connection."""

    async def _wait_in_time(self, *steps: asyncio.Future[Any]) -> None:
        """Wait until one of the steps is done.

        The backlog may arrive before the answer of the broker and fill memory up to the limit. While reading
        is paused for that reason, the answer cannot be read and is not late.

        Raises:
            TimeoutError: No step was done in time.
        """
        while True:
            done, _ = await asyncio.wait(
                steps, timeout=self._options.connect_timeout_s, return_when=asyncio.FIRST_COMPLETED
            )
            if done:
                return
            if not self._inbox.paused:
                raise TimeoutError

    def _mark_connected(self) -> None:
        self._connected = True
        self._connections += 1
        if self._connections > 1:
            self._counters.reconnects += 1
        self._last_reason = ""
        self._log.info("mqtt_connected", reconnects=self._counters.reconnects)

    async def _run(self) -> None:
        attempt = 0
        while True:
            self._made_progress = False
            began = time.monotonic()
            try:
                await self._session()
            except SessionEndedError as error:
                self._log_end(str(error))
            except Exception as error:  # noqa: BLE001 - our own error must not end the only consumer
                self._log.exception("mqtt_session_failed")
                self._last_reason = repr(error)
            finally:
                self._connected = False
                self._inbox.detach()
            if self._made_progress or time.monotonic() - began >= self._options.reconnect_max_s:
                attempt = 0
            await asyncio.sleep(self._back_off(attempt))
            attempt += 1

    def _back_off(self, attempt: int) -> float:
        """Return the seconds to wait: doubled each time, with jitter against reconnects in step."""
        options = self._options
        longest: float = min(options.reconnect_max_s, options.reconnect_min_s * 2.0 ** min(attempt, 30))
        return longest * random.uniform(0.5, 1.0)  # noqa: S311 - jitter is not a secret

    def _log_end(self, reason: str) -> None:
        """Log a change of state once, not every attempt that fails for the same reason."""
        if reason != self._last_reason:
            self._last_reason = reason
            self._log.warning("mqtt_disconnected", reason=reason)
