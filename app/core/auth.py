"""Who is calling: API keys, their scopes, and the organisation that each one speaks for.

A key belongs to one organisation. The platform's own keys may see and name every organisation; anybody
else sees its own, and another's things look as if they did not exist.
"""

import hmac
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from sqlalchemy import ARRAY, ForeignKey, LargeBinary, Text, select, update
from sqlalchemy.dialects.postgresql import TIMESTAMP
from sqlalchemy.orm import Mapped, mapped_column

from app.core.database import Base, Database
from app.core.errors import ForbiddenError, InvalidError, UnauthorisedError
from app.core.keys import hash_key, well_formed

SCOPES = (
    "organisations:read",
    "organisations:write",
    "sites:read",
    "sites:write",
    "telemetry:read",
    "telemetry:write",
    "rules:read",
    "rules:write",
    "alerts:read",
    "alerts:write",
    "webhooks:read",
    "webhooks:write",
)
ALL = "*"
NO_KEY = "Send `Authorization: Bearer vg_…` with an API key."
_TOUCH_EVERY = timedelta(minutes=1)
# Where the caller of a request is kept.
_PRINCIPAL = "vigie.principal"

bearer = HTTPBearer(
    auto_error=False,
    scheme_name="ApiKey",
    description="An API key, `vg_…`. `make run` prints the demo's; `POST /v1/api-keys` makes more.",
)


class ApiKey(Base):
    """A key's record: its hash, never the key."""

    __tablename__ = "api_keys"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    organisation_id: Mapped[UUID] = mapped_column(ForeignKey("organisations.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(Text)
    hint: Mapped[str] = mapped_column(Text)
    hash: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    scopes: Mapped[list[str]] = mapped_column(ARRAY(Text))
    platform: Mapped[bool]
    created_at: Mapped[datetime] = mapped_column(TIMESTAMP(timezone=True))
    expires_at: Mapped[datetime | None] = mapped_column(TIMESTAMP(timezone=True))
    last_used_at: Mapped[datetime | None] = mapped_column(TIMESTAMP(timezone=True))
    revoked_at: Mapped[datetime | None] = mapped_column(TIMESTAMP(timezone=True))


@dataclass(frozen=True, slots=True)
class Principal:
    """The caller of a request.

    Attributes:
        key_id: the key that was used.
        organisation_id: the organisation that it speaks for.
        platform: True for the platform's administrators, who may name any organisation.
        scopes: what the key may do.
    """

    key_id: UUID
    organisation_id: UUID
    platform: bool
    scopes: frozenset[str]

    def may(self, scope: str) -> bool:
        """Tell whether the key has a scope."""
        return ALL in self.scopes or scope in self.scopes

    def visible(self) -> UUID | None:
        """The organisation that queries are limited to; None for the platform's administrators."""
        return None if self.platform else self.organisation_id

    def owner(self, named: UUID | None) -> UUID:
        """The organisation that a new thing belongs to. Only administrators may name another."""
        if named is None or named == self.organisation_id:
            return self.organisation_id
        if self.platform:
            return named
        raise InvalidError(
            "`organisation_id` names another organisation. Leave it out: the key's own is meant.",
            code="foreign_organisation",
        )


async def authenticate(database: Database, key: str, bootstrap: str | None, now: datetime) -> Principal:
    """Find whom a key speaks for. UnauthorisedError for a wrong, expired or revoked one."""
    is_bootstrap = bootstrap is not None and hmac.compare_digest(key.encode(), bootstrap.encode())
    # The checksum spares the database a query for every invented key.
    if not is_bootstrap and not well_formed(key):
        raise UnauthorisedError("The API key is not a valid one. Check that it was copied whole.")
    async with database.read() as session:
        record = await session.scalar(select(ApiKey).where(ApiKey.hash == hash_key(key)))
    if record is None or record.revoked_at is not None:
        raise UnauthorisedError("The API key is unknown or was revoked.")
    if record.expires_at is not None and record.expires_at <= now:
        raise UnauthorisedError("The API key has expired.", code="key_expired")
    if record.last_used_at is None or now - record.last_used_at > _TOUCH_EVERY:
        async with database.write() as writer:
            await writer.execute(update(ApiKey).where(ApiKey.id == record.id).values(last_used_at=now))
    return Principal(record.id, record.organisation_id, record.platform, frozenset(record.scopes))


async def current_principal(
    request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]
) -> Principal:
    """FastAPI dependency: the caller, or 401. The key is looked up once a request."""
    known: Principal | None = request.scope.get(_PRINCIPAL)
    if known is not None:
        return known
    if credentials is None:
        raise UnauthorisedError(NO_KEY)
    state = request.app.state
    found = await authenticate(
        state.database, credentials.credentials, state.bootstrap_key, datetime.now(UTC)
    )
    request.scope[_PRINCIPAL] = found
    return found


async def identify(request: Request) -> None:
    """Look for the caller ahead of the dependencies: 401 before anything else of a request is read."""
    await current_principal(request, await bearer(request))


def requires(scope: str) -> Callable[[Principal], Principal]:
    """FastAPI dependency factory: the caller, if its key has `scope`; else 403."""
    if scope not in SCOPES:
        raise ValueError(scope)

    def check(principal: Annotated[Principal, Depends(current_principal)]) -> Principal:
        if not principal.may(scope):
            raise ForbiddenError(f"The API key lacks the scope `{scope}`.", extra={"scope": scope})
        return principal

    return check
