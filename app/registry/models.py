"""Maps the tables of organisations, sites, boxes, their enrolment, configurations and purposes."""

from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Column,
    Computed,
    Date,
    ForeignKey,
    Identity,
    Integer,
    LargeBinary,
    Table,
    Text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TIMESTAMP, TSTZMULTIRANGE
from sqlalchemy.orm import Mapped, mapped_column

from app.platform.db.database import Base

_Instant = TIMESTAMP(timezone=True)


class Organisation(Base):
    """A tenant: the platform itself, an integrator, or a client. Integrators can access their clients.

    `quota_…` are its quotas; None: the installation's default. `second_factor_required`: sessions for it have
    no rights until the person has a second factor.
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
    second_factor_required: Mapped[bool] = mapped_column(server_default="false", default=False)
    created_at: Mapped[datetime] = mapped_column(_Instant)
    updated_at: Mapped[datetime] = mapped_column(_Instant)


class Site(Base):
    """A street, an office or another location of boxes. Its time zone defines a day.

    `attributes` are numbers and texts by name; rules can use numbers as thresholds. The `retention_…` and
    `summaries_days` columns are read by `app.registry.site_retention`: `retention_purposes` has days or
    None (for ever) by purpose. The public register shows the site and its boxes as a cell of a grid of
    `register_precision_m`, with the unchanged `address`, and the licence of its open data
    (`open_data_licence`, SPDX).
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
    register_precision_m: Mapped[int] = mapped_column(server_default="100")
    address: Mapped[str | None] = mapped_column(Text)
    open_data_licence: Mapped[str | None] = mapped_column(Text)
    attributes: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default="{}")
    revision: Mapped[int] = mapped_column(BigInteger, server_default="0")
    created_at: Mapped[datetime] = mapped_column(_Instant)
    updated_at: Mapped[datetime] = mapped_column(_Instant)
    # Deferred: only searches compare it (app.platform.db.search_terms).
    search_text: Mapped[str] = mapped_column(
        Text, Computed("fold_search_text(ARRAY[name, address])", persisted=True), deferred=True
    )


class SitePurpose(Base):
    """A purpose that a site has declared. A row is deleted only with its site; otherwise the purpose ends.

    The site's retention decides how long its data are stored.

    Attributes:
        sensitive: It is in force only while it is approved. A constraint refuses an incomplete approval.
        legal_reference: The law or the decision that it is based on.
        controller: The controller (GDPR); None: the site's organisation.
        contact: The contact of the controller.
        impact_assessment: The reference of the data-protection impact assessment.
        notice: The location of the public notice.
        description: The purpose in words for the register.
        open_data: Whether its data are published.
        starts_at: The first measurement time that is accepted; None: any.
        declared_by, approved_by: Ids of a key or a person. `declared_kind` is `key`, `user`, or `system`
            for the default of a new site, which has neither a legal basis nor open data.
    """

    __tablename__ = "site_purposes"

    site_id: Mapped[UUID] = mapped_column(ForeignKey("sites.id", ondelete="CASCADE"), primary_key=True)
    purpose: Mapped[str] = mapped_column(Text, primary_key=True)
    organisation_id: Mapped[UUID] = mapped_column(ForeignKey("organisations.id", ondelete="CASCADE"))
    sensitive: Mapped[bool] = mapped_column(server_default="false")
    legal_basis: Mapped[str | None] = mapped_column(Text)
    legal_reference: Mapped[str | None] = mapped_column(Text)
    controller: Mapped[str | None] = mapped_column(Text)
    contact: Mapped[str | None] = mapped_column(Text)
    impact_assessment: Mapped[str | None] = mapped_column(Text)
    notice: Mapped[str | None] = mapped_column(Text)
    description: Mapped[str | None] = mapped_column(Text)
    description_fr: Mapped[str | None] = mapped_column(Text)
    open_data: Mapped[bool] = mapped_column(server_default="false")
    starts_at: Mapped[datetime | None] = mapped_column(_Instant)
    ends_at: Mapped[datetime | None] = mapped_column(_Instant)
    declared_by: Mapped[UUID | None]
    declared_kind: Mapped[str] = mapped_column(Text, server_default="system")
    declared_at: Mapped[datetime] = mapped_column(_Instant)
    approved_by: Mapped[UUID | None]
    approved_at: Mapped[datetime | None] = mapped_column(_Instant)
    revision: Mapped[int] = mapped_column(BigInteger, server_default="0")
    created_at: Mapped[datetime] = mapped_column(_Instant)
    updated_at: Mapped[datetime] = mapped_column(_Instant)


