"""Maps the tables of people: users, memberships, invitations, sessions, reset tokens, identities, factors."""

from datetime import datetime
from typing import Literal
from uuid import UUID

from sqlalchemy import ARRAY, BigInteger, ForeignKey, LargeBinary, Text, Uuid
from sqlalchemy.dialects.postgresql import TIMESTAMP
from sqlalchemy.orm import Mapped, mapped_column

from app.people.member_roles import Role
from app.platform.db.database import Base

_Instant = TIMESTAMP(timezone=True)
SignInMethod = Literal["password", "passkey", "provider"]
AccountMailKind = Literal[
    "totp_added",
    "totp_removed",
    "passkey_added",
    "passkey_removed",
    "factors_removed",
    "recovery_codes_replaced",
    "recovery_code_used",
]


class User(Base):
    """A person. `email` is in lower case. `password_hash` is argon2id; None: the person has no password.

    `second_factor_at` is when the person enrolled a second factor; None: they have none.
    """

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
    second_factor_at: Mapped[datetime | None] = mapped_column(_Instant)


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
    """A session of a person for one organisation. Only the SHA-256 hash of its token is stored.

    `method` is how the person signed in. `authenticated_at` is when they last proved in it who they are;
    None: another session opened it.
    """

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
    # Without the table's default: SQLAlchemy would leave out None, and the session would count as proved now.
    authenticated_at: Mapped[datetime | None] = mapped_column(_Instant)
    method: Mapped[SignInMethod] = mapped_column(Text, server_default="password")


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


class TotpSecret(Base):
    """The secret of a person's authenticator app (RFC 6238), encrypted.

    `confirmed_at` is None until the person has given a first code. `last_step` is the time step of the last
    accepted code: no code is accepted twice.
    """

    __tablename__ = "totp_secrets"

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    secret: Mapped[str] = mapped_column(Text)
    last_step: Mapped[int | None] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = mapped_column(_Instant)
    confirmed_at: Mapped[datetime | None] = mapped_column(_Instant)


class Passkey(Base):
    """A passkey of a person (WebAuthn): its public key in COSE form, and its signature counter."""

    __tablename__ = "passkeys"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    credential_id: Mapped[bytes] = mapped_column(LargeBinary)
    public_key: Mapped[bytes] = mapped_column(LargeBinary)
    sign_count: Mapped[int] = mapped_column(BigInteger)
    transports: Mapped[list[str]] = mapped_column(ARRAY(Text))
    name: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(_Instant)
    last_used_at: Mapped[datetime | None] = mapped_column(_Instant)


class RecoveryCodes(Base):
    """The unused recovery codes of a person, as SHA-256 hashes: the codes are random."""

    __tablename__ = "recovery_codes"

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    code_hashes: Mapped[list[bytes]] = mapped_column(ARRAY(LargeBinary))
    created_at: Mapped[datetime] = mapped_column(_Instant)


class UsedChallenge(Base):
    """A challenge that was answered. It is stored until it expires, so that nobody answers it again."""

    __tablename__ = "used_challenges"

    nonce_hash: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    expires_at: Mapped[datetime] = mapped_column(_Instant)


class AccountMail(Base):
    """A mail to a person about a change of their second factors, until it was sent or is given up."""

    __tablename__ = "account_mails"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    kind: Mapped[AccountMailKind] = mapped_column(Text)
    email: Mapped[str] = mapped_column(Text)
    language: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(_Instant)
    due_at: Mapped[datetime] = mapped_column(_Instant)
    attempts: Mapped[int] = mapped_column(server_default="0")
