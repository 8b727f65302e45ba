"""Defines the tables of rules and their versions, and of the state of rules on environmental indices."""

from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import BigInteger, Computed, ForeignKey, Text
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP
from sqlalchemy.orm import Mapped, mapped_column

from app.platform.db.database import Base

_Instant = TIMESTAMP(timezone=True)


class Rule(Base):
    """A rule. A deleted rule stays in the table: its alerts refer to it.

    Attributes:
        definition: the levels, the scope, the active hours and the handling of alerts.
        severity: the severity of its highest level.
        effort: how many parts of its conditions are evaluated for each sample.
    """

    __tablename__ = "rules"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    organisation_id: Mapped[UUID] = mapped_column(ForeignKey("organisations.id", ondelete="RESTRICT"))
    site_id: Mapped[UUID] = mapped_column(ForeignKey("sites.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(Text)
    description: Mapped[str | None] = mapped_column(Text)
    severity: Mapped[str] = mapped_column(Text)
    definition: Mapped[dict[str, Any]] = mapped_column(JSONB)
    effort: Mapped[int] = mapped_column(server_default="0")
    enabled: Mapped[bool]
    dry_run: Mapped[bool]
    version: Mapped[int]
    revision: Mapped[int] = mapped_column(BigInteger, server_default="0")
    created_at: Mapped[datetime] = mapped_column(_Instant)
    updated_at: Mapped[datetime] = mapped_column(_Instant)
    deleted_at: Mapped[datetime | None] = mapped_column(_Instant)
    # Deferred: only searches compare it (app.platform.db.search_terms).
    search_text: Mapped[str] = mapped_column(
        Text, Computed("fold_search_text(ARRAY[name])", persisted=True), deferred=True
    )


class RuleVersion(Base):
    """A version of a rule, and the key or person that made it."""

    __tablename__ = "rule_versions"

    rule_id: Mapped[UUID] = mapped_column(ForeignKey("rules.id", ondelete="CASCADE"), primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    description: Mapped[str | None] = mapped_column(Text)
    definition: Mapped[dict[str, Any]] = mapped_column(JSONB)
    enabled: Mapped[bool]
    dry_run: Mapped[bool]
    deleted: Mapped[bool]
    created_at: Mapped[datetime] = mapped_column(_Instant)
    created_by: Mapped[UUID | None]


class IndexState(Base):
    """The state of a rule on indices on a box, or on its whole site.

    Attributes:
        box_key: the box; 0 for a rule on a whole site.
        judged_us: the end of the newest evaluated period (µs). Later results of earlier periods change
            nothing.
        state: see `app.rules.engine.alert_state_machine`; None at rest.
    """

    __tablename__ = "index_states"

    rule_id: Mapped[UUID] = mapped_column(ForeignKey("rules.id", ondelete="CASCADE"), primary_key=True)
    box_key: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    judged_us: Mapped[int] = mapped_column(BigInteger)
    state: Mapped[list[Any] | None] = mapped_column(JSONB(none_as_null=True))


PUBLISHED_VIEWS: Final = {"rules_definitions": "id, name, definition"}
"""A view that `alerts` and `notifications` join in their own statements (migration 0038). Deleted rules are
included, since alerts refer to them."""
