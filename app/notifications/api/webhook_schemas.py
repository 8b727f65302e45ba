"""Defines the request and response bodies of webhooks and of their secrets."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Final, Self
from uuid import UUID

from fastapi.openapi.models import Example
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema, model_validator
from pydantic.config import JsonDict

from app.notifications.api.endpoint_fields import (
    DEFAULT_EVENTS,
    GROUPING,
    GROUPING_EXAMPLE,
    RECIPIENT,
    SEVERE_EVENTS,
    Events,
    Format,
    Grouping,
    MinSeverity,
    Recipient,
    Sites,
    build_duration_validator,
    choose_default_events,
)
from app.notifications.api.webhook_header_fields import MASKED, Headers
from app.notifications.delivery.models import Endpoint
from app.notifications.http.ssrf_guard import MAX_LENGTH
from app.notifications.http.webhook_signatures import decode_secret
from app.platform.http.contract.etags import ResourceModel
from app.platform.http.contract.fields import (
    DURATION,
    Description,
    RequestBody,
    TenantId,
    make_omittable_field,
)
from app.platform.http.contract.problems import CodedValueError

_LONGEST_OVERLAP_S: Final = 7 * 86_400
_MOST_PER_S: Final = 1000
_LEAST_PER_S: Final = 0.01
_MOST_CONCURRENT: Final = 100

Url = Annotated[
    str,
    WithJsonSchema({"type": "string", "format": "uri", "maxLength": MAX_LENGTH}),
    Field(description="The URL to post events to: https, a public host, no user info, no fragment"),
]
_URL_EXAMPLE: Final = "https://example.com/hooks/vigie"


def _check_secret(secret: str) -> str:
    try:
        decode_secret(secret)
    except ValueError as error:
        raise CodedValueError("invalid_webhook_secret", str(error)) from None
    return secret


OwnSecret = Annotated[
    str,
    AfterValidator(_check_secret),
    Field(
        description="Your own secret: `whsec_` and 24 to 64 random bytes in base64. By default, Vigie "
        "generates one",
        examples=["whsec_YW4gZXhhbXBsZSwgbm90IGEgc2VjcmV0"],
        json_schema_extra={"pattern": "^whsec_[A-Za-z0-9+/]{32,86}={0,2}$"},
    ),
]
BodyFormat = Annotated[
    Format,
    Field(
        description="The format of bodies: Vigie's own, CloudEvents 1.0 in JSON, or that of Prometheus "
        "Alertmanager's webhooks. A change applies to future deliveries"
    ),
]
Rate = Annotated[
    float,
    Field(
        ge=_LEAST_PER_S,
        le=_MOST_PER_S,
        description="Rate limit: attempts a second, with a burst of a tenth of it, at least one; null: no "
        "limit",
    ),
]
Concurrency = Annotated[
    int,
    Field(
        ge=1,
        le=_MOST_CONCURRENT,
        description="The most concurrent attempts; null: the installation's default",
    ),
]
Enabled = Annotated[
    bool,
    Field(
        description="False: new events are not sent to it, and pending deliveries wait until it is enabled"
    ),
]
_HEADERS: Final = (
    "Your own headers for each POST, up to 20, by name. Stored encrypted, and shown as `…`; null: none"
)
_FULL_EXAMPLE: Final[JsonDict] = {
    "url": _URL_EXAMPLE,
    "format": "cloudevents",
    "min_severity": "warning",
    "events": list(SEVERE_EVENTS),
    "headers": {"Authorization": "Bearer example"},
    "rate_per_s": 10,
    "concurrency": 2,
}


class EndpointCreate(RequestBody):
    """A new webhook."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"url": _URL_EXAMPLE, "events": list(DEFAULT_EVENTS)},
                {"url": _URL_EXAMPLE, "events": list(DEFAULT_EVENTS), "grouping": GROUPING_EXAMPLE},
                _FULL_EXAMPLE,
            ]
        }
    )

    organisation_id: TenantId = None
    url: Url
    format: BodyFormat = "native"
    events: Events = Field(default_factory=lambda: list(DEFAULT_EVENTS))
    site_ids: Sites | None = None
    min_severity: MinSeverity = None
    grouping: Annotated[Grouping | None, GROUPING] = None
    secret: OwnSecret | None = None
    headers: Annotated[Headers | None, Field(description=_HEADERS)] = None
    rate_per_s: Rate | None = None
    concurrency: Concurrency | None = None
    description: Description | None = None
    recipient: Recipient = None
    enabled: Enabled = True

    @model_validator(mode="after")
    def _usual_events(self) -> Self:
        if "events" not in self.model_fields_set:
            self.events = choose_default_events(self.min_severity)
        return self


