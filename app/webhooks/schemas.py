"""The shapes of endpoints and deliveries on the wire. Shapes only."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Final, Literal
from uuid import UUID

import msgspec
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema
from pydantic.config import JsonDict

from app.core.fields import Body, Description, Identifier, TenantId, absent
from app.core.instants import parse_iso_duration
from app.core.problems import CodedValueError
from app.core.reasons import RejectedError, shown
from app.webhooks.event_types import ALL_EVENTS, EVENTS
from app.webhooks.grouping import GROUP_EVENT, LABELS
from app.webhooks.guard import MAX_LENGTH
from app.webhooks.models import Attempt, Delivery, Endpoint
from app.webhooks.transport import REASONS, message_id

_DEFAULT_EVENTS: Final = ("alert.firing", "alert.resolved")
_SITES_LIMIT: Final = 1000
_LONGEST_WAIT_S: Final = 15 * 60
_LONGEST_INTERVAL_S: Final = 24 * 3600

type State = Literal["pending", "delivered", "failed"]


def _check_events(events: list[str]) -> list[str]:
    for event in events:
        if event != ALL_EVENTS and event not in EVENTS:
            raise CodedValueError(
                "unknown_event_type", f"{shown(event)} is not an event: {ALL_EVENTS}, {', '.join(EVENTS)}"
            )
    return list(dict.fromkeys(events))


Events = Annotated[
    list[str],
    Field(
        min_length=1,
        max_length=32,
        description=f"Which events are sent: `{ALL_EVENTS}` for all, also those to come, or some of: "
        f"{', '.join(EVENTS)}",
    ),
    AfterValidator(_check_events),
]
Sites = Annotated[
    list[Identifier],
    Field(min_length=1, max_length=_SITES_LIMIT, description="Only events of these sites; null: of all"),
    AfterValidator(lambda ids: list(dict.fromkeys(ids))),
]
Url = Annotated[
    str,
    WithJsonSchema({"type": "string", "format": "uri", "maxLength": MAX_LENGTH}),
    Field(description="Where events are posted: https, a public host, no user info, no fragment"),
]
_URL_EXAMPLE: Final = "https://example.com/hooks/vigie"
_GROUPING_EXAMPLE: Final[JsonDict] = {"by": ["site", "rule"], "wait": "PT10S", "interval": "PT5M"}


def _span(longest_s: float, called: str) -> AfterValidator:
    def check(value: str) -> str:
        try:
            seconds = parse_iso_duration(value)
        except RejectedError as error:
            raise CodedValueError(error.code, error.detail) from None
        if seconds > longest_s:
            raise CodedValueError("invalid_duration", f"{shown(value)} is longer than {called}")
        return value

    return AfterValidator(check)


class Grouping(Body):
    """How the events of alerts are put together in one notification."""

    model_config = ConfigDict(json_schema_extra={"examples": [_GROUPING_EXAMPLE]})

    by: Annotated[
        list[Literal["site", "rule", "severity", "box"]],
        Field(
            min_length=1,
            max_length=len(LABELS),
            description="Events for which all of these are the same go together",
        ),
        AfterValidator(lambda names: list(dict.fromkeys(names))),
    ]
    wait: Annotated[
        str,
        _span(_LONGEST_WAIT_S, "15 minutes"),
        Field(description="From the first event to the notification: ISO 8601, up to PT15M"),
    ] = "PT10S"
    interval: Annotated[
        str,
        _span(_LONGEST_INTERVAL_S, "a day"),
        Field(description="From one notification of a group to its next, at least: ISO 8601, up to P1D"),
    ] = "PT5M"


_GROUPING: Final = Field(
    description=f"Null: each event on its own. Else those of alerts are sent together, as `{GROUP_EVENT}`"
)


class EndpointCreate(Body):
    """An endpoint to be."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"url": _URL_EXAMPLE, "events": list(_DEFAULT_EVENTS)},
                {"url": _URL_EXAMPLE, "events": list(_DEFAULT_EVENTS), "grouping": _GROUPING_EXAMPLE},
            ]
        }
    )

    organisation_id: TenantId = None
    url: Url
    events: Events = Field(default_factory=lambda: list(_DEFAULT_EVENTS))
    site_ids: Sites | None = None
    grouping: Annotated[Grouping | None, _GROUPING] = None
    description: Description | None = None
    enabled: bool = True


