"""Defines the configuration of each kind of sink in requests and responses.

A `…Target` is what responses show. A `…Sink` adds the secrets, which are stored encrypted and never shown.
"""

import re
from typing import Annotated, Any, Final, Literal, get_args

from pydantic import AfterValidator, Field, WithJsonSchema

from app.measurement_stream.formats.format_registry import FormatName
from app.measurement_stream.formats.influx_lines import DEFAULT_MEASUREMENT
from app.measurement_stream.sinks.sink_types import SinkKind
from app.notifications.api.webhook_header_fields import Headers
from app.notifications.api.webhook_schemas import OwnSecret
from app.notifications.http.ssrf_guard import MAX_LENGTH
from app.platform.http.contract.fields import RequestBody
from app.platform.http.contract.problems import CodedValueError
from app.platform.http.contract.tagged_unions import untag_errors
from app.platform.kernel.rejection_codes import format_rejected_value

SINK_KINDS: Final[tuple[SinkKind, ...]] = get_args(SinkKind.__value__)
SECRETS: Final[tuple[str, ...]] = ("secret", "headers", "password", "token")
"""The fields of sinks that are stored encrypted."""

_MESSAGE_FORMATS: Final[tuple[FormatName, ...]] = ("json", "cloudevents", "senml")
FORMATS_BY_SINK: Final[dict[SinkKind, tuple[FormatName, ...]]] = {
    "webhook": ("json", "cloudevents", "senml", "csv", "influx", "ngsi-ld"),
    "mqtt": (*_MESSAGE_FORMATS, "sensorthings"),
    "kafka": _MESSAGE_FORMATS,
    "nats": _MESSAGE_FORMATS,
    "rabbitmq": _MESSAGE_FORMATS,
    "postgresql": (),
    "influxdb": (),
    "prometheus": (),
}
"""The formats that a sink offers; none if it has only its own."""

SAMPLES_ONLY: Final = frozenset({"influxdb", "prometheus"})
"""Sinks that store numbers of samples only."""

COMPRESSED: Final = frozenset({"webhook", "influxdb"})
"""Sinks whose bodies can be compressed."""

_TEXT_LIMIT: Final = 256
_SERVER: Final = r"^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]{1,253}):[0-9]{1,5}$"
_CERTIFICATE_LIMIT: Final = 20_000


def _check_server(value: str) -> str:
    if re.fullmatch(_SERVER, value) is None or not 0 < int(value.rpartition(":")[2]) < 2**16:
        raise CodedValueError(
            "invalid_value", f"{format_rejected_value(value)} is not a server such as db.example.com:5432"
        )
    return value


def _text(description: str, example: str, pattern: str = r"^[!-~]([ -~]*[!-~])?$") -> Any:  # noqa: ANN401 (pydantic's field)
    return Field(
        min_length=1, max_length=_TEXT_LIMIT, pattern=pattern, description=description, examples=[example]
    )


Url = Annotated[
    str,
    WithJsonSchema({"type": "string", "format": "uri", "maxLength": MAX_LENGTH}),
    Field(description="The URL to post to: https, a public host, no user info, no fragment"),
]
Server = Annotated[
    str,
    AfterValidator(_check_server),
    WithJsonSchema({"type": "string", "pattern": _SERVER}),
    Field(description="The server as `host:port`, a public host", examples=["broker.example.com:5671"]),
]
Tls = Annotated[
    bool, Field(description="Whether to connect by TLS. Only development installations allow false")
]
CaCertificate = Annotated[
    str | None,
    Field(
        max_length=_CERTIFICATE_LIMIT,
        description="Certificates of the authority of the server (PEM); null: the public authorities",
    ),
]
Username = Annotated[str, _text("The account", "vigie")]
Password = Annotated[str, _text("The account's password. Stored encrypted, and never shown", "example")]
Token = Annotated[str, _text("An access token. Stored encrypted, and never shown", "example")]


class WebhookTarget(RequestBody):
    """A URL to which batches are posted, signed."""

    kind: Literal["webhook"]
    url: Url


class WebhookSink(WebhookTarget):
    """A webhook with its secrets."""

    secret: OwnSecret | None = None
    headers: Headers | None = None


class MqttTarget(RequestBody):
    """Messages at Vigie's own broker, for the organisation's account: one for each item."""

    kind: Literal["mqtt"]


