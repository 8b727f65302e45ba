"""Keeps a connection to the broker, and resends messages until the broker acknowledges them.

Reconnects with back-off, limits the messages in flight, and publishes the status topic with its Last Will.
"""

import asyncio
import json
import logging
import random
import secrets
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import cache

import aiomqtt
from paho.mqtt.reasoncodes import ReasonCode

from simulators.target_stack import BrokerAddress

ReceiveMessage = Callable[[str, bytes], None]
RenewPassword = Callable[[], Awaitable[str]]

_FIRST_WAIT_S = 0.2
_LONGEST_WAIT_S = 5.0
_ACK_TIMEOUT_S = 20.0
_RESEND_AFTER_S = 0.05
_CLOSE_TIMEOUT_S = 1.0
_BAD_CREDENTIALS = frozenset({0x86, 0x87})
_REFUSALS_BEFORE_RENEWAL = 3
_log = logging.getLogger("simulators.mqtt_link")


@cache
def _trust() -> ssl.SSLContext:
    """Load the trusted certificates once: loading takes as long as a connection."""
    return ssl.create_default_context()


def box_topic(box: str, kind: str) -> str:
    """Build a box's topic; `kind` is telemetry, event, status, ack, config or config/reported."""
    return f"vigie/v1/{box}/{kind}"


