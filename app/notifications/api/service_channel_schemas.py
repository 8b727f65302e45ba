"""Defines the request and response bodies of channels to chats, PagerDuty, ntfy and Alertmanager.

The base classes have the fields that channels of every kind share.
"""

import re
from datetime import datetime
from typing import Annotated, Final, Literal
from uuid import UUID

from fastapi.openapi.models import Example
from pydantic import AfterValidator, Field, WithJsonSchema

from app.notifications.api.endpoint_fields import (
    EVENTS_DESCRIPTION,
    GROUPING,
    RECIPIENT,
    SEVERE_EVENTS,
    Events,
    Grouping,
    MinSeverity,
    Recipient,
    Sites,
)
from app.notifications.api.webhook_schemas import Enabled, Rate
from app.notifications.http.service_channel_requests import HTTP_CHANNELS
from app.notifications.http.ssrf_guard import MAX_LENGTH
from app.platform.http.contract.etags import ResourceModel
from app.platform.http.contract.fields import Description, RequestBody, TenantId
from app.platform.http.contract.problems import CodedValueError

Language = Annotated[Literal["en", "fr"], Field(description="The language of messages")]


def build_chat_grouping() -> Grouping:
    """Return the default grouping of alerts in chats."""
    return Grouping(by=["site", "rule"], wait="PT10S", interval="PT5M")


class ChannelCreateBase(RequestBody):
    """Fields of a new channel of any kind."""

    organisation_id: TenantId = None
    site_ids: Sites | None = None
    min_severity: MinSeverity = None
    rate_per_s: Rate | None = None
    description: Description | None = None
    recipient: Recipient = None
    enabled: Enabled = True


class ChannelOutBase(ResourceModel):
    """Fields of a channel of any kind."""

    id: UUID
    organisation_id: UUID
    events: list[str] = Field(examples=[list(SEVERE_EVENTS)])
    site_ids: list[UUID] | None = Field(description="Null: events of every site")
    min_severity: MinSeverity
    grouping: Annotated[Grouping | None, GROUPING]
    rate_per_s: float | None = Field(description="Null: no limit")
    description: str | None
    recipient: Annotated[str | None, RECIPIENT]
    enabled: bool = Field(description="False: new events are not sent here, and pending deliveries wait")
    disabled_reason: str | None = Field(
        description="Why Vigie disabled it: `gone` (it answered 410), or `failing` (it failed for too long)",
        examples=[None],
    )
    disabled_at: datetime | None = Field(description="When Vigie disabled it", examples=[None])
    created_at: datetime
    updated_at: datetime


PAGED_EVENTS: Final = (
    "alert.firing",
    "alert.escalated",
    "alert.deescalated",
    "alert.resolved",
    "alert.acknowledged",
)
"""The default subscription of services that track the state of each alert."""

_SECRET_LIMIT: Final = 1000
_SECRET: Final = re.compile(r"[!-~]{1,1000}")
_ROUTING_KEY_EXAMPLE: Final = "a1b2c3d4e5f60718293a4b5c6d7e8f90"


def _check_secret(value: str) -> str:
    # The error does not show the value: it is a secret.
    if _SECRET.fullmatch(value) is None:
        raise CodedValueError("invalid_value", f"1 to {_SECRET_LIMIT} visible ASCII characters")
    return value


SecretUrl = Annotated[
    str,
    WithJsonSchema({"type": "string", "format": "uri", "maxLength": MAX_LENGTH, "writeOnly": True}),
    Field(
        description="The URL that the service gave for a channel. It is a secret: it is stored encrypted and "
        "never shown again",
        examples=["https://hooks.slack.com/services/T00000000/B00000000/example"],
    ),
]
ServiceUrl = Annotated[
    str,
    WithJsonSchema({"type": "string", "format": "uri", "maxLength": MAX_LENGTH}),
    Field(description="The service's URL. If it changes, give its credentials again"),
]
RoutingKey = Annotated[
    str,
    Field(
        pattern="^[A-Za-z0-9]{32}$",
        description="The integration key of an Events API v2 integration. Stored encrypted, never shown "
        "again",
        examples=[_ROUTING_KEY_EXAMPLE],
    ),
]
Topic = Annotated[
    str,
    Field(
        pattern="^[-_A-Za-z0-9]{1,64}$",
        description="The topic. On a server without accounts, everyone who knows it can read the messages",
        examples=["ville-alertes"],
    ),
]
Token = Annotated[
    str,
    AfterValidator(_check_secret),
    Field(
        max_length=_SECRET_LIMIT,
        description="An access token (`tk_…`) that may publish; null: none. Stored encrypted, never shown "
        "again",
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
        description="The account's password. Stored encrypted, never shown again",
        examples=["correct horse battery staple"],
    ),
]
_EVENTS: Final = Field(description=f"{EVENTS_DESCRIPTION}. Left out: {', '.join(SEVERE_EVENTS)}")
_PAGED: Final = Field(description=f"{EVENTS_DESCRIPTION}. Left out: {', '.join(PAGED_EVENTS)}")
ChatKind = Literal["slack", "teams", "discord"]