class ServerTarget(RequestBody):
    """A server of the client's."""

    server: Server
    tls: Tls = True
    ca_certificate: CaCertificate = None


class KafkaTarget(RequestBody):
    """A topic of Kafka: one record for each item, with the box as key."""

    kind: Literal["kafka"]
    servers: Annotated[
        list[Server],
        Field(
            min_length=1,
            max_length=10,
            description="Some brokers, as `host:port`",
            examples=[["kafka.example.com:9093"]],
        ),
    ]
    tls: Tls = True
    ca_certificate: CaCertificate = None
    topic: Annotated[str, _text("The topic", "measurements", r"^[A-Za-z0-9._-]{1,249}$")]
    username: Username | None = None
    mechanism: Annotated[
        Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"],
        Field(description="How to log in with `username` and `password`"),
    ] = "SCRAM-SHA-512"


class KafkaSink(KafkaTarget):
    """A topic of Kafka with its password."""

    password: Password | None = None


class NatsTarget(ServerTarget):
    """A stream of NATS JetStream: one message for each item, on `{subject}.{site}.{box}`."""

    kind: Literal["nats"]
    subject: Annotated[
        str,
        _text(
            "The prefix of the subjects. A stream must have the subjects below it",
            "vigie.measurements",
            r"^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$",
        ),
    ] = "vigie.measurements"
    username: Username | None = None


class NatsSink(NatsTarget):
    """A stream of NATS JetStream with its secrets."""

    password: Password | None = None
    token: Token | None = None


class RabbitmqTarget(ServerTarget):
    """An exchange of RabbitMQ: one message for each item, with the routing key `{site}.{box}`."""

    kind: Literal["rabbitmq"]
    virtual_host: Annotated[str, _text("The virtual host", "/")] = "/"
    exchange: Annotated[str, _text("The exchange, which must exist", "vigie.measurements")]
    username: Username


class RabbitmqSink(RabbitmqTarget):
    """An exchange of RabbitMQ with its password."""

    password: Password | None = None


class PostgresqlTarget(ServerTarget):
    """A table of PostgreSQL or TimescaleDB, which Vigie creates: one row for each item."""

    kind: Literal["postgresql"]
    database: Annotated[str, _text("The database", "city")]
    username: Username
    schema_name: Annotated[str, _text("The schema, which must exist", "public")] = "public"
    table: Annotated[str, _text("The table", "vigie_measurements")] = "vigie_measurements"


class PostgresqlSink(PostgresqlTarget):
    """A table of PostgreSQL with its password."""

    password: Password | None = None


class InfluxdbTarget(RequestBody):
    """A database that accepts InfluxDB's line protocol by HTTP."""

    kind: Literal["influxdb"]
    url: Annotated[
        Url,
        Field(
            description="The URL of writes, with its parameters",
            examples=["https://influx.example.com/api/v2/write?org=city&bucket=air"],
        ),
    ]
    measurement: Annotated[str, _text("The measurement of the points", DEFAULT_MEASUREMENT)] = (
        DEFAULT_MEASUREMENT
    )
    username: Username | None = None


class InfluxdbSink(InfluxdbTarget):
    """A database that accepts the line protocol, with its secrets."""

    password: Password | None = None
    token: Token | None = None


class PrometheusTarget(RequestBody):
    """A receiver of Prometheus remote write 1.0, for the latest values."""

    kind: Literal["prometheus"]
    url: Annotated[
        Url,
        Field(
            description="The URL of remote write", examples=["https://prometheus.example.com/api/v1/write"]
        ),
    ]
    username: Username | None = None


class PrometheusSink(PrometheusTarget):
    """A receiver of remote write with its secrets."""

    password: Password | None = None
    token: Token | None = None


type SinkCreate = Annotated[
    WebhookSink
    | MqttTarget
    | KafkaSink
    | NatsSink
    | RabbitmqSink
    | PostgresqlSink
    | InfluxdbSink
    | PrometheusSink,
    Field(discriminator="kind"),
    untag_errors(SINK_KINDS, "sink"),
]
"""A sink of the given `kind`, with its secrets."""

type SinkTarget = Annotated[
    WebhookTarget
    | MqttTarget
    | KafkaTarget
    | NatsTarget
    | RabbitmqTarget
    | PostgresqlTarget
    | InfluxdbTarget
    | PrometheusTarget,
    Field(discriminator="kind"),
]
"""A sink of the given `kind`, without its secrets."""
