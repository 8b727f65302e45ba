"""Maps the tables of backups. Migration 0047 creates them."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import LargeBinary, Text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TIMESTAMP
from sqlalchemy.orm import Mapped, mapped_column

from app.platform.db.database import Base

_Instant = TIMESTAMP(timezone=True)


class Backup(Base):
    """A backup as the repository lists it; a copy of that list, for metrics."""

    __tablename__ = "backups"

    label: Mapped[str] = mapped_column(Text, primary_key=True)
    kind: Mapped[str] = mapped_column(Text)
    finished_at: Mapped[datetime] = mapped_column(_Instant)
    verified_at: Mapped[datetime | None] = mapped_column(_Instant)


class RecoveryBundlePart(Base):
    """A sealed part of the recovery bundle: the keys, by `maintain`, or the files, by `vigie backup seal`."""

    __tablename__ = "recovery_bundles"

    part: Mapped[str] = mapped_column(Text, primary_key=True)
    recipient: Mapped[str] = mapped_column(Text)
    key_names: Mapped[list[str]] = mapped_column(ARRAY(Text))
    unreadable: Mapped[list[str]] = mapped_column(ARRAY(Text))
    sealed_at: Mapped[datetime] = mapped_column(_Instant)
    checked_at: Mapped[datetime] = mapped_column(_Instant)
    content: Mapped[bytes] = mapped_column(LargeBinary)


class SealedValueCheck(Base):
    """Sealed values of a restored copy, which `maintain` opens with the keys of the installation."""

    __tablename__ = "sealed_value_checks"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    requested_at: Mapped[datetime] = mapped_column(_Instant)
    sealed_values: Mapped[list[dict[str, Any]]] = mapped_column(JSONB)
    answered_at: Mapped[datetime | None] = mapped_column(_Instant)
    failures: Mapped[list[str]] = mapped_column(ARRAY(Text))
