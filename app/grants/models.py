"""Maps the tables of grants, their acceptances, keys and uses."""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import ARRAY, BigInteger, ForeignKey, LargeBinary, Text, Uuid
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP
from sqlalchemy.orm import Mapped, mapped_column

from app.platform.db.database import Base

_Instant = TIMESTAMP(timezone=True)

GrantState = Literal["offered", "active", "suspended", "expired", "revoked"]
"""The state of a grant. Its keys open something only while it is `active`."""


class Grant(Base):
    """A right of a third party to measurements.

    Attributes:
        recipient: The name of the third party.
        recipient_country: Its country (ISO 3166-1 alpha-2).
        contact: Its e-mail address; None once the grant has ended and the retention of contacts is over.
        purpose: What the recipient uses the data for.
        covers_from: The first measurement time that can be read; None: without a start.
        covers_until: The end of the measurement times, exclusive; None: without an end.
        precision_m: Cell size of the grid on which positions are shown (m); None: exact.
        terms: The terms that the recipient accepts, or where they are.
        is_recipient_published: Whether the public register names the recipient.
        offered: Wider values by field, which apply when the recipient accepts them; None: there are none.
        link_hash: The hash of the token of the link by which the recipient accepts; None: there is none.
    """

    __tablename__ = "grants"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    organisation_id: Mapped[UUID] = mapped_column(ForeignKey("organisations.id", ondelete="CASCADE"))
    recipient: Mapped[str] = mapped_column(Text)
    recipient_country: Mapped[str] = mapped_column(Text)
    contact: Mapped[str | None] = mapped_column(Text)
    purpose: Mapped[str] = mapped_column(Text)
    site_ids: Mapped[list[UUID]] = mapped_column(ARRAY(Uuid))
    metrics: Mapped[list[str]] = mapped_column(ARRAY(Text))
    covers_from: Mapped[datetime | None] = mapped_column(_Instant)
    covers_until: Mapped[datetime | None] = mapped_column(_Instant)
    precision_m: Mapped[int | None]
    terms: Mapped[str] = mapped_column(Text)
    valid_until: Mapped[datetime] = mapped_column(_Instant)
    is_recipient_published: Mapped[bool] = mapped_column(server_default="false", default=False)
    offered: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    link_hash: Mapped[bytes | None] = mapped_column(LargeBinary, unique=True)
    link_expires_at: Mapped[datetime | None] = mapped_column(_Instant)
    accepted_at: Mapped[datetime | None] = mapped_column(_Instant)
    suspended_at: Mapped[datetime | None] = mapped_column(_Instant)
    revoked_at: Mapped[datetime | None] = mapped_column(_Instant)
    created_at: Mapped[datetime] = mapped_column(_Instant)
    updated_at: Mapped[datetime] = mapped_column(_Instant)

    def state(self, now: datetime) -> GrantState:
        """Compute the state at a time."""
        if self.revoked_at is not None:
            return "revoked"
        if self.valid_until <= now:
            return "expired"
        if self.accepted_at is None:
            return "offered"
        return "active" if self.suspended_at is None else "suspended"


class GrantAcceptance(Base):
    """The acceptance of a grant's terms by a person of the recipient.

    Attributes:
        name: The person; None once the retention of contacts is over.
        address: The IP address; None likewise, or if it is unknown.
        terms_hash: SHA-256 of the terms (hexadecimal).
        content: The accepted content of the grant, by field.
        content_hash: The hash of that content, as the person sent it (hexadecimal).
    """

    __tablename__ = "grant_acceptances"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    grant_id: Mapped[UUID] = mapped_column(ForeignKey("grants.id", ondelete="CASCADE"))
    organisation_id: Mapped[UUID] = mapped_column(ForeignKey("organisations.id", ondelete="CASCADE"))
    accepted_at: Mapped[datetime] = mapped_column(_Instant)
    name: Mapped[str | None] = mapped_column(Text)
    address: Mapped[str | None] = mapped_column(Text)
    terms_hash: Mapped[str] = mapped_column(Text)
    content: Mapped[dict[str, Any]] = mapped_column(JSONB)
    content_hash: Mapped[str] = mapped_column(Text)


class GrantKey(Base):
    """A key of a grant: its hash, never the key. `hint` is its beginning."""

    __tablename__ = "grant_keys"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    grant_id: Mapped[UUID] = mapped_column(ForeignKey("grants.id", ondelete="CASCADE"))
    organisation_id: Mapped[UUID] = mapped_column(ForeignKey("organisations.id", ondelete="CASCADE"))
    hint: Mapped[str] = mapped_column(Text)
    hash: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    created_at: Mapped[datetime] = mapped_column(_Instant)
    revoked_at: Mapped[datetime | None] = mapped_column(_Instant)


class StoredGrantUse(Base):
    """What was read by a key of a grant in an hour, of one kind.

    Attributes:
        kind: `readings`, `export` … (`GrantUseKind`).
        hour: The beginning of the hour, in UTC.
        value_count: The number of values that were shown.
        site_ids, metrics: Of these values.
        audited_at: When the audit log got its entry; None: not yet, as the hour is not over.
    """

    __tablename__ = "grant_uses"

    grant_id: Mapped[UUID] = mapped_column(ForeignKey("grants.id", ondelete="CASCADE"), primary_key=True)
    key_id: Mapped[UUID] = mapped_column(ForeignKey("grant_keys.id", ondelete="CASCADE"), primary_key=True)
    kind: Mapped[str] = mapped_column(Text, primary_key=True)
    hour: Mapped[datetime] = mapped_column(_Instant, primary_key=True)
    organisation_id: Mapped[UUID] = mapped_column(ForeignKey("organisations.id", ondelete="CASCADE"))
    calls: Mapped[int] = mapped_column(BigInteger)
    value_count: Mapped[int] = mapped_column(BigInteger)
    site_ids: Mapped[list[UUID]] = mapped_column(ARRAY(Uuid))
    metrics: Mapped[list[str]] = mapped_column(ARRAY(Text))
    first_at: Mapped[datetime] = mapped_column(_Instant)
    last_at: Mapped[datetime] = mapped_column(_Instant)
    audited_at: Mapped[datetime | None] = mapped_column(_Instant)
