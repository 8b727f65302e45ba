"""Defines the tables of the audit log. Only functions of the database write them (migration 0016)."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, Boolean, Column, Identity, LargeBinary, Table, Text, Uuid
from sqlalchemy.dialects.postgresql import ARRAY, TIMESTAMP
from sqlalchemy.orm import Mapped, mapped_column

from app.platform.db.database import Base


class AuditEntry(Base):
    """An action or an access. Only `record` is authoritative; the other columns are copies, for queries.

    `hash` is the SHA-256 of `previous`, the hash of the entry before, followed by `record` in UTF-8.
    """

    __tablename__ = "audit_log"

    organisation_id: Mapped[UUID] = mapped_column(primary_key=True)
    position: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    record: Mapped[str] = mapped_column(Text)
    previous: Mapped[bytes] = mapped_column(LargeBinary)
    hash: Mapped[bytes] = mapped_column(LargeBinary)
    at: Mapped[datetime] = mapped_column(TIMESTAMP(timezone=True))
    actor_id: Mapped[str | None] = mapped_column(Text)
    action: Mapped[str] = mapped_column(Text)
    subject_kind: Mapped[str] = mapped_column(Text)
    subject_ids: Mapped[list[str]] = mapped_column(ARRAY(Text))


class AuditHead(Base):
    """The end of an organisation's chain: the position and the hash of its last entry."""

    __tablename__ = "audit_heads"

    organisation_id: Mapped[UUID] = mapped_column(primary_key=True)
    position: Mapped[int] = mapped_column(BigInteger)
    hash: Mapped[bytes] = mapped_column(LargeBinary)


# Entries of transactions that have not committed yet. Only the database's functions read and write it.
Table(
    "audit_pending",
    Base.metadata,
    Column("transaction", BigInteger, primary_key=True, autoincrement=False),
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("organisation_id", Uuid, nullable=False),
    Column("record", Text, nullable=False),
    Column("actor_id", Text),
    Column("action", Text, nullable=False),
    Column("subject_kind", Text, nullable=False),
    Column("subject_ids", ARRAY(Text), nullable=False),
    Column("leads", Boolean, nullable=False),
)
