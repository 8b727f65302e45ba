"""Makes the message source that the settings name. Only this module imports all of them."""

from aiomqtt.client import ProtocolVersion

from app.ingest.sources.aiomqtt_source import AiomqttSource
from app.ingest.sources.message_source import MessageSource
from app.ingest.sources.mqtt5_source import Mqtt5Source
from app.ingest.sources.source_options import MqttOptions
from app.platform.broker.broker_client import make_tls_context
from app.platform.config.settings import VigieSettings


def build_mqtt_options(settings: VigieSettings) -> MqttOptions:
    """Convert the settings to the options of an MQTT source."""
    broker, ingest = settings.broker, settings.ingest
    return MqttOptions(
        host=broker.host,
        port=broker.port,
        client_id=ingest.client_id,
        username=broker.username or None,
        password=broker.password.get_secret_value() if broker.username else None,
        session_expiry_s=ingest.session_expiry_s,
        receive_maximum=ingest.receive_maximum,
        keepalive_s=ingest.keepalive_s,
        reconnect_min_s=ingest.reconnect_min_s,
        reconnect_max_s=ingest.reconnect_max_s,
        batch_messages=ingest.batch_messages,
        batch_bytes=ingest.batch_bytes,
        batch_delay_s=ingest.batch_delay_ms / 1000,
        pending_limit_bytes=ingest.buffer_bytes,
        tls=make_tls_context(broker),
    )


def make_source(settings: VigieSettings) -> MessageSource:
    """Make the source that the settings name; it connects on `start`."""
    options = build_mqtt_options(settings)
    if settings.ingest.source == "aiomqtt":
        version = ProtocolVersion.V5 if settings.ingest.protocol == "5" else ProtocolVersion.V311
        return AiomqttSource(options, protocol=version)
    return Mqtt5Source(options)
