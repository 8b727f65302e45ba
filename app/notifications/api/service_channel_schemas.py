"""The shapes of channels to services by HTTP: chats, PagerDuty, ntfy, Alertmanager. Shapes only."""

import re
from typing import Annotated, Final, Literal

from fastapi.openapi.models import Example
from pydantic import AfterValidator, Field, WithJsonSchema

from app.notifications.api.channel_fields import (
    ChannelCreateBase,
    ChannelOutBase,
    Language,
    build_chat_grouping,
)
from app.notifications.api.endpoint_fields import (
    EVENTS_DESCRIPTION,
    GROUPING,
    SEVERE_EVENTS,
    Events,
    Grouping,
)
from app.notifications.http.service_channels import HTTP_CHANNELS
from app.notifications.http.ssrf_guard import MAX_LENGTH
from app.platform.http.contract.problems import CodedValueError

PAGED_EVENTS: Final = (
    "alert.firing",
    "alert.escalated",
    "alert.deescalated",
    "alert.resolved",
    "alert.acknowledged",
)
"""What a service is sent by default that has a state of each alert."""

_SECRET_LIMIT: Final = 1000
_SECRET: Final = re.compile(r"[!-~]{1,1000}")
_ROUTING_KEY_EXAMPLE: Final = "a1b2c3d4e5f60718293a4b5c6d7e8f90"


def _check_secret(value: str) -> str:
    # The value is not shown: it is a secret.
    if _SECRET.fullmatch(value) is None:
        raise CodedValueError("invalid_value", f"1 to {_SECRET_LIMIT} visible ASCII characters")
    return value


SecretUrl = Annotated[
    str,
    WithJsonSchema({"type": "string", "format": "uri", "maxLength": MAX_LENGTH, "writeOnly": True}),
    Field(
        description="The address that the service gave for a channel. It is a password: it is stored sealed, "
        "and never shown again",
        examples=["https://hooks.slack.com/services/T00000000/B00000000/example"],
    ),
]
ServiceUrl = Annotated[
    str,
    WithJsonSchema({"type": "string", "format": "uri", "maxLength": MAX_LENGTH}),
    Field(description="The service's address. Where it changes, its credentials have to be given again"),
]
RoutingKey = Annotated[
    str,
    Field(
        pattern="^[A-Za-z0-9]{32}$",
        description="The integration key of an Events API v2 integration. Stored sealed, never shown again",
        examples=[_ROUTING_KEY_EXAMPLE],
    ),
]
Topic = Annotated[
    str,
    Field(
        pattern="^[-_A-Za-z0-9]{1,64}$",
        description="The topic. On a server that asks for no account, whoever knows it reads the messages",
        examples=["ville-alertes"],
    ),
]
Token = Annotated[
    str,
    AfterValidator(_check_secret),
    Field(
        max_length=_SECRET_LIMIT,
        description="An access token (`tk_…`) that may publish; null: none. Stored sealed, never shown again",
        examples=["tk_example"],
    ),
]
Username = Annotated[
    str,
    Field(
        pattern=r"^[^\x00-\x1f:\x7f]{1,200}$",
        description="The account for basic authentication; null: none",
        examples=["vigie"],
    ),
]
Password = Annotated[
    str,
    Field(
        min_length=1,
        max_length=_SECRET_LIMIT,
        pattern=r"^[^\x00-\x1f\x7f]*$",
        description="Its password. Stored sealed, never shown again",
        examples=["correct horse battery staple"],
    ),
]
_EVENTS: Final = Field(description=f"{EVENTS_DESCRIPTION}. Left out: {', '.join(SEVERE_EVENTS)}")
_PAGED: Final = Field(description=f"{EVENTS_DESCRIPTION}. Left out: {', '.join(PAGED_EVENTS)}")
ChatKind = Literal["slack", "teams", "discord"]


class ChatCreate(ChannelCreateBase):
    """Messages to a channel of Slack (incoming webhook), Microsoft Teams (Workflows) or Discord (webhook)."""

    kind: ChatKind
    url: SecretUrl
    language: Language = "en"
    events: Annotated[Events, _EVENTS] = Field(default_factory=lambda: list(SEVERE_EVENTS))
    grouping: Annotated[Grouping | None, GROUPING] = Field(default_factory=build_chat_grouping)


class NtfyCreate(ChannelCreateBase):
    """Messages to a topic of ntfy."""

    kind: Literal["ntfy"]
    url: ServiceUrl = HTTP_CHANNELS["ntfy"].url or ""
    topic: Topic
    token: Token | None = None
    language: Language = "en"
    events: Annotated[Events, _EVENTS] = Field(default_factory=lambda: list(SEVERE_EVENTS))
    grouping: Annotated[Grouping | None, GROUPING] = Field(default_factory=build_chat_grouping)