class EndpointChange(Body):
    """What may change of an endpoint."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"events": ["*"], "enabled": True}]})

    url: Url = absent()
    events: Events = absent()
    site_ids: Sites | None = absent()
    grouping: Annotated[Grouping | None, _GROUPING] = absent()
    description: Description | None = absent()
    enabled: bool = absent()


class EndpointOut(BaseModel):
    """Where a client wants its alerts sent."""

    id: UUID
    organisation_id: UUID
    url: str = Field(examples=[_URL_EXAMPLE])
    events: list[str] = Field(examples=[list(_DEFAULT_EVENTS)])
    site_ids: list[UUID] | None = Field(description="Null: events of every site")
    grouping: Annotated[Grouping | None, _GROUPING]
    description: str | None
    enabled: bool = Field(description="False: nothing new is sent here, and what is pending waits")
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, row: Endpoint) -> "EndpointOut":
        """The shape of a row."""
        return cls.model_validate(row, from_attributes=True)


class EndpointCreated(EndpointOut):
    """A new endpoint. Its secret is shown here and never again."""

    secret: str = Field(description="Verifies signatures: Standard Webhooks 1.0", examples=["whsec_…"])


class SecretOut(BaseModel):
    """A new secret, shown here and never again."""

    id: UUID = Field(description="The endpoint")
    secret: str = Field(examples=["whsec_…"])


class TestOut(BaseModel):
    """A test event that is under way."""

    __test__ = False  # pytest takes classes of this name for tests

    event_id: UUID
    webhook_id: str = Field(description="The `webhook-id` that it will carry", examples=["msg_0199…"])


class AttemptOut(BaseModel):
    """One POST."""

    number: int = Field(description="From 1; goes on after a replay")
    time: datetime = Field(description="When it began")
    status: int | None = Field(description="The HTTP status; null when none arrived", examples=[204])
    duration_ms: float
    reason: str = Field(description=f"One of: {', '.join(REASONS)}", examples=["delivered"])
    body: str | None = Field(description="The beginning of the answer's body")

    @classmethod
    def of(cls, row: Attempt) -> "AttemptOut":
        """The shape of a row."""
        return cls(
            number=row.number,
            time=row.started_at,
            status=row.status,
            duration_ms=round(row.duration_ms, 3),
            reason=row.reason,
            body=row.response_body,
        )


class DeliveryOut(BaseModel):
    """One event, or a group of them, for one endpoint."""

    id: UUID
    organisation_id: UUID
    endpoint_id: UUID
    event_id: UUID
    webhook_id: str = Field(description="The `webhook-id` of each attempt", examples=["msg_0199…"])
    type: str = Field(examples=["alert.firing", GROUP_EVENT])
    state: State = Field(description="`failed`: given up after the last attempt of the schedule")
    due_at: datetime | None = Field(description="When the next attempt is due; null when there is none")
    created_at: datetime = Field(description="When the event happened, or the group was put together")
    delivered_at: datetime | None
    attempts: list[AttemptOut] = Field(description="The first first")

    @classmethod
    def of(cls, row: Delivery, attempts: Sequence[Attempt]) -> "DeliveryOut":
        """The shape of a row and its attempts."""
        return cls.model_validate(_fields(row, attempts))


class DeliveryDetail(DeliveryOut):
    """One event, or a group of them, for one endpoint, with what is sent."""

    body: dict[str, Any] = Field(description="The webhook's body")

    @classmethod
    def of(cls, row: Delivery, attempts: Sequence[Attempt]) -> "DeliveryDetail":
        """The shape of a row and its attempts."""
        return cls.model_validate({**_fields(row, attempts), "body": msgspec.json.decode(row.body)})


def _fields(row: Delivery, attempts: Sequence[Attempt]) -> dict[str, Any]:
    return {
        "id": row.id,
        "organisation_id": row.organisation_id,
        "endpoint_id": row.endpoint_id,
        "event_id": row.event_id,
        "webhook_id": message_id(row.event_id),
        "type": row.type,
        "state": row.state,
        "due_at": row.due_at,
        "created_at": row.created_at,
        "delivered_at": row.delivered_at,
        "attempts": [AttemptOut.of(attempt) for attempt in attempts],
    }
