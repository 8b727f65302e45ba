"""Defines the JSON of privacy requests (GDPR), for requesters and for the organisations that answer."""

from datetime import datetime
from typing import Annotated, Final, Literal, Self
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema, model_validator

from app.platform.http.contract.etags import ResourceModel
from app.platform.http.contract.fields import (
    TEXT_PATTERN,
    Description,
    Identifier,
    Instant,
    Name,
    RequestBody,
    check_text,
    make_omittable_field,
)
from app.platform.http.contract.problems import CodedValueError
from app.privacy_requests.models import RightsRequest

type RightsKind = Literal["access", "objection", "erasure", "rectification", "restriction", "question"]
type RightsState = Literal["received", "in_progress", "answered", "withdrawn"]
type RightsOutcome = Literal["granted", "partly_granted", "refused", "nothing_held"]
type Language = Literal["en", "fr"]

MESSAGE_LIMIT: Final = 4_000
_REFERENCE: Final = Field(
    description="The reference of the request.",
    pattern=r"^R-[0-9A-Z]{5}-[0-9A-Z]{5}$",
    examples=["R-7K3F9-Q2DXM"],
)


def _message(value: str) -> str:
    if not value.strip():
        raise CodedValueError("invalid_text", "The text is blank")
    return check_text(value, limit=MESSAGE_LIMIT, lines=True)


Message = Annotated[
    str,
    AfterValidator(_message),
    WithJsonSchema({"type": "string", "minLength": 1, "maxLength": MESSAGE_LIMIT, "pattern": TEXT_PATTERN}),
]
"""A text of up to 4,000 characters, with line breaks."""


class RightsRequestCreate(RequestBody):
    """A new request. Give no more personal data than the answer needs."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "kind": "access",
                    "site_id": "01936f3c-6f0a-7c1e-9a51-0d9f3b8e7a10",
                    "message": "What did the box by number 12 record on the evening of 24 November?",
                    "begins_at": "2026-11-24T18:00:00+01:00",
                    "ends_at": "2026-11-24T22:00:00+01:00",
                    "contact": "a.citizen@example.org",
                }
            ]
        }
    )

    kind: RightsKind
    message: Message
    site_id: Identifier | None = Field(None, description="The site in question. Null: none, or several.")
    begins_at: Instant | None = Field(None, description="Start of the period in question. Null: not limited.")
    ends_at: Instant | None = Field(None, description="End of the period in question. Null: not limited.")
    name: Name | None = Field(
        None, description="Your name. Optional: the token is enough to read the answer."
    )
    contact: Name | None = Field(
        None,
        description="An address to which the answer may be sent. Optional: the token is enough to read the "
        "answer.",
    )
    language: Language = Field("en", description="The language of the answer.")

    @model_validator(mode="after")
    def _range(self) -> Self:
        if self.begins_at is not None and self.ends_at is not None and self.ends_at <= self.begins_at:
            raise CodedValueError("range_reversed", "`ends_at` must be after `begins_at`")
        return self


class RightsRequestMade(BaseModel):
    """A stored request. The token is not shown again."""

    reference: str = _REFERENCE
    token: str = Field(description="The secret to read the answer, with the reference.", examples=["…"])
    received_at: datetime
    due_at: datetime = Field(description="Deadline of the answer: one month after receipt.")


class RightsAsk(RequestBody):
    """The credentials of a requester: reference and token."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"reference": "R-7K3F9-Q2DXM", "token": "from-the-answer-to-the-request"}]
        }
    )

    reference: Annotated[str, Field(min_length=1, max_length=32)] = Field(
        description="The request's reference"
    )
    token: Annotated[str, Field(min_length=1, max_length=128)] = Field(
        description="The token that was shown when the request was made"
    )


class RightsStatus(BaseModel):
    """The status of a request, as its requester sees it."""

    reference: str = _REFERENCE
    kind: RightsKind
    state: RightsState
    received_at: datetime
    due_at: datetime = Field(description="Deadline of the answer.")
    extension_reason: str | None = Field(description="The reason of the extension, if there was one.")
    closed_at: datetime | None = Field(description="Time of the answer or withdrawal. Null: open.")
    outcome: RightsOutcome | None = Field(description="The outcome; null: it is open")
    answer: str | None = Field(description="The answer; null: it is open")

    @classmethod
    def of(cls, row: RightsRequest) -> "RightsStatus":
        """Convert a row."""
        return cls.model_validate(row, from_attributes=True)


class RightsRequestOut(ResourceModel):
    """A request, as the organisation that answers it sees it."""

    volatile = frozenset({"overdue"})

    id: UUID
    reference: str = _REFERENCE
    organisation_id: UUID
    site_id: UUID | None
    kind: RightsKind
    language: Language = Field(description="The language of the answer.")
    name: str | None = Field(description="Name of the requester, if given.")
    contact: str | None = Field(description="Address of the requester, if given.")
    message: str
    begins_at: datetime | None = Field(description="Start of the period in question. Null: not limited.")
    ends_at: datetime | None = Field(description="End of the period in question. Null: not limited.")
    state: RightsState
    received_at: datetime
    due_at: datetime = Field(description="Deadline of the answer.")
    overdue: bool = Field(description="Whether the request is open past its deadline.")
    extended_at: datetime | None = Field(description="Time of the extension. Null: not extended.")
    extension_reason: str | None = Field(description="Why it takes longer than a month")
    closed_at: datetime | None = Field(description="Time of the answer or withdrawal. Null: open.")
    outcome: RightsOutcome | None = Field(description="The outcome; null: it is open")
    answer: str | None = Field(description="The answer that the requester got")
    note: str | None = Field(description="Internal note. It is never shown to the requester.")
    handled_by: UUID | None = Field(description="The API key or person that changed the request last.")
    handled_kind: Literal["key", "user"] | None = Field(
        description="Whether `handled_by` is an API key or a person."
    )
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, row: RightsRequest, now: datetime) -> "RightsRequestOut":
        """Convert a row. `now` decides whether it is overdue."""
        known = {name: getattr(row, name) for name in cls.model_fields if name != "overdue"}
        return cls(**known, overdue=row.closed_at is None and row.due_at < now)


class RightsRequestChange(RequestBody):
    """A change of the state or the internal note of a request."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"state": "in_progress"}]})

    state: Literal["received", "in_progress"] = make_omittable_field()
    note: Annotated[
        Description | None, Field(description="A note for handlers; the requester never sees it")
    ] = make_omittable_field()


class RightsExtension(RequestBody):
    """The reason of an extension, which the requester sees."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"reason": "We have to consult three authorities."}]}
    )

    reason: Message


class RightsAnswer(RequestBody):
    """The answer to a request."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "outcome": "nothing_held",
                    "answer": "The box measured temperature and fine dust only. No personal data are stored.",
                }
            ]
        }
    )

    outcome: RightsOutcome
    answer: Message = Field(description="The answer to the requester")


class EventCount(BaseModel):
    """The number of events of a type."""

    type: str = Field(description="The type of event.", examples=["gunshot"])
    count: int


class RightsFindings(BaseModel):
    """Numbers of stored data of the site and period of a request. They contain no personal data."""

    site_id: UUID | None
    begins_at: datetime = Field(description="Beginning of the count")
    ends_at: datetime
    boxes: int = Field(description="Boxes that are now at the site.")
    samples: int = Field(description="Samples of the period. Counting stops at 1,000,000.")
    events: list[EventCount] = Field(description="Events of the period, by type.")
    alerts: int = Field(description="Alerts that began in the period.")
