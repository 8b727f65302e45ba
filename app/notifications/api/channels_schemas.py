"""Defines the request and response bodies of channels: e-mail, MQTT, and HTTP services."""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from fastapi.openapi.models import Example
from pydantic import BaseModel, ConfigDict, Field

from app.notifications.api.endpoint_fields import (
    EVENTS_DESCRIPTION,
    GROUPING,
    SEVERE_EVENTS,
    Events,
    Grouping,
    MinSeverity,
    Recipient,
    Sites,
)
from app.notifications.api.service_channel_schemas import (
    HTTP_EXAMPLES,
    HTTP_FIELDS,
    OUT_BY_KIND,
    AlertmanagerCreate,
    AlertmanagerOut,
    ChannelCreateBase,
    ChannelOutBase,
    ChatCreate,
    ChatOut,
    HttpChannelOut,
    Language,
    NtfyCreate,
    NtfyOut,
    PagerDutyCreate,
    PagerDutyOut,
    Password,
    RoutingKey,
    ServiceUrl,
    Token,
    Topic,
    Username,
)
from app.notifications.api.webhook_schemas import Rate
from app.notifications.delivery.models import Endpoint
from app.notifications.email.allowed_recipients import MAX_RECIPIENTS
from app.notifications.events.event_types import ALL_EVENTS
from app.notifications.http.service_channel_requests import HTTP_CHANNELS
from app.notifications.mqtt.mqtt_transport import build_topic_root
from app.platform.http.contract.fields import Description, RequestBody, make_omittable_field
from app.platform.http.contract.tagged_unions import untag_errors
from app.registry.broker_password_file import make_account_username

type ChannelKind = Literal["email", "mqtt", "slack", "teams", "discord", "pagerduty", "ntfy", "alertmanager"]
"""The kinds of channels."""

_KINDS: Final = ("email", "mqtt", *HTTP_CHANNELS)

Recipients = Annotated[
    list[str],
    Field(
        min_length=1,
        max_length=MAX_RECIPIENTS,
        description="Recipients. They see each other's addresses",
        examples=[["night-shift@example.com"]],
    ),
]
Notices = Annotated[
    bool,
    Field(
        description="Whether to mail notices about the organisation's failing endpoints and its quotas too"
    ),
]
MqttFormat = Annotated[
    Literal["native", "cloudevents"],
    Field(description="The format of payloads: Vigie's own, or CloudEvents 1.0 in JSON"),
]


def _mail_grouping() -> Grouping:
    return Grouping(by=["site", "rule"], wait="PT30S", interval="PT5M")


class EmailCreate(ChannelCreateBase):
    """A new e-mail channel."""

    kind: Literal["email"]
    to: Recipients
    language: Language = "en"
    notices: Notices = True
    events: Annotated[
        Events, Field(description=f"{EVENTS_DESCRIPTION}. Left out: {', '.join(SEVERE_EVENTS)}")
    ] = Field(default_factory=lambda: list(SEVERE_EVENTS))
    grouping: Annotated[Grouping | None, GROUPING] = Field(default_factory=_mail_grouping)


class MqttCreate(ChannelCreateBase):
    """A new MQTT channel, which publishes at the broker. An organisation has at most one."""

    kind: Literal["mqtt"]
    format: MqttFormat = "native"
    events: Annotated[Events, Field(description=f"{EVENTS_DESCRIPTION}. Left out: `{ALL_EVENTS}`")] = Field(
        default_factory=lambda: [ALL_EVENTS]
    )
    grouping: Annotated[Grouping | None, GROUPING] = None


type ChannelCreate = Annotated[
    EmailCreate | MqttCreate | ChatCreate | NtfyCreate | PagerDutyCreate | AlertmanagerCreate,
    Field(discriminator="kind"),
    untag_errors(_KINDS, "channel"),
]
"""A new channel of the given `kind`."""

EXAMPLES: Final[dict[str, Example]] = {
    "email": {
        "summary": "Mails, several alerts in one",
        "value": {"kind": "email", "to": ["night-shift@example.com"], "language": "en"},
    },
    "email-critical": {
        "summary": "Mails for critical alerts only, within seconds",
        "value": {
            "kind": "email",
            "to": ["night-shift@example.com"],
            "min_severity": "critical",
            "grouping": {"by": ["site"], "wait": "PT5S", "interval": "PT1M"},
        },
    },
    "mqtt": {
        "summary": "MQTT",
        "value": {"kind": "mqtt", "format": "native"},
    },
    "mqtt-cloudevents": {
        "summary": "MQTT, CloudEvents",
        "value": {"kind": "mqtt", "format": "cloudevents", "events": ["alert.firing", "alert.resolved"]},
    },
    **HTTP_EXAMPLES,
}
"""Examples for Swagger UI: at least one for each kind."""

