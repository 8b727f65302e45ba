"""Defines the response bodies of measurement batches and their attempts."""

from datetime import datetime
from typing import Literal, Self
from uuid import UUID

from pydantic import BaseModel, Field

from app.measurement_stream.sinks.sink_types import SinkKind
from app.measurement_stream.subscriptions.batch_repository import MOST_ATTEMPTS
from app.measurement_stream.subscriptions.models import StoredBatch
from app.platform.http.contract.etags import ResourceModel

type BatchState = Literal["pending", "delivered", "empty", "rejected", "failed"]


class BatchAttempt(BaseModel):
    """One attempt to send a batch."""

    time: datetime = Field(description="When it began")
    duration_ms: float = Field(description="How long it took", examples=[12.5])
    status: int | None = Field(description="The HTTP status, if there was one", examples=[200])
    reason: str = Field(description="`delivered`, or why it failed, as `last_reason`", examples=["delivered"])
    detail: str | None = Field(
        description="What the receiver said, or which items a replay left out; null after another success",
        examples=["Service unavailable"],
    )


class BatchOut(ResourceModel):
    """A batch of a subscription. Its log names the items; values are not stored in it."""

    volatile = frozenset({"state", "item_count", "attempt_total", "attempts", "delivered_at"})

    id: UUID = Field(
        description="The same on every attempt and replay. Of a webhook: `webhook-id` without `msg_`"
    )
    subscription_id: UUID = Field(description="The subscription")
    organisation_id: UUID
    sink: SinkKind = Field(description="The kind of sink")
    first: str = Field(description="The id of its first item", examples=["48213-7"])
    last: str = Field(description="The id of its last item", examples=["48220-0"])
    item_count: int = Field(description="Its items at the newest attempt", examples=[500])
    state: BatchState = Field(
        description="`pending`: not confirmed yet. `empty`: none of its items may be sent any more. "
        "`rejected`: the receiver refused its content for good (400 or 422 of `influxdb` and `prometheus`); "
        "the cursor moved on. `failed`: a replay or test that was given up, or withdrawn "
        "by a resume, a rewind or a change of the content"
    )
    is_test: bool = Field(description="Whether it is a test, without items")
    attempt_total: int = Field(description="The number of attempts so far", examples=[1])
    attempts: list[BatchAttempt] = Field(
        description=f"The last attempts, oldest first, at most {MOST_ATTEMPTS}"
    )
    created_at: datetime
    delivered_at: datetime | None = Field(description="When the receiver last confirmed it")

    @classmethod
    def of(cls, row: StoredBatch, sink: SinkKind) -> Self:
        """Convert a row to its response body."""
        same = ("id", "subscription_id", "organisation_id", "item_count", "state", "is_test", "attempts")
        return cls.model_validate(
            {
                **{name: getattr(row, name) for name in (*same, "created_at", "delivered_at")},
                "sink": sink,
                "first": f"{row.first_position}-{row.first_index}",
                "last": f"{row.last_position}-{row.last_index}",
                "attempt_total": row.attempt_count,
            }
        )