class MqttLink:
    """One account's connection; `keep_connected` opens it.

    Messages are sent in the order of the calls of `publish`. Messages in flight when a connection breaks are
    sent again on the next one: the broker gets each at least once.
    """

    def __init__(
        self,
        broker: BrokerAddress,
        *,
        identifier: str | None = None,
        window: int = 32,
        status_of: str | None = None,
        subscribe: Sequence[str] = (),
        receive: ReceiveMessage | None = None,
        renew: RenewPassword | None = None,
    ) -> None:
        """Prepare a link.

        Args:
            broker: The broker and the account.
            identifier: The client identifier; random by default.
            window: Messages that may wait for the broker's acknowledgement at the same time.
            status_of: The box whose retained status is published; None for no status.
            subscribe: Topics to subscribe to.
            receive: Called with topic and payload of each message received.
            renew: Called when the broker refuses the password; returns a new one.
        """
        self._broker = broker
        self._password = broker.password
        self._identifier = identifier or f"simulator-{secrets.token_hex(6)}"
        self._window = asyncio.Semaphore(window)
        self._window_size = window
        self._status_of = status_of
        self._subscribe = tuple(subscribe)
        self._receive = receive
        self._renew = renew
        self._client: aiomqtt.Client | None = None
        self._up = asyncio.Event()
        self._lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._failure: Exception | None = None
        self._refusals = 0
        self._under_way: set[asyncio.Task[None]] = set()
        self.connections = 0
        self.published = 0

    async def publish(self, name: str, payload: bytes, *, retain: bool = False) -> None:
        """Publish at QoS 1, and return after the acknowledgement; survives lost connections."""
        await (await self.submit(name, payload, retain=retain))

    async def submit(self, name: str, payload: bytes, *, retain: bool = False) -> asyncio.Task[None]:
        """Wait for room in the window, and start to publish at QoS 1. The task ends when acknowledged."""
        await self._window.acquire()
        task = asyncio.create_task(self._send(name, payload, retain=retain))
        self._under_way.add(task)
        task.add_done_callback(self._sent)
        return task

    async def drain(self) -> None:
        """Wait until the broker has acknowledged all submitted messages."""
        while self._under_way:
            await asyncio.gather(*self._under_way)

    def cancel_pending(self) -> None:
        """Cancel the messages in flight."""
        for task in self._under_way:
            task.cancel()

    def _sent(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        self._window.release()

    async def _send(self, name: str, payload: bytes, *, retain: bool) -> None:
        while True:
            if await self._attempt(name, payload, retain=retain):
                self.published += 1
                return
            await asyncio.sleep(_RESEND_AFTER_S)

    async def _attempt(self, name: str, payload: bytes, *, retain: bool) -> bool:
        """Send once; False if the connection broke or the acknowledgement timed out."""
        await self.wait_connected()
        client, lost = self._client, self._lost
        if client is None:
            return False
        # aiomqtt would wait for its whole timeout after a lost connection.
        sending = asyncio.create_task(
            client.publish(name, payload, qos=1, retain=retain, timeout=_ACK_TIMEOUT_S)
        )
        try:
            await asyncio.wait((sending, lost), return_when=asyncio.FIRST_COMPLETED)
            return sending.done() and sending.exception() is None
        finally:
            sending.cancel()
            with suppress(aiomqtt.MqttError, asyncio.CancelledError):
                await sending

    async def wait_connected(self) -> None:
        """Wait for the connection.

        Raises:
            Exception: The error of `renew`, which ended the link.
        """
        await self._up.wait()
        if self._failure is not None:
            raise self._failure

    async def maintain(self) -> None:
        """Connect and reconnect until cancelled."""
        wait = _FIRST_WAIT_S
        while True:
            before = self.connections
            try:
                await self._connected()
            except (aiomqtt.MqttError, OSError) as error:
                _log.info("connection of %s: %s", self._broker.username, error)
                if self.connections == before:
                    await self._refused(error)
            finally:
                self._client = None
                if self._failure is None:
                    self._up.clear()
                else:
                    self._up.set()  # wakes callers of `wait_connected`, which raises the error
                if not self._lost.done():
                    self._lost.set_result(None)
            if self.connections > before:
                wait = _FIRST_WAIT_S
                self._refusals = 0
            await asyncio.sleep(wait * random.uniform(0.8, 1.2))
            wait = min(wait * 2, _LONGEST_WAIT_S)

    async def _connected(self) -> None:
        """Open one connection and process its messages until it ends."""
        async with self._client_for_now() as client:
            for name in self._subscribe:
                await client.subscribe(name, qos=1)
            self.connections += 1
            self._client = client
            self._lost = asyncio.get_running_loop().create_future()
            if self._status_of is not None:
                await client.publish(
                    box_topic(self._status_of, "status"), _status("online"), qos=1, retain=True
                )
            self._up.set()
            async for message in client.messages:
                if self._receive is not None and isinstance(message.payload, bytes):
                    self._receive(message.topic.value, message.payload)

    @asynccontextmanager
    async def _client_for_now(self) -> AsyncIterator[aiomqtt.Client]:
        will = None
        if self._status_of is not None:
            will = aiomqtt.Will(box_topic(self._status_of, "status"), _status("offline"), qos=1, retain=True)
        client = aiomqtt.Client(
            self._broker.host,
            self._broker.port,
            username=self._broker.username,
            password=self._password,
            identifier=self._identifier,
            protocol=aiomqtt.ProtocolVersion.V5,
            will=will,
            tls_context=_trust() if self._broker.tls else None,
            keepalive=30,
            timeout=_ACK_TIMEOUT_S,
            max_inflight_messages=self._window_size + 8,
            logger=_log,
        )
        client.pending_calls_threshold = self._window_size + 8
        await client.__aenter__()
        try:
            yield client
            await client.__aexit__(None, None, None)
        except BaseException:
            # A broken or cancelled connection closes within a second, whether or not the broker answers.
            with suppress(aiomqtt.MqttError, TimeoutError):
                await asyncio.wait_for(self._close(client), _CLOSE_TIMEOUT_S)
            raise

    async def _close(self, client: aiomqtt.Client) -> None:
        if self._status_of is not None and self._up.is_set():
            with suppress(aiomqtt.MqttError):
                name = box_topic(self._status_of, "status")
                await client.publish(name, _status("offline"), qos=1, retain=True, timeout=0.5)
        await client.__aexit__(None, None, None)

    async def _refused(self, error: Exception) -> None:
        """Renew the password after several refusals."""
        code = error.rc if isinstance(error, aiomqtt.MqttCodeError) else None
        if not isinstance(code, ReasonCode) or code.value not in _BAD_CREDENTIALS or self._renew is None:
            return
        # A single refusal can come from a broker that is reloading its accounts.
        self._refusals += 1
        if self._refusals < _REFUSALS_BEFORE_RENEWAL:
            return
        self._refusals = 0
        try:
            self._password = await self._renew()
        except Exception as failure:
            self._failure = failure
            raise


def _status(state: str) -> bytes:
    return json.dumps({"state": state, "firmware": "simulator"}).encode()


@asynccontextmanager
async def keep_connected(links: Sequence[MqttLink], *, wait_s: float | None = 30.0) -> AsyncIterator[None]:
    """Keep links connected while the body runs.

    Args:
        links: The links.
        wait_s: Time in which all links must connect before the body starts (seconds); None does not wait.

    Raises:
        TimeoutError: A link did not connect in time.
    """
    keepers = [asyncio.create_task(link.maintain()) for link in links]
    try:
        if wait_s is not None:
            async with asyncio.timeout(wait_s):
                await asyncio.gather(*(link.wait_connected() for link in links))
        yield
    finally:
        for link in links:
            link.cancel_pending()
        for keeper in keepers:
            keeper.cancel()
        await asyncio.gather(*keepers, return_exceptions=True)
