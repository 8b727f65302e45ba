"""A connection to the broker under Vigie's own account, for all that is not the stream of telemetry."""

import aiomqtt

from app.core.settings import BrokerSettings


def broker_client(
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
    """
    return aiomqtt.Client(
        broker.host,
        broker.port,
        username=broker.username or None,
        password=broker.password.get_secret_value() or None,
        identifier=identifier,
        protocol=protocol,
        timeout=timeout_s,
    )
