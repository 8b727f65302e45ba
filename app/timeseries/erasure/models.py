"""Maps the tables of erasures: the API creates them, the maintain process executes them."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, Text
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP
from sqlalchemy.orm import Mapped, mapped_column

from app.platform.db.database import Base

_Instant = TIMESTAMP(timezone=True)


class Erasure(Base):
    """An erasure of a time range of one box, or of all boxes that a site had at the time of the request.

    Attributes:
        box: the box's id; None: all boxes of the site.
        begins_at, ends_at: the range, end exclusive; without a start all earlier data.
        worked_at: time of the last slice, for round-robin.
        progress: number of removed rows so far, by table.
        chain: hash chain over the removed identities so far (`service.extend_removal_digest`).
        removed, digest: final values of `progress` and `chain`, which the audit log records.
    """

    __tablename__ = "erasures"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    organisation_id: Mapped[UUID] = mapped_column(ForeignKey("organisations.id", ondelete="CASCADE"))
    site_id: Mapped[UUID] = mapped_column(ForeignKey("sites.id", ondelete="CASCADE"))
    box: Mapped[str | None] = mapped_column(Text)
    begins_at: Mapped[datetime | None] = mapped_column(_Instant)
    ends_at: Mapped[datetime] = mapped_column(_Instant)
    reason: Mapped[str] = mapped_column(Text)
    created_by: Mapped[UUID | None]
    created_at: Mapped[datetime] = mapped_column(_Instant)
    worked_at: Mapped[datetime | None] = mapped_column(_Instant)
    finished_at: Mapped[datetime | None] = mapped_column(_Instant)
    boxes_total: Mapped[int]
    boxes_done: Mapped[int] = mapped_column(default=0)
    progress: Mapped[dict[str, Any]] = mapped_column(JSONB, default=dict)
    chain: Mapped[str] = mapped_column(Text)
    removed: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    digest: Mapped[str | None] = mapped_column(Text)


class ErasureBox(Base):
    """A box of an erasure: `waiting`, `emptied` (samples and events removed), or `done`."""

    __tablename__ = "erasure_boxes"

    erasure_id: Mapped[UUID] = mapped_column(ForeignKey("erasures.id", ondelete="CASCADE"), primary_key=True)
    box_key: Mapped[int] = mapped_column(ForeignKey("boxes.key", ondelete="CASCADE"), primary_key=True)
    state: Mapped[str] = mapped_column(Text, server_default="waiting")
