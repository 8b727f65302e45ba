"""The shapes of erasures on the wire. Shapes only."""

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
    """What to erase, and why."""

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
        Field(alias="from", description="What was measured from this on; null: from the first"),
    ] = None
    until: Annotated[
        Instant | None, Field(description="What was measured before this, which must have passed; null: now")
    ] = None
    reason: Annotated[
        Name,
        Field(description="Why. It stays in the audit log for good: name no persons, but a file of yours"),
    ]


class ErasedOut(BaseModel):
    """What was removed, by table."""

    samples: int = Field(description="Samples")
    events: int = Field(description="Events")
    hourly: int = Field(description="Summaries of hours, of a metric each")
    daily: int = Field(description="Summaries of days, of a metric each")
    rollup_marks: int = Field(description="Notes of which hours and days are to be summarised")
    box_states: int = Field(description="Latest values")
    quarantine: int = Field(description="What was refused, as it came")


class ErasureOut(ResourceModel):
    """An erasure: how far it is, and what it removed."""

    id: UUID
    organisation_id: UUID
    site_id: UUID
    box: str | None = Field(description="The box; null: all boxes that the site had then")
    from_: datetime | None = Field(serialization_alias="from", description="Null: from the first on")
    until: datetime
    reason: str
    state: ErasureState = Field(description="How far it is. Until it is `done`, what goes can still be read")
    boxes: int = Field(description="How many boxes it is about")
    boxes_done: int = Field(description="How many of them are done")
    removed: ErasedOut
    digest: str | None = Field(
        description="SHA-256 over the boxes and times of what was removed, in order (`docs/retention.md`); "
        "null until it is done",
        examples=["9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"],
    )
    created_at: datetime
    finished_at: datetime | None = Field(description="When it was done; null: it is not")

    @classmethod
    def of(cls, row: Erasure) -> "ErasureOut":
        """The shape of a row."""
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
