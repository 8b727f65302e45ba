"""The table of erasures: made by the API, worked off by the maintain role, recorded in the audit log."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, Text
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP
from sqlalchemy.orm import Mapped, mapped_column

from app.platform.db.database import Base

_Instant = TIMESTAMP(timezone=True)


class Erasure(Base):
    """A range of time of which a box, or all boxes that a site had when it was asked for, keep nothing.

    Attributes:
        box: the box's id; None: all of the site's.
        begins_at, ends_at: the range, the end excluded; without a beginning all that was.
        worked_at: when it had its turn last: several take turns.
        progress: what was removed so far, by table.
        chain: the hash over the identities so far (`digest`).
        removed, digest: the same once it is finished, and then for good: this is what the audit log has.
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
    """A box of an erasure: `waiting`, `emptied` of what was measured, or `done`."""

    __tablename__ = "erasure_boxes"

    erasure_id: Mapped[UUID] = mapped_column(ForeignKey("erasures.id", ondelete="CASCADE"), primary_key=True)
    box_key: Mapped[int] = mapped_column(ForeignKey("boxes.key", ondelete="CASCADE"), primary_key=True)
    state: Mapped[str] = mapped_column(Text, server_default="waiting")
