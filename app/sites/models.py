"""Tables of organisations, sites and boxes."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, ForeignKey, Identity, LargeBinary, Text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TIMESTAMP, TSTZMULTIRANGE
from sqlalchemy.orm import Mapped, mapped_column

from app.core.database import Base

_Instant = TIMESTAMP(timezone=True)


class Organisation(Base):
    """A tenant: the platform itself, an integrator, or a client. Integrators reach their children's.

    `quota_…` is how much it may have; None: what the installation gives to all.
    """

    __tablename__ = "organisations"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    platform: Mapped[bool] = mapped_column(default=False)
    kind: Mapped[str] = mapped_column(Text, default="client")
    parent_id: Mapped[UUID | None] = mapped_column(ForeignKey("organisations.id", ondelete="RESTRICT"))
    quota_sites: Mapped[int | None] = mapped_column(BigInteger)
    quota_boxes: Mapped[int | None] = mapped_column(BigInteger)
    quota_api_keys: Mapped[int | None] = mapped_column(BigInteger)
    quota_webhooks: Mapped[int | None] = mapped_column(BigInteger)
    quota_clients: Mapped[int | None] = mapped_column(BigInteger)
    quota_samples_per_day: Mapped[int | None] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = mapped_column(_Instant)
    updated_at: Mapped[datetime] = mapped_column(_Instant)


class Site(Base):
    """A street, an office, … where boxes stand. Its time zone says what a day is.

    `attributes` are numbers and texts by name; rules take numbers for thresholds. How long it keeps what is
    measured is `app.sites.retention`'s: `retention_purposes` has days or None by purpose.
    """

    __tablename__ = "sites"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    organisation_id: Mapped[UUID] = mapped_column(ForeignKey("organisations.id", ondelete="RESTRICT"))
    name: Mapped[str] = mapped_column(Text)
    kind: Mapped[str] = mapped_column(Text)
    timezone: Mapped[str] = mapped_column(Text)
    longitude: Mapped[float]
    latitude: Mapped[float]
    retention_days: Mapped[int | None]
    retention_purposes: Mapped[dict[str, int | None]] = mapped_column(JSONB, server_default="{}")
    retention_removes: Mapped[bool] = mapped_column(server_default="false")
    summaries_days: Mapped[int | None]
    attributes: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default="{}")
    revision: Mapped[int] = mapped_column(BigInteger, server_default="0")
    created_at: Mapped[datetime] = mapped_column(_Instant)
    updated_at: Mapped[datetime] = mapped_column(_Instant)


class Box(Base):
    """A connected box. `id` is its name on every topic; `key` is what the hypertable refers to.

    A deleted box is kept under its key, without credentials, until its samples are purged; its `id` is free
    again at once. One whose credentials are revoked (`revoked_at`) is kept without a password.
    Its kind, tags and attributes are the client's own; rules go by them where they say so.
    One that sends by HTTP is shared between processes until `shared_until`: see app.observations.states.
    Nothing measured within `erased` is taken any more.
    """

    __tablename__ = "boxes"

    key: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    id: Mapped[str] = mapped_column(Text)
    organisation_id: Mapped[UUID] = mapped_column(ForeignKey("organisations.id", ondelete="RESTRICT"))
    site_id: Mapped[UUID] = mapped_column(ForeignKey("sites.id", ondelete="RESTRICT"))
    name: Mapped[str | None] = mapped_column(Text)
    longitude: Mapped[float | None]
    latitude: Mapped[float | None]
    interval_s: Mapped[int]
    ack: Mapped[bool]
    kind: Mapped[str | None] = mapped_column(Text)
    tags: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default="{}")
    attributes: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default="{}")
    password_hash: Mapped[str] = mapped_column(Text)
    state: Mapped[str | None] = mapped_column(Text)
    state_at: Mapped[datetime | None] = mapped_column(_Instant)
    firmware: Mapped[str | None] = mapped_column(Text)
    battery: Mapped[float | None]
    rssi: Mapped[float | None]
    revision: Mapped[int] = mapped_column(BigInteger, server_default="0")
    created_at: Mapped[datetime] = mapped_column(_Instant)
    updated_at: Mapped[datetime] = mapped_column(_Instant)
    deleted_at: Mapped[datetime | None] = mapped_column(_Instant)
    revoked_at: Mapped[datetime | None] = mapped_column(_Instant)
    shared_until: Mapped[datetime | None] = mapped_column(_Instant)
    # For the pipeline, which reads it in SQL.
    erased: Mapped[Any] = mapped_column(TSTZMULTIRANGE, server_default="{}", deferred=True)


class BoxConfig(Base):
    """What a box should be configured to, and what it last said that it is. Made at the first of the two.

    Published when `published_at` is not before `desired_at`; a `desired` of None removes what was retained.
    """

    __tablename__ = "box_configs"

    box_key: Mapped[int] = mapped_column(ForeignKey("boxes.key", ondelete="CASCADE"), primary_key=True)
    desired: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    desired_at: Mapped[datetime | None] = mapped_column(_Instant)
    published_at: Mapped[datetime | None] = mapped_column(_Instant)
    reported: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    reported_at: Mapped[datetime | None] = mapped_column(_Instant)


class Claim(Base):
    """A code with which an installer registers boxes at one site. Its hash is kept, never the code."""

    __tablename__ = "claims"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    organisation_id: Mapped[UUID] = mapped_column(ForeignKey("organisations.id", ondelete="CASCADE"))
    site_id: Mapped[UUID] = mapped_column(ForeignKey("sites.id", ondelete="CASCADE"))
    name: Mapped[str | None] = mapped_column(Text)
    hint: Mapped[str] = mapped_column(Text)
    hash: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    boxes: Mapped[int]
    used: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[datetime] = mapped_column(_Instant)
    expires_at: Mapped[datetime] = mapped_column(_Instant)
    last_used_at: Mapped[datetime | None] = mapped_column(_Instant)
    revoked_at: Mapped[datetime | None] = mapped_column(_Instant)


class ProvisioningKey(Base):
    """A key with which boxes register themselves at one site. Its hash is kept, never the key."""

    __tablename__ = "provisioning_keys"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    organisation_id: Mapped[UUID] = mapped_column(ForeignKey("organisations.id", ondelete="CASCADE"))
    site_id: Mapped[UUID] = mapped_column(ForeignKey("sites.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(Text)
    hint: Mapped[str] = mapped_column(Text)
    hash: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    id_prefix: Mapped[str | None] = mapped_column(Text)
    box_limit: Mapped[int | None]
    used: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[datetime] = mapped_column(_Instant)
    expires_at: Mapped[datetime | None] = mapped_column(_Instant)
    last_used_at: Mapped[datetime | None] = mapped_column(_Instant)
    revoked_at: Mapped[datetime | None] = mapped_column(_Instant)


class BrokerAccount(Base):
    """The account at the broker under which an organisation reads its alerts; its password is hashed."""

    __tablename__ = "broker_accounts"

    username: Mapped[str] = mapped_column(Text, primary_key=True)
    organisation_id: Mapped[UUID] = mapped_column(ForeignKey("organisations.id", ondelete="CASCADE"))
    password_hash: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(_Instant)
