"""The table of alerts."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import ForeignKey, Text
from sqlalchemy.dialects.postgresql import TIMESTAMP
from sqlalchemy.orm import Mapped, mapped_column

from app.core.database import Base

_Instant = TIMESTAMP(timezone=True)


class Alert(Base):
    """One rule firing on one box, until it is resolved. Times are those of the samples."""

    __tablename__ = "alerts"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    organisation_id: Mapped[UUID] = mapped_column(ForeignKey("organisations.id", ondelete="RESTRICT"))
    rule_id: Mapped[UUID] = mapped_column(ForeignKey("rules.id", ondelete="CASCADE"))
    rule_version: Mapped[int]
    site_id: Mapped[UUID] = mapped_column(ForeignKey("sites.id", ondelete="CASCADE"))
    box_key: Mapped[int] = mapped_column(ForeignKey("boxes.key", ondelete="CASCADE"))
    box: Mapped[str] = mapped_column(Text)
    metric: Mapped[str] = mapped_column(Text)
    severity: Mapped[str] = mapped_column(Text)
    state: Mapped[str] = mapped_column(Text)
    value: Mapped[float]
    threshold: Mapped[float]
    clear: Mapped[float]
    resolved_value: Mapped[float | None]
    pending_since: Mapped[datetime] = mapped_column(_Instant)
    started_at: Mapped[datetime] = mapped_column(_Instant)
    resolved_at: Mapped[datetime | None] = mapped_column(_Instant)
    resolution: Mapped[str | None] = mapped_column(Text)
    acknowledged_at: Mapped[datetime | None] = mapped_column(_Instant)
    acknowledged_by: Mapped[UUID | None]
    sequence: Mapped[int]
    created_at: Mapped[datetime] = mapped_column(_Instant)
    updated_at: Mapped[datetime] = mapped_column(_Instant)
