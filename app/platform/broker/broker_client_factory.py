"""Makes MQTT clients that connect to the broker, and the TLS context for it."""

import ssl
from typing import Final

import aiomqtt

from app.platform.config.platform_settings import BrokerSettings

_MOST_PENDING: Final = 65_535


def make_tls_context(broker: BrokerSettings) -> ssl.SSLContext | None:
    """Return the TLS context for the broker, which verifies its certificate and name; None without TLS.

    Raises:
        OSError: a file of `broker.tls` cannot be read, or is not valid (ssl.SSLError).
    """
    tls = broker.tls
    if not tls.enabled:
        return None
    context = ssl.create_default_context(cafile=tls.ca_file)
    if tls.certificate_file is not None:
        context.load_cert_chain(tls.certificate_file, tls.key_file)
    return context


def make_broker_client(
    broker: BrokerSettings,
    *,
    timeout_s: float,
    identifier: str | None = None,
    protocol: aiomqtt.ProtocolVersion = aiomqtt.ProtocolVersion.V311,
) -> aiomqtt.Client:
    """Make a client, which connects when its context is entered.

    Args:
        broker: address and account.
        timeout_s: timeout of each response (seconds).
        identifier: the client id; random by default.
        protocol: 3.1.1 is enough without features of version 5.

    Raises:
        OSError: as `make_tls_context` does.
    """
    client = aiomqtt.Client(
        broker.host,
        broker.port,
        username=broker.username or None,
        password=broker.password.get_secret_value() or None,
        identifier=identifier,
        protocol=protocol,
        timeout=timeout_s,
        tls_context=make_tls_context(broker),
    )
    # Above 10 by default, the client logs a warning for each message: `ack` messages are sent 50 at a time.
    client.pending_calls_threshold = _MOST_PENDING
    return client


async def wait_until_lost(client: aiomqtt.Client) -> None:
    """Return, or raise MqttError, when the connection of a client is lost. It reads the client's messages."""
    async for _ in client.messages:
        pass
