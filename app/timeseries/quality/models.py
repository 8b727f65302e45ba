"""Maps the table of corrections, which adjust a box's values of one metric for a period."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, Text
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP
from sqlalchemy.orm import Mapped, mapped_column

from app.platform.db.database import Base

_Instant = TIMESTAMP(timezone=True)


class Correction(Base):
    """A correction of a box's values of a metric for a period. Only its end and its note may change.

    Attributes:
        kind: `linear` or `humidity`.
        parameters: of the formula: `gain` and `offset`, or `kappa`.
        valid_from: start, inclusive.
        valid_until: end, exclusive; None: without end.
        note: its origin, for people.
    """

    __tablename__ = "corrections"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    box_key: Mapped[int] = mapped_column(ForeignKey("boxes.key", ondelete="CASCADE"))
    organisation_id: Mapped[UUID] = mapped_column(ForeignKey("organisations.id", ondelete="RESTRICT"))
    metric: Mapped[str] = mapped_column(Text)
    kind: Mapped[str] = mapped_column(Text)
    parameters: Mapped[dict[str, Any]] = mapped_column(JSONB)
    valid_from: Mapped[datetime] = mapped_column(_Instant)
    valid_until: Mapped[datetime | None] = mapped_column(_Instant)
    note: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(_Instant)
    updated_at: Mapped[datetime] = mapped_column(_Instant)
