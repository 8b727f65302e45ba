"""Defines the options that both MQTT sources accept, with their defaults."""

import ssl
from dataclasses import dataclass

from app.ingest.adapters.adapter_registry import SUBSCRIPTIONS

TOPICS = (
    "vigie/v1/+/telemetry",
    "vigie/v1/+/event",
    "vigie/v1/+/status",
    "vigie/v1/+/config/reported",
    *SUBSCRIPTIONS,
)


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
