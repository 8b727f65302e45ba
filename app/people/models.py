"""Tables of people: users, memberships, invitations, sign-ins, tokens for passwords, identities elsewhere."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import ARRAY, ForeignKey, LargeBinary, Text, Uuid
from sqlalchemy.dialects.postgresql import TIMESTAMP
from sqlalchemy.orm import Mapped, mapped_column

from app.people.member_roles import Role
from app.platform.db.database import Base

_Instant = TIMESTAMP(timezone=True)


class User(Base):
    """A person. `email` is in lower case; without a `password_hash` (argon2id) there is no password."""

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
    """What a person is in an organisation; with `site_ids` only for these sites."""

    __tablename__ = "memberships"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="RESTRICT"))
    organisation_id: Mapped[UUID] = mapped_column(ForeignKey("organisations.id", ondelete="CASCADE"))
    role: Mapped[Role] = mapped_column(Text)
    site_ids: Mapped[list[UUID] | None] = mapped_column(ARRAY(Uuid))
    created_at: Mapped[datetime] = mapped_column(_Instant)
    updated_at: Mapped[datetime] = mapped_column(_Instant)


class Invitation(Base):
    """Somebody who may become a member, under an e-mail address. Its token is kept as SHA-256.

    `mail_token` is the token, sealed, until the mail with it is sent or given up. `mail_status` is None where
    none is to be sent; `mail_reason` is why the last attempt failed, the next one is due at `mail_due_at`.
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
    """A sign-in that holds, and the organisation that it works for. Its token is kept as SHA-256."""

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
    """A token with which a person gives themselves a new password, once. It is kept as SHA-256."""

    __tablename__ = "password_resets"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    token_hash: Mapped[bytes] = mapped_column(LargeBinary)
    created_by: Mapped[UUID]
    created_at: Mapped[datetime] = mapped_column(_Instant)
    expires_at: Mapped[datetime] = mapped_column(_Instant)
    used_at: Mapped[datetime | None] = mapped_column(_Instant)


class OidcIdentity(Base):
    """Who a person is at an OpenID Connect provider: what it calls them never changes, an address may."""

    __tablename__ = "oidc_identities"

    issuer: Mapped[str] = mapped_column(Text, primary_key=True)
    subject: Mapped[str] = mapped_column(Text, primary_key=True)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    created_at: Mapped[datetime] = mapped_column(_Instant)
