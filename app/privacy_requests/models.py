"""Defines the table of privacy requests (GDPR)."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import ForeignKey, LargeBinary, Text
from sqlalchemy.dialects.postgresql import TIMESTAMP
from sqlalchemy.orm import Mapped, mapped_column

from app.platform.db.database import Base

_Instant = TIMESTAMP(timezone=True)


class RightsRequest(Base):
    """A rights request. It is open until it is answered or withdrawn, and removed after the retention period.

    Attributes:
        reference: The public reference of the request.
        token_hash: SHA-256 of the token that gives the requester access.
        organisation_id: The organisation that has to answer: that of the site, or the platform's operator.
        begins_at, ends_at: The period in question, if there is one.
        due_at: The deadline of the answer.
        handled_by: The API key or person that changed the request last; `handled_kind` says which.
        note: An internal note, never shown to the requester.
        overdue_told_at: When the event "overdue" was published.
    """

    __tablename__ = "rights_requests"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    reference: Mapped[str] = mapped_column(Text)
    token_hash: Mapped[bytes] = mapped_column(LargeBinary)
    organisation_id: Mapped[UUID] = mapped_column(ForeignKey("organisations.id", ondelete="CASCADE"))
    site_id: Mapped[UUID | None] = mapped_column(ForeignKey("sites.id", ondelete="SET NULL"))
    kind: Mapped[str] = mapped_column(Text)
    language: Mapped[str] = mapped_column(Text)
    name: Mapped[str | None] = mapped_column(Text)
    contact: Mapped[str | None] = mapped_column(Text)
    message: Mapped[str] = mapped_column(Text)
    begins_at: Mapped[datetime | None] = mapped_column(_Instant)
    ends_at: Mapped[datetime | None] = mapped_column(_Instant)
    state: Mapped[str] = mapped_column(Text)
    received_at: Mapped[datetime] = mapped_column(_Instant)
    due_at: Mapped[datetime] = mapped_column(_Instant)
    extended_at: Mapped[datetime | None] = mapped_column(_Instant)
    extension_reason: Mapped[str | None] = mapped_column(Text)
    closed_at: Mapped[datetime | None] = mapped_column(_Instant)
    outcome: Mapped[str | None] = mapped_column(Text)
    answer: Mapped[str | None] = mapped_column(Text)
    handled_by: Mapped[UUID | None]
    handled_kind: Mapped[str | None] = mapped_column(Text)
    note: Mapped[str | None] = mapped_column(Text)
    overdue_told_at: Mapped[datetime | None] = mapped_column(_Instant)
    created_at: Mapped[datetime] = mapped_column(_Instant)
    updated_at: Mapped[datetime] = mapped_column(_Instant)
