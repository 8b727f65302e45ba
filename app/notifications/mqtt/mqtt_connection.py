"""Publishes messages over one connection to the broker, and returns the broker's response to each.

Uses private parts of aiomqtt and paho: aiomqtt's `publish` does not return the broker's reason code, and
keeps waiting after the connection is lost. An ended connection cannot be reused; `mqtt_transport` opens a new
one.
"""

import asyncio
import socket
import ssl
from typing import Final, NamedTuple

import aiomqtt
from aiomqtt.exceptions import MqttConnectError
from paho.mqtt.client import Client as PahoClient
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from app.platform.broker.broker_client_factory import make_broker_client
from app.platform.config.platform_settings import BrokerSettings
from app.platform.observability.metrics_and_logs import get_logger

# Reason codes of MQTT 5 (2.4), in responses to CONNECT and PUBLISH.
_LOGIN_REFUSED: Final = frozenset({0x86, 0x87, 0x8A, 0x8C})  # password, not authorised, banned, method
_QUOTA_EXCEEDED: Final = 0x97
_NO_SUBSCRIBERS: Final = 0x10
_log = get_logger(__name__)


class BrokerRefusal(NamedTuple):
    """Why a connection or a message failed.

    Attributes:
        reason: One of `app.notifications.delivery.transport_types.REASONS`.
        detail: What is wrong, for clients; nothing about this installation's network and account.
    """

    reason: str
    detail: str | None = None


class PublisherConnection:
    """A connection to the broker, which opens immediately. Needs a running event loop.

    Args:
        settings: The broker's address and account.
        timeout_s: The timeout of the connection, and again of the login, in seconds.

    Attributes:
        refusal: Why the connection ended; None while it lives.
        ended_at: When it ended, by the loop's clock.
    """

    def __init__(self, settings: BrokerSettings, *, timeout_s: float) -> None:
        self.refusal: BrokerRefusal | None = None
        self.ended_at = 0.0
        self._settings = settings
        self._timeout_s = timeout_s
        self._loop = asyncio.get_running_loop()
        self._paho: PahoClient | None = None
        self._begun: asyncio.Future[None] = self._loop.create_future()
        self._opened = False
        self._waiting: dict[int, asyncio.Future[BrokerRefusal | str | None]] = {}
        self._task = asyncio.create_task(self._run(), name="publish")

    @property
    def opened(self) -> bool:
        """Whether the broker ever accepted the connection, even if it has ended since."""
        return self._opened

    async def publish(self, topic: str, payload: bytes, media_type: str) -> BrokerRefusal | str | None:
        """Publish a message at QoS 1 once connected, and wait for the broker's acknowledgement.

        Has no timeout of its own: the caller sets one.

        Returns:
            The refusal; or None, or the broker's remark on success.
        """
        await asyncio.shield(self._begun)
        if self.refusal is not None or self._paho is None:
            return self.refusal
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call] # paho's is untyped
        properties.ContentType = media_type
        info = self._paho.publish(topic, payload, qos=1, properties=properties)
        if info.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            return BrokerRefusal("response_broken", info.rc.name)
        answer: asyncio.Future[BrokerRefusal | str | None] = self._loop.create_future()
        self._waiting[info.mid] = answer
        try:
            return await answer
        finally:
            self._waiting.pop(info.mid, None)

    def end(self, refusal: BrokerRefusal) -> None:
        """End the connection now; pending messages fail with `refusal`."""
        self._end(refusal)
        self._task.cancel()

    async def close(self, timeout_s: float) -> None:
        """Disconnect gracefully, within a timeout."""
        # The connection opens in a thread that cannot be cancelled: it would leak its socket.
        await asyncio.wait((self._begun, self._task), timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        self._task.cancel()
        await asyncio.wait((self._task,), timeout=timeout_s)

    async def _run(self) -> None:
        refusal = BrokerRefusal("response_broken", "the connection was closed")
        try:
            await self._stay_connected()
        except (aiomqtt.MqttError, OSError) as error:
            if not self._opened:
                refusal = _refusal_of(error)
            cause = str(error.__context__ or "")
            _log.warning(
                "broker_lost",
                reason=refusal.reason,
                error=str(error) or type(error).__name__,
                cause=cause or None,
            )
        except Exception:  # noqa: BLE001 (nothing awaits this task's result: the error is logged)
            _log.exception("broker_connection_failed")
            refusal = BrokerRefusal("internal_error")
        finally:
            self._end(refusal)

    async def _stay_connected(self) -> None:
        """Connect, and stay connected until the connection is lost (MqttError) or the task is cancelled."""
        try:
            client = make_broker_client(
                self._settings, timeout_s=self._timeout_s, protocol=aiomqtt.ProtocolVersion.V5
            )
        except OSError as error:
            raise ssl.SSLError(str(error)) from error  # a file of `broker.tls`
        paho: PahoClient = client._client  # noqa: SLF001 (see the module's docstring)
        paho.on_publish = self._on_publish
        paho.connect_timeout = self._timeout_s
        try:
            async with client:
                self._paho = paho
                self._opened = True
                self._begun.set_result(None)
                # There are no subscriptions: this only waits for the end of the connection.
                async for _ in client.messages:
                    pass
        finally:
            # aiomqtt leaves the socket open if the broker did not answer.
            paho._sock_close()  # noqa: SLF001 (see the module's docstring)

    def _on_publish(
        self, _client: PahoClient, _userdata: object, mid: int, code: ReasonCode, _properties: Properties
    ) -> None:
        answer = self._waiting.get(mid)
        if answer is None or answer.done():
            return
        if not code.is_failure:
            answer.set_result(str(code) if code.value == _NO_SUBSCRIBERS else None)
        elif code.value in _LOGIN_REFUSED:
            answer.set_result(_refused_by(code, "login_refused"))
        elif code.value == _QUOTA_EXCEEDED:
            answer.set_result(_refused_by(code, "rate_limited"))
        else:
            answer.set_result(_refused_by(code, "response_broken"))

    def _end(self, refusal: BrokerRefusal) -> None:
        if self.refusal is not None:
            return
        self.refusal = refusal
        self.ended_at = self._loop.time()
        self._paho = None
        if not self._begun.done():
            self._begun.set_result(None)
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_result(refusal)


def _refused_by(code: ReasonCode, reason: str) -> BrokerRefusal:
    """Log the broker's refusal of a message: it concerns Vigie's own account, so clients do not see it."""
    _log.warning("publish_refused", reason=reason, error=str(code))
    return BrokerRefusal(reason)


def _refusal_of(error: Exception) -> BrokerRefusal:
    """Map an error of connecting to a reason; aiomqtt wraps the system's error in its own."""
    if isinstance(error, MqttConnectError):
        code = error.rc.value if isinstance(error.rc, ReasonCode) else error.rc
        return BrokerRefusal("login_refused" if code in _LOGIN_REFUSED else "connect_failed")
    cause = error.__context__ if isinstance(error, aiomqtt.MqttError) else error
    if isinstance(cause, ssl.SSLError):
        return BrokerRefusal("tls_failed")
    if isinstance(cause, socket.gaierror):
        return BrokerRefusal("name_unresolved")
    if isinstance(cause, TimeoutError):
        return BrokerRefusal("connect_timeout")
    return BrokerRefusal("connect_failed")
