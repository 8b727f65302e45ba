"""Makes the sink of a subscription."""

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from app.measurement_stream.sinks.influxdb_sink import InfluxdbSink
from app.measurement_stream.sinks.kafka_sink import KafkaSink
from app.measurement_stream.sinks.mqtt_sink import MqttPublisher, MqttSink
from app.measurement_stream.sinks.nats_sink import NatsSink
from app.measurement_stream.sinks.postgresql_sink import PostgresqlSink
from app.measurement_stream.sinks.prometheus_sink import PrometheusSink
from app.measurement_stream.sinks.rabbitmq_sink import RabbitmqSink
from app.measurement_stream.sinks.sink_types import MeasurementSink, SinkConfig, UnusableSink
from app.measurement_stream.sinks.webhook_sink import WebhookSink
from app.notifications.http.http_transport import HttpTransport
from app.notifications.settings import WebhookSettings

_BY_HTTP: Final[Mapping[str, Callable[[SinkConfig, HttpTransport], MeasurementSink]]] = {
    "webhook": WebhookSink,
    "influxdb": InfluxdbSink,
    "prometheus": PrometheusSink,
}
_CONNECTED: Final[Mapping[str, type[PostgresqlSink | NatsSink | RabbitmqSink | KafkaSink]]] = {
    "postgresql": PostgresqlSink,
    "nats": NatsSink,
    "rabbitmq": RabbitmqSink,
    "kafka": KafkaSink,
}


class SinkConnections(NamedTuple):
    """What sinks share.

    Attributes:
        settings: Timeouts, and whether private addresses and Kafka are allowed.
        http: Posts to public addresses only.
        mqtt: The connections to Vigie's own brokers.
    """

    settings: WebhookSettings
    http: HttpTransport
    mqtt: MqttPublisher


def make_sink(config: SinkConfig, shared: SinkConnections) -> MeasurementSink:
    """Make the sink of a configuration."""
    if config.kind in _BY_HTTP:
        return _BY_HTTP[config.kind](config, shared.http)
    if config.kind == "mqtt":
        return MqttSink(config, shared.mqtt, shared.settings.total_timeout_s)
    if config.kind == "kafka" and not shared.settings.allows_kafka:
        return UnusableSink("this installation does not allow sinks of the kind kafka")
    return _CONNECTED[config.kind](
        config, shared.settings.total_timeout_s, allow_private=shared.settings.allow_private
    )
