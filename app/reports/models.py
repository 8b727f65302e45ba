"""Defines the tables of scheduled reports and of their mails."""

from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, ForeignKey, SmallInteger, Text
from sqlalchemy.dialects.postgresql import TIMESTAMP
from sqlalchemy.orm import Mapped, mapped_column

from app.platform.db.database import Base

_Instant = TIMESTAMP(timezone=True)


class ReportSchedule(Base):
    """Mails the report of a site after each day, week or month.

    Attributes:
        report: the length of the reported period: `day`, `week` or `month`.
        hour: the local hour at the site at which the mail is due.
        formats: `pdf`, `csv` or both.
        alerts: whether reports have the part on alerts: its creator could read them.
        next_at: when the next mail is due.
        last_sent_at, last_error: of its newest mails; the error is None after a success.
    """

    __tablename__ = "report_schedules"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    organisation_id: Mapped[UUID] = mapped_column(ForeignKey("organisations.id", ondelete="CASCADE"))
    site_id: Mapped[UUID] = mapped_column(ForeignKey("sites.id", ondelete="CASCADE"))
    report: Mapped[Any] = mapped_column(Text)
    hour: Mapped[int] = mapped_column(SmallInteger)
    recipients: Mapped[list[str]] = mapped_column(ARRAY(Text))
    formats: Mapped[list[Any]] = mapped_column(ARRAY(Text))
    language: Mapped[Any] = mapped_column(Text)
    alerts: Mapped[bool]
    enabled: Mapped[bool]
    next_at: Mapped[datetime] = mapped_column(_Instant)
    last_sent_at: Mapped[datetime | None] = mapped_column(_Instant)
    last_error: Mapped[str | None] = mapped_column(Text)
    created_by: Mapped[UUID | None]
    created_at: Mapped[datetime] = mapped_column(_Instant)
    updated_at: Mapped[datetime] = mapped_column(_Instant)


class ReportRun(Base):
    """One mail of a schedule: of a period, or at a person's request.

    Attributes:
        report, first_day, last_day: the reported period, in local dates.
        requested: whether a person requested it. Of the others, a schedule has one for each period.
        state: `pending` until it is sent or given up.
        due_at: when its next attempt is due. A running attempt moves it to the end of its lease.
        error, status, answer: of the newest attempt: a reason of deliveries, the mail server's reply.
    """

    __tablename__ = "report_runs"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    schedule_id: Mapped[UUID] = mapped_column(ForeignKey("report_schedules.id", ondelete="CASCADE"))
    organisation_id: Mapped[UUID] = mapped_column(ForeignKey("organisations.id", ondelete="CASCADE"))
    site_id: Mapped[UUID] = mapped_column(ForeignKey("sites.id", ondelete="CASCADE"))
    report: Mapped[Any] = mapped_column(Text)
    first_day: Mapped[date]
    last_day: Mapped[date]
    requested: Mapped[bool]
    state: Mapped[str] = mapped_column(Text, server_default="pending")
    attempts: Mapped[int] = mapped_column(server_default="0")
    due_at: Mapped[datetime | None] = mapped_column(_Instant)
    error: Mapped[str | None] = mapped_column(Text)
    status: Mapped[int | None]
    answer: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(_Instant)
    sent_at: Mapped[datetime | None] = mapped_column(_Instant)
