"""Maps the tables of imports: their progress, and the audit logs of former installations."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, Integer, LargeBinary, Text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TIMESTAMP
from sqlalchemy.orm import Mapped, mapped_column

from app.platform.db.database import Base


class TenantImport(Base):
    """An import of an organisation, and how far it has come.

    `steps` are the transactions that have committed, with the rows of each table. `box_keys` are the keys of
    the archive's boxes, in the order of their numbers.
    """

    __tablename__ = "tenant_imports"

    organisation_id: Mapped[UUID] = mapped_column(primary_key=True)
    archive_id: Mapped[UUID]
    started_at: Mapped[datetime] = mapped_column(TIMESTAMP(timezone=True))
    finished_at: Mapped[datetime | None] = mapped_column(TIMESTAMP(timezone=True))
    steps: Mapped[dict[str, Any]] = mapped_column(JSONB)
    box_keys: Mapped[list[int] | None] = mapped_column(ARRAY(Integer))


class ImportedAuditEntry(Base):
    """An entry of the audit log that an organisation had in a former installation. It never changes.

    `log` counts an organisation's imported logs from 1, the oldest first.
    """

    __tablename__ = "imported_audit_entries"

    organisation_id: Mapped[UUID] = mapped_column(primary_key=True)
    log: Mapped[int] = mapped_column(Integer, primary_key=True)
    position: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    source_organisation_id: Mapped[UUID]
    record: Mapped[str] = mapped_column(Text)
    previous: Mapped[bytes] = mapped_column(LargeBinary)
    hash: Mapped[bytes] = mapped_column(LargeBinary)