DOOR_REFUSALS = Table(
    "door_refusals",
    Base.metadata,
    Column("day", Date, nullable=False),
    Column("organisation_id", ForeignKey("organisations.id", ondelete="CASCADE")),
    Column("site_id", ForeignKey("sites.id", ondelete="CASCADE")),
    Column("door", Text, nullable=False),
    Column("code", Text, nullable=False),
    Column("purpose", Text),
    Column("writer", Integer, nullable=False),
    Column("refused", BigInteger, nullable=False),
)
"""The number of refusals for purpose or content, by ingest endpoint (`door`), day (UTC) and connection.

The refused content is never stored. Site and organisation are null if they were not known.
"""


class Box(Base):
    """A connected box. `id` is its name in topics; the hypertable refers to `key`.

    A deleted box stays under its key, without credentials, until its samples are purged; its `id` can be used
    again immediately. A box with revoked credentials (`revoked_at`) has no password hash. The client defines
    kind, tags and attributes; rules can match them. A box that sends by HTTP is shared between processes
    until `shared_until`: see app.timeseries.storage.box_state_cache. Samples with a measurement time within
    `erased` are refused.
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
    edge: Mapped[str | None] = mapped_column(Text)
    revision: Mapped[int] = mapped_column(BigInteger, server_default="0")
    created_at: Mapped[datetime] = mapped_column(_Instant)
    updated_at: Mapped[datetime] = mapped_column(_Instant)
    deleted_at: Mapped[datetime | None] = mapped_column(_Instant)
    revoked_at: Mapped[datetime | None] = mapped_column(_Instant)
    shared_until: Mapped[datetime | None] = mapped_column(_Instant)
    # Deferred: only the ingest pipeline reads it, in SQL.
    erased: Mapped[Any] = mapped_column(TSTZMULTIRANGE, server_default="{}", deferred=True)
    # Time of the move from another site. A trigger writes it; the register and the reads of grants use it.
    came_at: Mapped[datetime | None] = mapped_column(_Instant, deferred=True)
    # Its id in the register and in SensorThings, whose views read it.
    register_number: Mapped[str] = mapped_column(
        Text, Computed("register_number(key, created_at)", persisted=True), deferred=True
    )
    search_text: Mapped[str] = mapped_column(
        Text, Computed("fold_search_text(ARRAY[id, name] || tags)", persisted=True), deferred=True
    )


class BoxConfig(Base):
    """The desired and the last reported configuration of a box. The first of them creates the row.

    It is published if `published_at` is not before `desired_at`. Publishing a `desired` of None removes the
    retained message.
    """

    __tablename__ = "box_configs"

    box_key: Mapped[int] = mapped_column(ForeignKey("boxes.key", ondelete="CASCADE"), primary_key=True)
    desired: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    desired_at: Mapped[datetime | None] = mapped_column(_Instant)
    published_at: Mapped[datetime | None] = mapped_column(_Instant)
    # The transaction of the change. A trigger writes it; only edges read it.
    desired_xid: Mapped[int | None] = mapped_column(BigInteger, deferred=True)
    reported: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    reported_at: Mapped[datetime | None] = mapped_column(_Instant)


class Claim(Base):
    """A code with which an installer registers boxes at one site. Only its hash is stored."""

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
    """A key with which boxes register themselves at one site. Only its hash is stored."""

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
    """The MQTT account with which an organisation reads its alerts. Only the password's hash is stored."""

    __tablename__ = "broker_accounts"

    username: Mapped[str] = mapped_column(Text, primary_key=True)
    organisation_id: Mapped[UUID] = mapped_column(ForeignKey("organisations.id", ondelete="CASCADE"))
    password_hash: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(_Instant)


class FormerBox(Base):
    """A former organisation of a box id. A trigger writes it when a box is deleted."""

    __tablename__ = "former_boxes"

    box: Mapped[str] = mapped_column(Text, primary_key=True)
    organisation_id: Mapped[UUID] = mapped_column(primary_key=True)
    until: Mapped[datetime] = mapped_column(_Instant)
    erased: Mapped[Any] = mapped_column(TSTZMULTIRANGE, server_default="{}", deferred=True)


PUBLISHED_VIEWS: Final = {
    "registry_box_numbers": "key, number",
    "registry_boxes": "key, id, organisation_id, site_id, name, longitude, latitude, tags, deleted_at",
    "registry_former_boxes": "box, organisation_id",
    "registry_sites": "id, name, timezone",
}
"""Views that rooms above join in their own statements (migrations 0038 and 0059), with their columns:
`timeseries`, `quarantine`, `notifications`, `incidents`, `alerts` and `measurement_stream`. `registry_boxes`
includes deleted boxes. `registry_box_numbers` has the numbers of boxes in the public register.
"""
