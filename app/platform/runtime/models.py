"""Maps the tables of process heartbeats, and of settings that are changed by the API."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, Text
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP
from sqlalchemy.orm import Mapped, mapped_column

from app.platform.db.database import Base

_Instant = TIMESTAMP(timezone=True)


class Heartbeat(Base):
    """The last heartbeat of a process; `/readyz` reads it."""

    __tablename__ = "heartbeats"

    role: Mapped[str] = mapped_column(Text, primary_key=True)
    instance: Mapped[str] = mapped_column(Text, primary_key=True)
    state: Mapped[str] = mapped_column(Text)
    at: Mapped[datetime] = mapped_column(_Instant)


class StoredSetting(Base):
    """A setting. The audit log may show `value`; `private` is personal data; `secret` is encrypted."""

    __tablename__ = "installation_settings"

    name: Mapped[str] = mapped_column(Text, primary_key=True)
    organisation_id: Mapped[UUID] = mapped_column(ForeignKey("organisations.id", ondelete="CASCADE"))
    value: Mapped[dict[str, Any]] = mapped_column(JSONB)
    private: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    secret: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(_Instant)
    updated_at: Mapped[datetime] = mapped_column(_Instant)
