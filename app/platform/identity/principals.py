"""Who is calling: API keys, people who signed in, their scopes, and the organisation that each speaks for.

A key belongs to one organisation, and may be limited to some of its sites. The platform's own keys may see
and name every organisation, an integrator's its clients too, anybody else's just its own: another's things
look as if they did not exist. Whoever was found is also told to the database
(`app.platform.kernel.tenant_scope`).
"""

import hmac
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, Protocol
from uuid import UUID

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
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
    update,
)
from sqlalchemy.dialects.postgresql import TIMESTAMP
from sqlalchemy.orm import Mapped, mapped_column
from starlette.datastructures import State

from app.platform.db.database import Base, Database
from app.platform.kernel.api_keys import hash_key, is_well_formed_key
from app.platform.kernel.errors import ForbiddenError, InvalidError, UnauthorisedError
from app.platform.kernel.tenant_scope import (
    FULL_SCOPE,
    ScopedCaller,
    TenantScope,
    format_actor,
    run_with_full_scope,
    set_current_caller,
)

SCOPES = (
    "organisations:read",
    "organisations:write",
    "sites:read",
    "sites:write",
    "boxes:write",
    "telemetry:read",
    "telemetry:write",
    "rules:read",
    "rules:write",
    "alerts:read",
    "alerts:write",
    "incidents:read",
    "incidents:write",
    "webhooks:read",
    "webhooks:write",
    "audit:read",
    "members:read",
    "members:write",
    "rights:read",
    "rights:write",
)
ALL_SCOPES = "*"
# What has a scope may do what is a part of it.
_COVERED_BY = {"boxes:write": "sites:write"}
# What concerns an organisation as a whole is not for those who are limited to some of its sites.
_WHOLE = frozenset(
    {
        *("organisations:read", "organisations:write", "webhooks:read", "webhooks:write"),
        *("audit:read", "members:read", "members:write", "rights:read", "rights:write"),
    }
)
NO_KEY = "Send `Authorization: Bearer vg_…` with an API key."
_TOUCH_EVERY = timedelta(minutes=1)
# Where the caller of a request is kept, and what is to be done once it is known.
_PRINCIPAL = "vigie.principal"
_MEETINGS = "vigie.meetings"