class PagerDutyCreate(ChannelCreateBase):
    """Events to a service of PagerDuty: an alert is triggered, acknowledged and resolved under its id."""

    kind: Literal["pagerduty"]
    url: ServiceUrl = HTTP_CHANNELS["pagerduty"].url or ""
    routing_key: RoutingKey
    language: Language = "en"
    events: Annotated[Events, _PAGED] = Field(default_factory=lambda: list(PAGED_EVENTS))


class AlertmanagerCreate(ChannelCreateBase):
    """Alerts to an Alertmanager (API v2), whose routes lead on."""

    kind: Literal["alertmanager"]
    url: Annotated[ServiceUrl, Field(examples=["https://alertmanager.example.com"])]
    username: Username | None = None
    password: Password | None = None
    events: Annotated[Events, _PAGED] = Field(default_factory=lambda: list(PAGED_EVENTS))


class ChatOut(ChannelOutBase):
    """Messages to a channel of a chat."""

    kind: ChatKind
    host: str = Field(
        description="Scheme, host and port of the address; the rest is a password",
        examples=["https://hooks.slack.com"],
    )
    language: Literal["en", "fr"]


class NtfyOut(ChannelOutBase):
    """Messages to a topic of ntfy."""

    kind: Literal["ntfy"]
    url: str = Field(examples=["https://ntfy.sh"])
    topic: str = Field(examples=["ville-alertes"])
    has_token: bool = Field(description="Whether a token is stored")
    language: Literal["en", "fr"]


class PagerDutyOut(ChannelOutBase):
    """Events to a service of PagerDuty."""

    kind: Literal["pagerduty"]
    url: str = Field(examples=["https://events.pagerduty.com/v2/enqueue"])
    language: Literal["en", "fr"]


class AlertmanagerOut(ChannelOutBase):
    """Alerts to an Alertmanager."""

    kind: Literal["alertmanager"]
    url: str = Field(examples=["https://alertmanager.example.com"])
    username: str | None = Field(description="The account; null: none", examples=["vigie"])


type HttpChannelCreate = ChatCreate | NtfyCreate | PagerDutyCreate | AlertmanagerCreate
"""A channel by HTTP to be."""

type HttpChannelOut = ChatOut | NtfyOut | PagerDutyOut | AlertmanagerOut
"""A channel by HTTP."""

OUT_BY_KIND: Final[dict[str, type[ChatOut | NtfyOut | PagerDutyOut | AlertmanagerOut]]] = {
    **dict.fromkeys(("slack", "teams", "discord"), ChatOut),
    "ntfy": NtfyOut,
    "pagerduty": PagerDutyOut,
    "alertmanager": AlertmanagerOut,
}
"""The shape of each kind."""

HTTP_FIELDS: Final[dict[str, tuple[str, ...]]] = {
    **dict.fromkeys(("slack", "teams", "discord"), ("url", "language", "grouping")),
    "ntfy": ("url", "topic", "token", "language", "grouping"),
    "pagerduty": ("url", "routing_key", "language"),
    "alertmanager": ("url", "username", "password"),
}
"""The fields that not every channel has, by kind."""

HTTP_EXAMPLES: Final[dict[str, Example]] = {
    "slack": {
        "summary": "Slack",
        "value": {
            "kind": "slack",
            "url": "https://hooks.slack.com/services/T00000000/B00000000/example",
            "language": "fr",
        },
    },
    "teams": {
        "summary": "Microsoft Teams",
        "value": {
            "kind": "teams",
            "url": "https://prod-00.westeurope.logic.azure.com/workflows/example/triggers/manual/paths/invoke",
        },
    },
    "discord": {
        "summary": "Discord",
        "value": {"kind": "discord", "url": "https://discord.com/api/webhooks/1234567890/example"},
    },
    "pagerduty": {
        "summary": "PagerDuty, critical alerts alone",
        "value": {"kind": "pagerduty", "routing_key": _ROUTING_KEY_EXAMPLE, "min_severity": "critical"},
    },
    "ntfy": {
        "summary": "ntfy",
        "value": {
            "kind": "ntfy",
            "url": "https://ntfy.example.com",
            "topic": "ville-alertes",
            "token": "tk_example",
        },
    },
    "alertmanager": {
        "summary": "Alertmanager",
        "value": {
            "kind": "alertmanager",
            "url": "https://alertmanager.example.com",
            "username": "vigie",
            "password": "correct horse battery staple",
        },
    },
}
"""One for each kind, for Swagger UI."""