class ChatCreate(ChannelCreateBase):
    """A new channel to Slack (incoming webhook), Microsoft Teams (Workflows) or Discord (webhook)."""

    kind: ChatKind
    url: SecretUrl
    language: Language = "en"
    events: Annotated[Events, _EVENTS] = Field(default_factory=lambda: list(SEVERE_EVENTS))
    grouping: Annotated[Grouping | None, GROUPING] = Field(default_factory=build_chat_grouping)


class NtfyCreate(ChannelCreateBase):
    """A new channel to a topic of ntfy."""

    kind: Literal["ntfy"]
    url: ServiceUrl = HTTP_CHANNELS["ntfy"].url or ""
    topic: Topic
    token: Token | None = None
    language: Language = "en"
    events: Annotated[Events, _EVENTS] = Field(default_factory=lambda: list(SEVERE_EVENTS))
    grouping: Annotated[Grouping | None, GROUPING] = Field(default_factory=build_chat_grouping)


class PagerDutyCreate(ChannelCreateBase):
    """A new channel to a service of PagerDuty, which tracks each alert by its id."""

    kind: Literal["pagerduty"]
    url: ServiceUrl = HTTP_CHANNELS["pagerduty"].url or ""
    routing_key: RoutingKey
    language: Language = "en"
    events: Annotated[Events, _PAGED] = Field(default_factory=lambda: list(PAGED_EVENTS))


class AlertmanagerCreate(ChannelCreateBase):
    """A new channel to an Alertmanager (API v2), which routes the alerts to its receivers."""

    kind: Literal["alertmanager"]
    url: Annotated[ServiceUrl, Field(examples=["https://alertmanager.example.com"])]
    username: Username | None = None
    password: Password | None = None
    events: Annotated[Events, _PAGED] = Field(default_factory=lambda: list(PAGED_EVENTS))


class ChatOut(ChannelOutBase):
    """A channel to Slack, Microsoft Teams or Discord."""

    kind: ChatKind
    host: str = Field(
        description="Scheme, host and port of the URL; the rest is secret",
        examples=["https://hooks.slack.com"],
    )
    language: Literal["en", "fr"]


class NtfyOut(ChannelOutBase):
    """A channel to a topic of ntfy."""

    kind: Literal["ntfy"]
    url: str = Field(examples=["https://ntfy.sh"])
    topic: str = Field(examples=["ville-alertes"])
    has_token: bool = Field(description="Whether a token is stored")
    language: Literal["en", "fr"]


class PagerDutyOut(ChannelOutBase):
    """A channel to a service of PagerDuty."""

    kind: Literal["pagerduty"]
    url: str = Field(examples=["https://events.pagerduty.com/v2/enqueue"])
    language: Literal["en", "fr"]


class AlertmanagerOut(ChannelOutBase):
    """A channel to an Alertmanager."""

    kind: Literal["alertmanager"]
    url: str = Field(examples=["https://alertmanager.example.com"])
    username: str | None = Field(description="The account; null: none", examples=["vigie"])


type HttpChannelCreate = ChatCreate | NtfyCreate | PagerDutyCreate | AlertmanagerCreate
"""A new channel to an HTTP service."""

type HttpChannelOut = ChatOut | NtfyOut | PagerDutyOut | AlertmanagerOut
"""A channel to an HTTP service."""

OUT_BY_KIND: Final[dict[str, type[ChatOut | NtfyOut | PagerDutyOut | AlertmanagerOut]]] = {
    **dict.fromkeys(("slack", "teams", "discord"), ChatOut),
    "ntfy": NtfyOut,
    "pagerduty": PagerDutyOut,
    "alertmanager": AlertmanagerOut,
}
"""The response body of each kind."""

HTTP_FIELDS: Final[dict[str, tuple[str, ...]]] = {
    **dict.fromkeys(("slack", "teams", "discord"), ("url", "language", "grouping")),
    "ntfy": ("url", "topic", "token", "language", "grouping"),
    "pagerduty": ("url", "routing_key", "language"),
    "alertmanager": ("url", "username", "password"),
}
"""By kind, the fields that not every channel has."""

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
        "summary": "PagerDuty, critical alerts only",
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
"""Examples for Swagger UI, one for each kind."""
