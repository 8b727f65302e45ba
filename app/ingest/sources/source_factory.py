"""Makes the message source that `VIGIE_INGEST__SOURCE` selects. Only this module imports all of them."""

from aiomqtt.client import ProtocolVersion

from app.ingest.settings import IngestSettings
from app.ingest.sources.aiomqtt_source import AiomqttSource
from app.ingest.sources.mqtt5_source import Mqtt5Source
from app.ingest.sources.reconnecting_mqtt_source import MqttOptions, MqttSource
from app.platform.broker.broker_client_factory import make_tls_context
from app.platform.config.platform_settings import BrokerSettings


def build_mqtt_options(settings: IngestSettings, broker: BrokerSettings) -> MqttOptions:
    """Convert the settings to the options of an MQTT source."""
    return MqttOptions(
        host=broker.host,
        port=broker.port,
        client_id=settings.client_id,
        username=broker.username or None,
        password=broker.password.get_secret_value() if broker.username else None,
        session_expiry_s=settings.session_expiry_s,
        receive_maximum=settings.receive_maximum,
        keepalive_s=settings.keepalive_s,
        reconnect_min_s=settings.reconnect_min_s,
        reconnect_max_s=settings.reconnect_max_s,
        batch_messages=settings.batch_messages,
        batch_bytes=settings.batch_bytes,
        batch_delay_s=settings.batch_delay_ms / 1000,
        pending_limit_bytes=settings.buffer_bytes,
        tls=make_tls_context(broker),
    )


def make_source(settings: IngestSettings, broker: BrokerSettings) -> MqttSource:
    """Make the source that the settings name; it connects on `start`."""
    options = build_mqtt_options(settings, broker)
    if settings.source == "aiomqtt":
        version = ProtocolVersion.V5 if settings.protocol == "5" else ProtocolVersion.V311
        return AiomqttSource(options, protocol=version)
    return Mqtt5Source(options)
