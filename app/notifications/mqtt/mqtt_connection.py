"""One connection to the broker, from its making to its end: messages out, and the broker's word for each.

Owns what of aiomqtt and paho has to be reached past their public side: aiomqtt's own `publish` does not tell
what the broker answered, and waits on after a connection is lost. A connection that has ended is of no more
use; making another one, and when, is the owner's matter.
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

from app.platform.broker.connection import make_broker_client
from app.platform.config.settings import BrokerSettings
from app.platform.observability.metrics_and_logs import get_logger

# Reason codes of MQTT 5 (2.4), in an answer to CONNECT or to PUBLISH.
_LOGIN_REFUSED: Final = frozenset({0x86, 0x87, 0x8A, 0x8C})  # password, not authorised, banned, method
_QUOTA_EXCEEDED: Final = 0x97
_NOBODY: Final = 0x10
_log = get_logger(__name__)


class BrokerRefusal(NamedTuple):
    """Why something did not come about.

    Attributes:
        reason: One of `app.notifications.delivery.transport_types.REASONS`.
        told: What is wrong, where a client may know: nothing of this installation's network and account.
    """

    reason: str
    told: str | None = None


class PublisherConnection:
    """A connection to the broker; it begins to be made at once. Needs a running loop.

    Args:
        settings: Where, and as whom.
        timeout_s: The longest wait for the connection, and then for the broker's word on the login (seconds).

    Attributes:
        refusal: Why it ended; None until it did.
        ended_at: When, by the loop's clock.
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
        self._task = asyncio.create_task(self._live(), name="publish")

    @property
    def opened(self) -> bool:
        """Whether the broker let us in, be it over by now or not."""
        return self._opened

    async def publish(self, topic: str, payload: bytes, media_type: str) -> BrokerRefusal | str | None:
        """Publish a message at QoS 1, as soon as there is a connection, and wait for the broker to take it.

        Waits without end where the broker does not answer: the caller has a limit.

        Returns:
            Why it was not taken; else None, or what the broker remarked.
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
        """End it now; whoever waits for an answer is told `refusal`."""
        self._end(refusal)
        self._task.cancel()

    async def close(self, patience_s: float) -> None:
        """End it in good order, within some seconds."""
        # It is opened in a thread that cannot be cut short: it would leave its socket behind.
        await asyncio.wait((self._begun, self._task), timeout=patience_s, return_when=asyncio.FIRST_COMPLETED)
        self._task.cancel()
        await asyncio.wait((self._task,), timeout=patience_s)

    async def _live(self) -> None:
        refusal = BrokerRefusal("response_broken", "the connection was closed")
        try:
            await self._connected()
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
        except Exception:  # noqa: BLE001 (the task's end is the only one to hear of it: it is in the log)
            _log.exception("broker_connection_failed")
            refusal = BrokerRefusal("internal_error")
        finally:
            self._end(refusal)

    async def _connected(self) -> None:
        """Connect, and stay connected until the connection is lost (MqttError) or this is cancelled."""
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
                # Nothing is subscribed to: this only waits for the end.
                async for _ in client.messages:
                    pass
        finally:
            # aiomqtt leaves the socket open where the broker did not answer.
            paho._sock_close()  # noqa: SLF001 (see the module's docstring)

    def _on_publish(
        self, _client: PahoClient, _userdata: object, mid: int, code: ReasonCode, _properties: Properties
    ) -> None:
        answer = self._waiting.get(mid)
        if answer is None or answer.done():
            return
        if not code.is_failure:
            answer.set_result(str(code) if code.value == _NOBODY else None)
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
    """What the broker said of a message is for the log: it concerns the roles' account."""
    _log.warning("publish_refused", reason=reason, error=str(code))
    return BrokerRefusal(reason)


def _refusal_of(error: Exception) -> BrokerRefusal:
    """Why a connection could not be made. aiomqtt hides the system's error behind its own."""
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