bearer = HTTPBearer(
    auto_error=False,
    scheme_name="ApiKey",
    description="An API key, `vg_…`, or what signing in gave, `vgs_…`. `make run` prints the demo's key; "
    "`POST /v1/api-keys` makes more.",
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
    site_ids: Mapped[list[UUID] | None] = mapped_column(ARRAY(Uuid))
    created_at: Mapped[datetime] = mapped_column(TIMESTAMP(timezone=True))
    expires_at: Mapped[datetime | None] = mapped_column(TIMESTAMP(timezone=True))
    last_used_at: Mapped[datetime | None] = mapped_column(TIMESTAMP(timezone=True))
    revoked_at: Mapped[datetime | None] = mapped_column(TIMESTAMP(timezone=True))


# Organisations are a room above: of theirs only the tree matters here.
_ORGANISATIONS = table("organisations", column("id", Uuid), column("parent_id", Uuid), column("kind", Text))


@dataclass(frozen=True, slots=True)
class Principal:
    """The caller of a request.

    Attributes:
        key_id: the key that was used, or the person.
        organisation_id: the organisation that it speaks for.
        platform: True for the platform's administrators, who may name any organisation.
        scopes: what the caller may do.
        reach: what it may see.
        name: what people call it.
        kind: `key`, or `user` for a person who signed in.
        expires_at: when the key ends; None: never, or it is a person.
        integrator_id: the integrator whose client the organisation is; None where it is nobody's.
    """

    key_id: UUID
    organisation_id: UUID
    platform: bool
    scopes: frozenset[str]
    reach: TenantScope
    name: str = ""
    kind: str = field(default="key")
    expires_at: datetime | None = None
    integrator_id: UUID | None = None

    @property
    def tree(self) -> UUID:
        """With whom it shares what may be done at once: its integrator, or its organisation itself."""
        return self.integrator_id or self.organisation_id

    @property
    def called(self) -> str:
        """What refusals call it."""
        return "Your role" if self.kind == "user" else "The API key"

    def may(self, scope: str) -> bool:
        """Tell whether the caller has a scope."""
        return self.has(scope) and not (scope in _WHOLE and self.reach.sites is not None)

    def has(self, scope: str) -> bool:
        """Tell whether it was given a scope, though perhaps for some sites alone."""
        return ALL_SCOPES in self.scopes or scope in self.scopes or _COVERED_BY.get(scope) in self.scopes

    def rights(self) -> dict[str, Any]:
        """What the caller may do and reach now, as JSON, for `still_has`.

        An integrator's clients are not part of it: they come and go without any change of its own rights.
        """
        sites = self.reach.sites
        return {
            "platform": self.platform,
            "scopes": sorted(self.scopes),
            "sites": None if sites is None else [str(site) for site in sites],
        }

    def still_has(self, rights: Mapping[str, Any]) -> bool:
        """Tell whether none of these `rights` was taken away since."""
        sites = self.reach.sites
        held = None if rights["sites"] is None else {UUID(site) for site in rights["sites"]}
        reached = sites is None or (held is not None and held <= set(sites))
        return (
            reached
            and (self.platform or not rights["platform"])
            and all(self.has(scope) for scope in rights["scopes"])
        )

    def visible(self) -> TenantScope:
        """What queries are limited to."""
        return self.reach

    def caller(self) -> ScopedCaller:
        """Whom its transactions are for."""
        return ScopedCaller(self.reach, format_actor(self.kind, self.key_id, self.name), self.tree)

    def owner(self, named: UUID | None) -> UUID:
        """The organisation that a new thing belongs to: the caller's, or another one that it reaches."""
        if named is None or named == self.organisation_id:
            return self.organisation_id
        if self.reach.includes(named):
            return named
        raise InvalidError(
            "`organisation_id` names an organisation that you do not reach. Leave it out for your own; an "
            "integrator may name its clients.",
            code="foreign_organisation",
        )

    def check_whole(self) -> None:
        """Refuse whoever is limited to some sites what concerns the organisation as a whole."""
        if self.reach.sites is not None:
            raise ForbiddenError(
                f"{self.called} is limited to some sites: this concerns the whole organisation.",
                code="limited_to_sites",
            )


def select_client_ids(organisation_id: SQLColumnExpression[UUID]) -> ColumnElement[Sequence[UUID]]:
    """SQL: the organisations whose parent this is, as an array; what `resolve_tenant_scope` asks for."""
    # Under a name of its own: the query around it may be of organisations too.
    client = _ORGANISATIONS.alias("client")
    children = select(client.c.id).where(client.c.parent_id == organisation_id)
    return func.array(children.scalar_subquery())


def select_integrator_id(organisation_id: SQLColumnExpression[UUID]) -> ColumnElement[UUID | None]:
    """SQL: the integrator whose client this organisation is; NULL where it is nobody's, or the platform's."""
    own, parent = _ORGANISATIONS.alias("own"), _ORGANISATIONS.alias("parent")
    return (
        select(parent.c.id)
        .join(own, own.c.parent_id == parent.c.id)
        .where(own.c.id == organisation_id, parent.c.kind == "integrator")
        .scalar_subquery()
    )


# Made once: making it takes longer than asking it, and each request asks it.
_WITH_HASH: Final = select(
    ApiKey, select_client_ids(ApiKey.organisation_id), select_integrator_id(ApiKey.organisation_id)
).where(ApiKey.hash == bindparam("hash"))


def resolve_tenant_scope(
    organisation_id: UUID, clients: Iterable[UUID], site_ids: Iterable[UUID] | None, *, platform: bool
) -> TenantScope:
    """How far a key or a member of an organisation reaches.

    Args:
        organisation_id: whose it is.
        clients: the organisations whose parent that is.
        site_ids: the only sites that it reaches; None: all.
        platform: whether that is the platform's own organisation: without sites to hold it, it reaches all.
    """
    if platform and site_ids is None:
        return FULL_SCOPE
    return TenantScope.of([organisation_id, *clients], site_ids)


class TokenAuthenticator(Protocol):
    """Finds whom a token of another kind than API keys speaks for (`app.state.authenticators`, by prefix)."""

    async def __call__(self, token: str, now: datetime) -> Principal:
        """The caller. UnauthorisedError for a token that is wrong or has ended."""
        ...


async def authenticate_token(state: State, token: str, now: datetime) -> Principal:
    """Find whom a token speaks for, of whatever kind it is (UnauthorisedError).

    Args:
        state: The application's, which the composition root fills.
        token: An API key, or one of another kind.
        now: The time.
    """
    others: dict[str, TokenAuthenticator] = state.authenticators
    for prefix, authenticator in others.items():
        if token.startswith(prefix):
            return await authenticator(token, now)
    return await authenticate_api_key(state.database, token, state.bootstrap_key, now)


async def authenticate_api_key(
    database: Database, key: str, bootstrap: str | None, now: datetime
) -> Principal:
    """Find whom a key speaks for. UnauthorisedError for a wrong, expired or revoked one."""
    is_bootstrap = bootstrap is not None and hmac.compare_digest(key.encode(), bootstrap.encode())
    # The checksum spares the database a query for every invented key.
    if not is_bootstrap and not is_well_formed_key(key):
        raise UnauthorisedError("The API key is not a valid one. Check that it was copied whole.")
    async with database.look_up() as session:
        found = (await session.execute(_WITH_HASH, {"hash": hash_key(key)})).one_or_none()
    if found is None or found[0].revoked_at is not None:
        raise UnauthorisedError("The API key is unknown or was revoked.")
    record, clients, integrator_id = found
    if record.expires_at is not None and record.expires_at <= now:
        raise UnauthorisedError("The API key has expired.", code="key_expired")
    if record.last_used_at is None or now - record.last_used_at > _TOUCH_EVERY:
        with run_with_full_scope():
            async with database.write() as writer:
                await writer.execute(update(ApiKey).where(ApiKey.id == record.id).values(last_used_at=now))
    return Principal(
        record.id,
        record.organisation_id,
        # Whoever is limited to sites administers nothing.
        record.platform and record.site_ids is None,
        frozenset(record.scopes),
        resolve_tenant_scope(record.organisation_id, clients, record.site_ids, platform=record.platform),
        record.name,
        expires_at=record.expires_at,
        integrator_id=integrator_id,
    )


def add_authentication_step(
    scope: MutableMapping[str, Any], step: Callable[[Principal], Awaitable[None]]
) -> None:
    """Have a step done as soon as the caller of a request is known, before anything is done for it.

    Nothing is held meanwhile: it may wait, and it may refuse (a VigieError). A request without a caller, or
    with a wrong one, never comes to it.
    """
    scope.setdefault(_MEETINGS, []).append(step)


def get_known_principal(scope: Mapping[str, Any]) -> Principal | None:
    """The caller of a request, where that was looked up already."""
    known: Principal | None = scope.get(_PRINCIPAL)
    return known


async def current_principal(
    request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]
) -> Principal:
    """FastAPI dependency: the caller, or 401. The key is looked up once a request."""
    if (known := get_known_principal(request.scope)) is not None:
        set_current_caller(known.caller())
        return known
    if credentials is None:
        raise UnauthorisedError(NO_KEY)
    found = await authenticate_token(request.app.state, credentials.credentials, datetime.now(UTC))
    for step in request.scope.get(_MEETINGS, ()):
        await step(found)
    # Only now: whom a step refuses is not to be found here by another dependency.
    request.scope[_PRINCIPAL] = found
    set_current_caller(found.caller())
    return found