FIELDS_BY_KIND: Final[Mapping[str, tuple[str, ...]]] = {
    "email": ("to", "language", "notices", "grouping"),
    "mqtt": ("format", "grouping"),
    **HTTP_FIELDS,
}
"""By kind, the fields that not every kind has."""

KIND_SPECIFIC_FIELDS: Final = tuple(
    dict.fromkeys(name for names in FIELDS_BY_KIND.values() for name in names)
)
"""All fields that not every kind has."""


class ChannelChange(RequestBody):
    """A change of a channel. Each kind accepts the fields of its creation.

    If the `url` of a channel with a secret changes, give the secret again.
    """

    model_config = ConfigDict(json_schema_extra={"examples": [{"events": ["*"], "enabled": True}]})

    to: Recipients = make_omittable_field()
    language: Language = make_omittable_field()
    notices: Notices = make_omittable_field()
    format: MqttFormat = make_omittable_field()
    url: ServiceUrl = make_omittable_field()
    routing_key: RoutingKey = make_omittable_field()
    topic: Topic = make_omittable_field()
    token: Token | None = make_omittable_field()
    username: Username | None = make_omittable_field()
    password: Password | None = make_omittable_field()
    events: Events = make_omittable_field()
    site_ids: Sites | None = make_omittable_field()
    min_severity: MinSeverity = make_omittable_field()
    grouping: Annotated[Grouping | None, GROUPING] = make_omittable_field()
    rate_per_s: Rate | None = make_omittable_field()
    description: Description | None = make_omittable_field()
    recipient: Recipient = make_omittable_field()
    enabled: bool = make_omittable_field()


class EmailOut(ChannelOutBase):
    """An e-mail channel."""

    kind: Literal["email"]
    to: list[str] = Field(examples=[["night-shift@example.com"]], description="The recipients")
    language: Literal["en", "fr"]
    notices: bool


class MqttOut(ChannelOutBase):
    """An MQTT channel, which publishes at the broker."""

    kind: Literal["mqtt"]
    format: Literal["native", "cloudevents"]
    username: str = Field(
        description="The account at the broker that may subscribe: `@` and the organisation's id",
        examples=["@0199d1c5-7a3e-7c54-9d1e-5b6f0a2c8e11"],
    )
    topic: str = Field(
        description="The topic filter to subscribe to. The levels after the prefix are the site's id (or "
        "`-`) "
        "and the event's type",
        examples=["vigie/v1/@0199d1c5-7a3e-7c54-9d1e-5b6f0a2c8e11/alerts/#"],
    )


class BrokerCredentials(BaseModel):
    """A broker account that may read its organisation's alerts. The password is shown once."""

    username: str = Field(examples=["@0199d1c5-7a3e-7c54-9d1e-5b6f0a2c8e11"])
    password: str = Field(examples=["…"])


class MqttCreated(MqttOut):
    """A new MQTT channel, with credentials that are shown only here."""

    once = frozenset({"credentials"})

    credentials: BrokerCredentials


class PasswordOut(BaseModel):
    """A new password of an MQTT channel, shown only here."""

    id: UUID = Field(description="The channel")
    credentials: BrokerCredentials


type ChannelOut = Annotated[
    EmailOut | MqttOut | ChatOut | NtfyOut | PagerDutyOut | AlertmanagerOut, Field(discriminator="kind")
]
"""A channel of the given `kind`."""

type ChannelCreated = Annotated[
    EmailOut | MqttCreated | ChatOut | NtfyOut | PagerDutyOut | AlertmanagerOut, Field(discriminator="kind")
]
"""A new channel of the given `kind`, with its credentials."""


def present_channel(row: Endpoint) -> EmailOut | MqttOut | HttpChannelOut:
    """Convert a row to its response body."""
    stored: dict[str, Any] = {column.key: getattr(row, column.key) for column in row.__mapper__.columns}
    if row.kind == "email":
        return EmailOut.model_validate({**stored, **(row.target or {})})
    if row.kind in OUT_BY_KIND:
        has_token = row.credentials is not None
        return OUT_BY_KIND[row.kind].model_validate({**stored, "has_token": has_token, **(row.target or {})})
    organisation = row.organisation_id
    return MqttOut.model_validate(
        {
            **stored,
            "username": make_account_username(organisation),
            "topic": f"{build_topic_root(organisation)}/#",
        }
    )


def present_created_channel(row: Endpoint, password: str | None) -> EmailOut | MqttCreated | HttpChannelOut:
    """Convert a new row to its response body; an MQTT channel includes its password."""
    channel = present_channel(row)
    if not isinstance(channel, MqttOut):
        return channel
    if password is None:
        raise ValueError("a new MQTT channel has a password")
    return MqttCreated(
        **channel.model_dump(), credentials=build_broker_credentials(row.organisation_id, password)
    )


def build_broker_credentials(organisation_id: UUID, password: str) -> BrokerCredentials:
    """Return an organisation's broker account with its password."""
    return BrokerCredentials(username=make_account_username(organisation_id), password=password)
