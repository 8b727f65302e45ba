"""Defines the JSON of erasures, which delete the data of a period: request, progress and row counts."""

from datetime import datetime
from typing import Annotated, Final, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from app.platform.http.contract.etags import ResourceModel
from app.platform.http.contract.fields import Instant, Name, RequestBody
from app.timeseries.erasure.models import Erasure

ErasureState = Literal["queued", "running", "done"]
_REMOVED: Final = ("samples", "events", "hourly", "daily", "rollup_marks", "box_states", "quarantine")


class ErasureCreate(RequestBody):
    """A request for an erasure, with its reason."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "from": "2026-03-01T00:00:00Z",
                    "until": "2026-03-02T00:00:00Z",
                    "reason": "Request 2026-118 of a resident",
                },
                {"until": "2026-01-01T00:00:00Z", "reason": "The measuring campaign of 2025 is over"},
            ]
        }
    )

    from_: Annotated[
        Instant | None,
        Field(alias="from", description="Start, inclusive, by measurement time; null: all earlier data"),
    ] = None
    until: Annotated[
        Instant | None, Field(description="End, exclusive, by measurement time; not in the future; null: now")
    ] = None
    reason: Annotated[
        Name,
        Field(description="Reason. The audit log stores it for good: cite a file number, not a person"),
    ]


class ErasedOut(BaseModel):
    """The number of removed rows, by table."""

    samples: int = Field(description="Samples")
    events: int = Field(description="Events")
    hourly: int = Field(description="Hourly roll-ups, one per metric and hour")
    daily: int = Field(description="Daily roll-ups, one per metric and day")
    rollup_marks: int = Field(description="Marks of hours and days whose roll-ups were stale")
    box_states: int = Field(description="Latest values")
    quarantine: int = Field(description="Quarantined messages")


class ErasureOut(ResourceModel):
    """An erasure, its progress and its result."""

    id: UUID
    organisation_id: UUID
    site_id: UUID
    box: str | None = Field(
        description="The box; null: all boxes that the site had at the time of the request"
    )
    from_: datetime | None = Field(serialization_alias="from", description="Null: all earlier data")
    until: datetime
    reason: str
    state: ErasureState = Field(description="Progress. Until it is `done`, the data may still be readable")
    boxes: int = Field(description="Number of boxes")
    boxes_done: int = Field(description="Number of boxes that are done")
    removed: ErasedOut
    digest: str | None = Field(
        description="SHA-256 over the identities of the removed samples and events (`docs/retention.md`); "
        "null until it is done",
        examples=["9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"],
    )
    created_at: datetime
    finished_at: datetime | None = Field(description="When it was done; null until then")

    @classmethod
    def of(cls, row: Erasure) -> "ErasureOut":
        """Convert a row."""
        state: ErasureState = "running"
        if row.finished_at is not None:
            state = "done"
        elif row.worked_at is None:
            state = "queued"
        removed = row.progress if row.removed is None else row.removed
        return cls(
            id=row.id,
            organisation_id=row.organisation_id,
            site_id=row.site_id,
            box=row.box,
            from_=row.begins_at,
            until=row.ends_at,
            reason=row.reason,
            state=state,
            boxes=row.boxes_total,
            boxes_done=row.boxes_done,
            removed=ErasedOut(**{name: removed.get(name, 0) for name in _REMOVED}),
            digest=row.digest,
            created_at=row.created_at,
            finished_at=row.finished_at,
        )