class EndpointChange(RequestBody):
    """A change of a webhook. `headers` replaces all headers; null removes them."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"events": ["*"], "enabled": True},
                {"min_severity": "critical", "headers": {"Authorization": "Bearer example"}, "rate_per_s": 5},
            ]
        }
    )

    url: Url = make_omittable_field()
    format: BodyFormat = make_omittable_field()
    events: Events = make_omittable_field()
    site_ids: Sites | None = make_omittable_field()
    min_severity: MinSeverity = make_omittable_field()
    grouping: Annotated[Grouping | None, GROUPING] = make_omittable_field()
    headers: Headers | None = make_omittable_field()
    rate_per_s: Rate | None = make_omittable_field()
    concurrency: Concurrency | None = make_omittable_field()
    description: Description | None = make_omittable_field()
    recipient: Recipient = make_omittable_field()
    enabled: bool = make_omittable_field()


class EndpointOut(ResourceModel):
    """A webhook: a URL to which Vigie posts events."""

    # Former secrets expire without a change of the row.
    volatile = frozenset({"secret_expires"})

    id: UUID
    organisation_id: UUID
    url: str = Field(examples=[_URL_EXAMPLE])
    format: Format
    events: list[str] = Field(examples=[list(DEFAULT_EVENTS)])
    site_ids: list[UUID] | None = Field(description="Null: events of every site")
    min_severity: MinSeverity
    grouping: Annotated[Grouping | None, GROUPING]
    headers: dict[str, str] | None = Field(
        description=f"The headers' names; each value is shown as `{MASKED}`, and so is a name that this "
        "installation has no key to decrypt",
        examples=[{"Authorization": MASKED}],
    )
    rate_per_s: float | None = Field(description="Null: no limit")
    concurrency: int | None = Field(description="Null: the installation's default")
    secret_expires: list[datetime] = Field(
        description="When the former secrets stop signing, soonest first; empty if there are none"
    )
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

    @classmethod
    def of(
        cls, row: Endpoint, headers: Mapping[str, str] | None, secret_expires: Sequence[datetime]
    ) -> "EndpointOut":
        """Convert a row to its response body, with the masked headers."""
        stored = {name: getattr(row, name) for name in cls.model_fields if name in row.__mapper__.columns}
        return cls.model_validate({**stored, "headers": headers, "secret_expires": secret_expires})


class EndpointCreated(EndpointOut):
    """A new webhook. Its secret is shown only here."""

    once = frozenset({"secret"})

    secret: str = Field(
        description="Verifies signatures: Standard Webhooks 1.0",
        examples=["whsec_YW4gZXhhbXBsZSwgbm90IGEgc2VjcmV0"],
    )


class SecretRotate(RequestBody):
    """A replacement of a webhook's secret."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"overlap": "P1D"}]})

    overlap: Annotated[
        str,
        build_duration_validator(_LONGEST_OVERLAP_S, "7 days"),
        DURATION,
        Field(
            description="How long the former secrets still sign beside the new one: ISO 8601, up to P7D; "
            "PT0S ends them immediately"
        ),
    ] = "P1D"
    secret: OwnSecret | None = None


ROTATIONS: Final[dict[str, Example]] = {
    "overlap": {"summary": "The former secret signs too, for a day", "value": {"overlap": "P1D"}},
    "leaked": {"summary": "The former secret has leaked", "value": {"overlap": "PT0S"}},
    "own": {
        "summary": "Your own secret",
        "value": {"overlap": "PT1H", "secret": "whsec_cErIGOYOFUvn4zAu2Hd5vHTlH/iNXbct3chr74aKkDc="},
    },
}
"""Examples for Swagger UI, which shows none of the model's own for an optional body."""


class SecretOut(BaseModel):
    """A new secret, shown only here."""

    id: UUID = Field(description="The webhook, or the subscription to measurements")
    secret: str = Field(examples=["whsec_YW4gZXhhbXBsZSwgbm90IGEgc2VjcmV0"])
    former_expire_at: datetime | None = Field(
        description="When the last of the former secrets stops signing; null if they ended immediately"
    )


class TestOut(BaseModel):
    """A test event that is on its way."""

    __test__ = False  # Else pytest collects the class for its name.

    event_id: UUID
    webhook_id: str = Field(description="The `webhook-id` of its delivery", examples=["msg_0199…"])
