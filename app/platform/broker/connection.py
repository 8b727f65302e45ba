"""A connection to the broker under Vigie's own account, for all that is not the stream of telemetry."""

import ssl

import aiomqtt

from app.platform.config.settings import BrokerSettings


def make_tls_context(broker: BrokerSettings) -> ssl.SSLContext | None:
    """What TLS to the broker needs, its name checked against its certificate; None where none is spoken.

    Raises:
        OSError: a file of `broker.tls` cannot be read, or is not what it should be (ssl.SSLError).
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
    """Make a client; it connects when it is entered.

    Args:
        broker: where, and as whom.
        timeout_s: the longest wait for each answer (seconds).
        identifier: the client id; by default one of chance.
        protocol: 3.1.1 is enough where nothing of version 5 is used.

    Raises:
        OSError: as `make_tls_context` does.
    """
    return aiomqtt.Client(
        broker.host,
        broker.port,
        username=broker.username or None,
        password=broker.password.get_secret_value() or None,
        identifier=identifier,
        protocol=protocol,
        timeout=timeout_s,
        tls_context=make_tls_context(broker),
    )
