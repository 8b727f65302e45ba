"""Defines the table of back-tests."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, ForeignKey, Text, func
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TIMESTAMP
from sqlalchemy.orm import Mapped, mapped_column

from app.platform.db.database import Base

_Instant = TIMESTAMP(timezone=True)


class Backtest(Base):
    """A back-test of a rule, from the queue to its result.

    Attributes:
        rule, against: `id`, `version`, `name` and `definition` of the rules at the time of the request.
        begins_at, ends_at: the time range; `ends_at` is excluded.
        attempts: how often a worker leased it; the number identifies the lease until `leased_until`.
        error: the error code if it failed.
    """

    __tablename__ = "backtests"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    organisation_id: Mapped[UUID] = mapped_column(ForeignKey("organisations.id", ondelete="CASCADE"))
    site_id: Mapped[UUID] = mapped_column(ForeignKey("sites.id", ondelete="CASCADE"))
    rule: Mapped[dict[str, Any]] = mapped_column(JSONB)
    against: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    boxes: Mapped[list[str] | None] = mapped_column(ARRAY(Text))
    begins_at: Mapped[datetime] = mapped_column(_Instant)
    ends_at: Mapped[datetime] = mapped_column(_Instant)
    state: Mapped[str] = mapped_column(Text, server_default="queued")
    created_at: Mapped[datetime] = mapped_column(_Instant, server_default=func.now())
    created_by: Mapped[UUID | None]
    started_at: Mapped[datetime | None] = mapped_column(_Instant)
    finished_at: Mapped[datetime | None] = mapped_column(_Instant)
    leased_until: Mapped[datetime | None] = mapped_column(_Instant)
    attempts: Mapped[int] = mapped_column(server_default="0")
    samples_total: Mapped[int | None] = mapped_column(BigInteger)
    samples_done: Mapped[int] = mapped_column(BigInteger, server_default="0")
    boxes_total: Mapped[int | None]
    boxes_done: Mapped[int] = mapped_column(server_default="0")
    result: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True), deferred=True)
    error: Mapped[str | None] = mapped_column(Text)
