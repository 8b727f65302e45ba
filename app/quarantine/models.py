"""Maps the table of refused messages."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import ForeignKey, LargeBinary, Text
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP
from sqlalchemy.orm import Mapped, mapped_column

from app.platform.db.database import Base

_Instant = TIMESTAMP(timezone=True)


class QuarantineEntry(Base):
    """A refused message with its rejection code, truncated to 64 KiB.

    Attributes:
        attempts: number of replays; `attempted_at` is the time of the last one.
        replayed_at: when a replay accepted all of it; None while a part is refused.
        outcome: counts of the last replay.
    """

    __tablename__ = "quarantine"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    received_at: Mapped[datetime] = mapped_column(_Instant)
    organisation_id: Mapped[UUID | None] = mapped_column(ForeignKey("organisations.id", ondelete="CASCADE"))
    box: Mapped[str | None] = mapped_column(Text)
    door: Mapped[str] = mapped_column(Text)
    code: Mapped[str] = mapped_column(Text)
    detail: Mapped[str] = mapped_column(Text)
    topic: Mapped[str | None] = mapped_column(Text)
    payload: Mapped[bytes] = mapped_column(LargeBinary)
    payload_bytes: Mapped[int]
    attempts: Mapped[int] = mapped_column(server_default="0")
    attempted_at: Mapped[datetime | None] = mapped_column(_Instant)
    replayed_at: Mapped[datetime | None] = mapped_column(_Instant)
    outcome: Mapped[dict[str, int] | None] = mapped_column(JSONB(none_as_null=True))
