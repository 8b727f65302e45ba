"""Defines the response bodies of deliveries and attempts, and the types of their filters."""

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Final
from uuid import UUID

import msgspec
from pydantic import AfterValidator, BaseModel, Field

from app.notifications.api.endpoint_fields import Format, Kind, State
from app.notifications.delivery.alert_grouping import GROUP_EVENT
from app.notifications.delivery.models import Attempt, Delivery
from app.notifications.delivery.transport_types import REASONS, build_message_id
from app.notifications.events.event_types import ALERT_REPEAT, EVENTS, TEST_EVENT
from app.platform.http.contract.etags import ResourceModel, ResponseModel
from app.platform.http.contract.problems import CodedValueError
from app.platform.kernel.rejection_codes import format_rejected_value

LISTED_ATTEMPTS: Final = 20
"""The attempts shown of each delivery in a list."""

SHOWN_ATTEMPTS: Final = 100
"""The attempts shown of a single delivery."""

_TYPES: Final = frozenset({*EVENTS, TEST_EVENT, GROUP_EVENT, ALERT_REPEAT})
_MESSAGE: Final = re.compile("msg_([0-9a-f]{32})")


def _check_type(value: str) -> str:
    if value not in _TYPES:
        raise CodedValueError(
            "unknown_event_type",
            f"{format_rejected_value(value)} is not a type of delivery. Use one of: "
            f"{', '.join(sorted(_TYPES))}",
        )
    return value


def _check_reason(value: str) -> str:
    if value not in REASONS:
        raise CodedValueError(
            "invalid_value",
            f"{format_rejected_value(value)} is not a reason. Use one of: {', '.join(REASONS)}",
        )
    return value


def _check_event(value: str) -> str:
    found = _MESSAGE.fullmatch(value)
    try:
        return str(UUID(found[1] if found else value))
    except ValueError:
        raise CodedValueError(
            "invalid_value",
            f"{format_rejected_value(value)} is neither an event's id nor a webhook-id (msg_…)",
        ) from None


type DeliveryType = Annotated[
    str, AfterValidator(_check_type), Field(json_schema_extra={"enum": sorted(_TYPES)})
]
"""A type of deliveries."""

type FailureReason = Annotated[
    str, AfterValidator(_check_reason), Field(json_schema_extra={"enum": [*REASONS]})
]
"""One of `app.notifications.delivery.transport_types.REASONS`."""

EventId = Annotated[
    str,
    AfterValidator(_check_event),
    Field(json_schema_extra={"pattern": "^(msg_[0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})$"}),
]
"""An event's id, given as a UUID or as its `webhook-id`; validated to the text of a UUID."""


class AttemptOut(BaseModel):
    """One attempt: a POST, a mail or a publication."""

    number: int = Field(description="Counts from 1, also across replays")
    time: datetime = Field(description="When the attempt began")
    status: int | None = Field(
        description="The HTTP status, or the mail server's reply code; null if there was no response",
        examples=[204],
    )
    duration_ms: float
    reason: str = Field(description=f"One of: {', '.join(REASONS)}", examples=["delivered"])
    headers: dict[str, str] | None = Field(
        description="The headers of the HTTP response, shortened, with names in lower case; values of "
        "cookies and of authentication are shown as `…`. Null: there was no response, or the attempt is "
        "older than this field",
        examples=[{"content-type": "application/json", "x-request-id": "4f1c"}],
    )
    body: str | None = Field(description="The beginning of the response's body")

    @classmethod
    def of(cls, row: Attempt) -> "AttemptOut":
        """Convert a row to its response body."""
        return cls(
            number=row.number,
            time=row.started_at,
            status=row.status,
            duration_ms=round(row.duration_ms, 3),
            reason=row.reason,
            headers=row.response_headers,
            body=row.response_body,
        )


class DeliveryOut(ResponseModel):
    """One event, or a group of events, for one endpoint."""

    id: UUID
    organisation_id: UUID
    endpoint_id: UUID
    endpoint_kind: Kind = Field(description="`webhook`, or the kind of the channel")
    event_id: UUID
    webhook_id: str = Field(description="The `webhook-id` of each attempt", examples=["msg_0199…"])
    type: str = Field(examples=["alert.firing", GROUP_EVENT])
    format: Format = Field(description="The format of the body")
    site_id: UUID | None = Field(
        description="The site of the event or group; null if there is none or several"
    )
    state: State = Field(description="`failed`: Vigie gave up after the last attempt of the schedule")
    due_at: datetime | None = Field(
        description="When the schedule's next attempt is due; the endpoint's `open_until` may delay it. Null "
        "if no attempt follows"
    )
    created_at: datetime = Field(description="When the event happened, or the group was assembled")
    delivered_at: datetime | None
    replay_id: UUID | None = Field(description="The replay that last made it due again; null if none did")
    attempt_total: int = Field(description="The number of attempts so far", examples=[1])
    attempts: list[AttemptOut] = Field(
        description=f"The last attempts, oldest first: at most {LISTED_ATTEMPTS} in lists, {SHOWN_ATTEMPTS} "
        "for a single delivery"
    )

    @classmethod
    def of(cls, row: Delivery, kind: str, attempts: Sequence[Attempt]) -> "DeliveryOut":
        """Convert a row, its endpoint's kind and its attempts to a response body."""
        return cls.model_validate(_fields(row, kind, attempts))


class DeliveryDetail(DeliveryOut, ResourceModel):
    """One event, or a group of events, for one endpoint, with the body that is sent."""

    body: dict[str, Any] = Field(
        description="The body of the request or message. For a mail: `subject`, `text` and `html`, or the "
        "values that they are rendered from. For an Alertmanager: its list as `alerts`. The body is parsed "
        "and serialised again here, so these are not the bytes that are signed"
    )

    @classmethod
    def of(cls, row: Delivery, kind: str, attempts: Sequence[Attempt]) -> "DeliveryDetail":
        """Convert a row, its endpoint's kind and its attempts to a response body."""
        body = msgspec.json.decode(row.body)
        shown_body = {"alerts": body} if isinstance(body, list) else body
        return cls.model_validate({**_fields(row, kind, attempts), "body": shown_body})


def _fields(row: Delivery, kind: str, attempts: Sequence[Attempt]) -> dict[str, Any]:
    return {
        "id": row.id,
        "organisation_id": row.organisation_id,
        "endpoint_id": row.endpoint_id,
        "endpoint_kind": kind,
        "event_id": row.event_id,
        "webhook_id": build_message_id(row.event_id),
        "type": row.type,
        "format": row.format,
        "site_id": row.site_id,
        "state": row.state,
        "due_at": row.due_at,
        "created_at": row.created_at,
        "delivered_at": row.delivered_at,
        "replay_id": row.replay_id,
        # Attempts are numbered without gaps, so the last number counts deleted attempts too.
        "attempt_total": attempts[-1].number if attempts else 0,
        "attempts": [AttemptOut.of(attempt) for attempt in attempts],
    }
