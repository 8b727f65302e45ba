"""The shapes of requests on the wire: to those who make them, and to those who answer."""

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
    description="What the request is called",
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
"""What somebody writes: up to 4,000 characters, lines allowed."""


class RightsRequestCreate(RequestBody):
    """A request to be. Tell no more of yourself than is needed to answer."""

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
    site_id: Identifier | None = Field(None, description="The site in question; null: none, or several")
    begins_at: Instant | None = Field(None, description="Since when, where it is about a time")
    ends_at: Instant | None = Field(None, description="Until when")
    name: Name | None = Field(
        None, description="Who asks. Not needed: the token is enough to read the answer"
    )
    contact: Name | None = Field(
        None, description="Where the answer may be sent besides; null: it is read with the token alone"
    )
    language: Language = Field("en", description="Of the answer")

    @model_validator(mode="after")
    def _range(self) -> Self:
        if self.begins_at is not None and self.ends_at is not None and self.ends_at <= self.begins_at:
            raise CodedValueError("range_reversed", "ends_at has to come after begins_at")
        return self


class RightsRequestMade(BaseModel):
    """A request that was taken. The token is shown here and never again."""

    reference: str = _REFERENCE
    token: str = Field(description="With it, and the reference, the answer is read", examples=["…"])
    received_at: datetime
    due_at: datetime = Field(description="Until when it has to be answered: one month")


class RightsAsk(RequestBody):
    """Which request is meant, and the proof that it is one's own."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"reference": "R-7K3F9-Q2DXM", "token": "from-the-answer-to-the-request"}]
        }
    )

    reference: Annotated[str, Field(min_length=1, max_length=32)]
    token: Annotated[str, Field(min_length=1, max_length=128)]


class RightsStatus(BaseModel):
    """How far a request is, to who made it."""

    reference: str = _REFERENCE
    kind: RightsKind
    state: RightsState
    received_at: datetime
    due_at: datetime = Field(description="Until when it has to be answered")
    extension_reason: str | None = Field(description="Why it takes longer than a month, where it does")
    closed_at: datetime | None = Field(description="When it was answered or withdrawn")
    outcome: RightsOutcome | None
    answer: str | None

    @classmethod
    def of(cls, row: RightsRequest) -> "RightsStatus":
        """The shape of a row."""
        return cls.model_validate(row, from_attributes=True)


class RightsRequestOut(ResourceModel):
    """A request, to those who answer it."""

    volatile = frozenset({"overdue"})

    id: UUID
    reference: str = _REFERENCE
    organisation_id: UUID
    site_id: UUID | None
    kind: RightsKind
    language: Language = Field(description="Of the answer")
    name: str | None = Field(description="Who asks, where they said so")
    contact: str | None = Field(description="Where the answer may be sent besides")
    message: str
    begins_at: datetime | None = Field(description="The time that it is about, from here")
    ends_at: datetime | None = Field(description="To here")
    state: RightsState
    received_at: datetime
    due_at: datetime = Field(description="Until when it has to be answered")
    overdue: bool = Field(description="Whether it is open, and that time is over")
    extended_at: datetime | None = Field(description="When its time was extended")
    extension_reason: str | None
    closed_at: datetime | None = Field(description="When it was answered or withdrawn")
    outcome: RightsOutcome | None
    answer: str | None
    note: str | None = Field(description="Of those who handle it; never shown to who asked")
    handled_by: UUID | None = Field(description="The key or the person who changed it last")
    handled_kind: Literal["key", "user"] | None = Field(description="Which of the two it was")
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, row: RightsRequest, now: datetime) -> "RightsRequestOut":
        """The shape of a row at a time."""
        known = {name: getattr(row, name) for name in cls.model_fields if name != "overdue"}
        return cls(**known, overdue=row.closed_at is None and row.due_at < now)


class RightsRequestChange(RequestBody):
    """What may change of a request besides its answer."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"state": "in_progress"}]})

    state: Literal["received", "in_progress"] = make_omittable_field()
    note: Description | None = make_omittable_field()


class RightsExtension(RequestBody):
    """Why a request takes longer than a month: who made it is told."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"reason": "Three authorities have to be asked."}]}
    )

    reason: Message


class RightsAnswer(RequestBody):
    """The answer to a request."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "outcome": "nothing_held",
                    "answer": "The box measured temperature and fine dust, and nothing of anybody.",
                }
            ]
        }
    )

    outcome: RightsOutcome
    answer: Message


class EventCount(BaseModel):
    """Events of one type."""

    type: str = Field(description="Of events", examples=["gunshot"])
    count: int


class RightsFindings(BaseModel):
    """What is held of the site and the time that a request is about. Numbers: none of it is of a person."""

    site_id: UUID | None
    begins_at: datetime
    ends_at: datetime
    boxes: int = Field(description="That stand at the site now")
    samples: int = Field(description="Measured then, up to a million")
    events: list[EventCount] = Field(description="Recognised then")
    alerts: int = Field(description="That began then")