async def authenticate_request(request: Request) -> Principal:
    """Look for the caller ahead of the dependencies: 401 before anything else of a request is read."""
    return await current_principal(request, await bearer(request))


@dataclass(frozen=True, slots=True)
class ScopeRequirement:
    """A FastAPI dependency: the caller, if it may; else 403.

    Attributes:
        scope: what its key, or its role, has to have.
        whole: whether those who are limited to some sites are refused too: it concerns the organisation.
    """

    scope: str
    whole: bool = False

    # Asynchronous, though nothing is waited for: FastAPI would run it in a thread.
    async def __call__(self, principal: Annotated[Principal, Depends(current_principal)]) -> Principal:
        """The caller (ForbiddenError, also `limited_to_sites`)."""
        self.check(principal)
        return principal

    def check(self, principal: Principal) -> None:
        """Refuse a caller who may not (ForbiddenError, also `limited_to_sites`)."""
        if not principal.may(self.scope):
            if principal.has(self.scope):
                principal.check_whole()
            raise ForbiddenError(
                f"{principal.called} lacks the scope `{self.scope}`.", extra={"scope": self.scope}
            )
        if self.whole:
            principal.check_whole()


def derive_read_scope(scope: str) -> str:
    """The scope with which one may read what another lets one change."""
    return f"{_COVERED_BY.get(scope, scope).partition(':')[0]}:read"


def require_scope(scope: str, *, whole: bool = False) -> ScopeRequirement:
    """The dependency on a scope, which is one of SCOPES; the arguments are those of `ScopeRequirement`."""
    if scope not in SCOPES:
        raise ValueError(scope)
    return ScopeRequirement(scope, whole)
