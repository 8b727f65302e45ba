"""Defines the table of API keys, and the statements that resolve the tenant scope of a caller."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    ForeignKey,
    LargeBinary,
    SQLColumnExpression,
    Text,
    Uuid,
    bindparam,
    column,
    func,
    select,
    table,
)
from sqlalchemy.dialects.postgresql import TIMESTAMP
from sqlalchemy.orm import Mapped, mapped_column

from app.platform.db.database import Base
from app.platform.kernel.tenant_scope import FULL_SCOPE, TenantScope


class ApiKey(Base):
    """The record of an API key: its hash, never the key."""

    __tablename__ = "api_keys"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    organisation_id: Mapped[UUID] = mapped_column(ForeignKey("organisations.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(Text)
    hint: Mapped[str] = mapped_column(Text)
    hash: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    scopes: Mapped[list[str]] = mapped_column(ARRAY(Text))
    platform: Mapped[bool]
    site_ids: Mapped[list[UUID] | None] = mapped_column(ARRAY(Uuid))
    created_at: Mapped[datetime] = mapped_column(TIMESTAMP(timezone=True))
    expires_at: Mapped[datetime | None] = mapped_column(TIMESTAMP(timezone=True))
    last_used_at: Mapped[datetime | None] = mapped_column(TIMESTAMP(timezone=True))
    revoked_at: Mapped[datetime | None] = mapped_column(TIMESTAMP(timezone=True))


# Organisations belong to a room above. Only their tree matters here.
_ORGANISATIONS = table("organisations", column("id", Uuid), column("parent_id", Uuid), column("kind", Text))


def select_client_ids(organisation_id: SQLColumnExpression[UUID]) -> ColumnElement[Sequence[UUID]]:
    """Return SQL for the clients of an organisation, as an array for `resolve_tenant_scope`."""
    # An alias, as the outer query may select organisations too.
    client = _ORGANISATIONS.alias("client")
    children = select(client.c.id).where(client.c.parent_id == organisation_id)
    return func.array(children.scalar_subquery())


def select_integrator_id(organisation_id: SQLColumnExpression[UUID]) -> ColumnElement[UUID | None]:
    """Return SQL for the integrator of an organisation; NULL where it has none."""
    own, parent = _ORGANISATIONS.alias("own"), _ORGANISATIONS.alias("parent")
    return (
        select(parent.c.id)
        .join(own, own.c.parent_id == parent.c.id)
        .where(own.c.id == organisation_id, parent.c.kind == "integrator")
        .scalar_subquery()
    )


# Built once: building takes longer than executing it, and each request executes it.
SELECT_BY_HASH: Final = select(
    ApiKey, select_client_ids(ApiKey.organisation_id), select_integrator_id(ApiKey.organisation_id)
).where(ApiKey.hash == bindparam("hash"))


def resolve_tenant_scope(
    organisation_id: UUID, clients: Iterable[UUID], site_ids: Iterable[UUID] | None, *, platform: bool
) -> TenantScope:
    """Return the tenant scope of a key or a member of an organisation.

    Args:
        organisation_id: the organisation.
        clients: its clients.
        site_ids: the only sites that the caller may access; None: all.
        platform: whether it is the platform's own organisation, which may access everything unless limited to
            sites.
    """
    if platform and site_ids is None:
        return FULL_SCOPE
    return TenantScope.of([organisation_id, *clients], site_ids)
