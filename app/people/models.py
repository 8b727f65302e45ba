"""Maps the tables of people: users, memberships, invitations, sessions, reset tokens, OIDC identities."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import ARRAY, ForeignKey, LargeBinary, Text, Uuid
from sqlalchemy.dialects.postgresql import TIMESTAMP
from sqlalchemy.orm import Mapped, mapped_column

from app.people.member_roles import Role
from app.platform.db.database import Base

_Instant = TIMESTAMP(timezone=True)


class User(Base):
    """A person. `email` is in lower case. `password_hash` is argon2id; None: the person has no password."""

    __tablename__ = "users"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(Text)
    name: Mapped[str] = mapped_column(Text)
    locale: Mapped[str] = mapped_column(Text)
    password_hash: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(_Instant)
    updated_at: Mapped[datetime] = mapped_column(_Instant)
    disabled_at: Mapped[datetime | None] = mapped_column(_Instant)
    last_sign_in_at: Mapped[datetime | None] = mapped_column(_Instant)


class Membership(Base):
    """The role of a person in an organisation, or only for its sites `site_ids`."""

    __tablename__ = "memberships"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="RESTRICT"))
    organisation_id: Mapped[UUID] = mapped_column(ForeignKey("organisations.id", ondelete="CASCADE"))
    role: Mapped[Role] = mapped_column(Text)
    site_ids: Mapped[list[UUID] | None] = mapped_column(ARRAY(Uuid))
    created_at: Mapped[datetime] = mapped_column(_Instant)
    updated_at: Mapped[datetime] = mapped_column(_Instant)


class Invitation(Base):
    """An invitation of an e-mail address to become a member. Only the SHA-256 hash of its token is stored.

    `mail_token` is the encrypted token, until its mail is sent or given up. `mail_status` is None if no mail
    is sent. `mail_reason` is the failure of the last attempt; the next one is due at `mail_due_at`.
    """

    __tablename__ = "invitations"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    organisation_id: Mapped[UUID] = mapped_column(ForeignKey("organisations.id", ondelete="CASCADE"))
    email: Mapped[str] = mapped_column(Text)
    role: Mapped[Role] = mapped_column(Text)
    site_ids: Mapped[list[UUID] | None] = mapped_column(ARRAY(Uuid))
    token_hash: Mapped[bytes] = mapped_column(LargeBinary)
    invited_by: Mapped[UUID]
    invited_by_name: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(_Instant)
    expires_at: Mapped[datetime] = mapped_column(_Instant)
    accepted_at: Mapped[datetime | None] = mapped_column(_Instant)
    revoked_at: Mapped[datetime | None] = mapped_column(_Instant)
    language: Mapped[str] = mapped_column(Text, server_default="en")
    mail_status: Mapped[str | None] = mapped_column(Text)
    mail_reason: Mapped[str | None] = mapped_column(Text)
    mailed_at: Mapped[datetime | None] = mapped_column(_Instant)
    mail_attempts: Mapped[int] = mapped_column(server_default="0")
    mail_due_at: Mapped[datetime | None] = mapped_column(_Instant)
    mail_token: Mapped[str | None] = mapped_column(Text)


class UserSession(Base):
    """A session of a person for one organisation. Only the SHA-256 hash of its token is stored."""

    __tablename__ = "user_sessions"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    token_hash: Mapped[bytes] = mapped_column(LargeBinary)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    organisation_id: Mapped[UUID] = mapped_column(ForeignKey("organisations.id", ondelete="CASCADE"))
    created_at: Mapped[datetime] = mapped_column(_Instant)
    expires_at: Mapped[datetime] = mapped_column(_Instant)
    last_used_at: Mapped[datetime] = mapped_column(_Instant)
    address: Mapped[str] = mapped_column(Text)
    user_agent: Mapped[str] = mapped_column(Text)
    revoked_at: Mapped[datetime | None] = mapped_column(_Instant)


class PasswordResetToken(Base):
    """A token with which a person chooses a new password once. Only its SHA-256 hash is stored."""

    __tablename__ = "password_resets"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    token_hash: Mapped[bytes] = mapped_column(LargeBinary)
    created_by: Mapped[UUID]
    created_at: Mapped[datetime] = mapped_column(_Instant)
    expires_at: Mapped[datetime] = mapped_column(_Instant)
    used_at: Mapped[datetime | None] = mapped_column(_Instant)


class OidcIdentity(Base):
    """The identity of a person at an OpenID Connect provider. The subject never changes; an address may."""

    __tablename__ = "oidc_identities"

    issuer: Mapped[str] = mapped_column(Text, primary_key=True)
    subject: Mapped[str] = mapped_column(Text, primary_key=True)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    created_at: Mapped[datetime] = mapped_column(_Instant)
