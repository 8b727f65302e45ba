"""Defines the request and response bodies of replays of deliveries."""

from datetime import datetime
from typing import Annotated, Literal, NamedTuple, Self
from uuid import UUID

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from app.notifications.api.delivery_schemas import DeliveryType
from app.notifications.api.endpoint_fields import State
from app.notifications.delivery.models import Replay
from app.platform.http.contract.etags import ResourceModel
from app.platform.http.contract.fields import Instant, RequestBody
from app.platform.http.contract.problems import CodedValueError


class ReplayProgress(NamedTuple):
    """Numbers of a replay's deliveries by state; a delivery counts for its latest replay only."""

    delivered: int = 0
    failed: int = 0
    pending: int = 0


def _usual() -> list[State]:
    return ["failed"]


class ReplayCreate(RequestBody):
    """A new replay: the deliveries of an endpoint to send again."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"since": "2026-11-24T08:00:00Z"},
                {
                    "since": "2026-11-24T08:00:00Z",
                    "until": "2026-11-24T12:00:00Z",
                    "states": ["failed", "delivered"],
                    "types": ["alert.firing", "alert.resolved"],
                },
            ]
        }
    )

    since: Annotated[Instant, Field(description="Created at or after this")]
    until: Annotated[Instant | None, Field(description="Created before this; null: until now")] = None
    states: Annotated[
        list[State],
        Field(min_length=1, max_length=3, description="In one of these states"),
        AfterValidator(lambda states: list(dict.fromkeys(states))),
    ] = Field(default_factory=_usual)
    types: Annotated[
        list[DeliveryType] | None,
        Field(min_length=1, max_length=32, description="Of one of these types; null: of all"),
        AfterValidator(lambda types: None if types is None else list(dict.fromkeys(types))),
    ] = None

    @model_validator(mode="after")
    def _range(self) -> Self:
        if self.until is not None and self.since >= self.until:
            raise CodedValueError("range_reversed", "`since` has to be before `until`")
        return self


class ReplayOut(ResourceModel):
    """A replay and its progress."""

    id: UUID
    organisation_id: UUID
    endpoint_id: UUID
    since: datetime
    until: datetime
    states: list[State]
    types: list[str] | None
    state: Literal["running", "done", "cancelled"] = Field(
        description="`running` while deliveries are being made due, `done` when all are due"
    )
    total: int = Field(description="Deliveries that matched when the replay was created")
    replayed: int = Field(description="Deliveries that are due again so far")
    delivered: int = Field(
        description="Replayed deliveries that succeeded. A delivery counts for its latest replay only"
    )
    failed: int = Field(description="Replayed deliveries that failed again")
    pending: int = Field(description="Replayed deliveries that are being sent or wait for an attempt")
    created_at: datetime
    finished_at: datetime | None = Field(description="When it was done or cancelled")

    @classmethod
    def of(cls, row: Replay, progress: ReplayProgress) -> "ReplayOut":
        """Convert a row and its progress to a response body."""
        stored = {name: getattr(row, name) for name in cls.model_fields if name in row.__mapper__.columns}
        return cls.model_validate({**stored, **progress._asdict()})
