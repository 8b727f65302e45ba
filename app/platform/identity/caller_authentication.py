"""Authenticates callers by API key or session, and checks their scopes and tenant scope.

A key belongs to one organisation and may be limited to some of its sites. The platform's keys may access
every organisation, an integrator's also its clients, all others only their own. Resources outside the tenant
scope look as if they did not exist. The caller is also set for row-level security
(`app.platform.kernel.tenant_scope`).
"""

import hmac
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from sqlalchemy import update

from app.platform.db.database import Database
from app.platform.identity.api_keys import SELECT_BY_HASH, ApiKey, resolve_tenant_scope
from app.platform.identity.grant_access import GrantUseRecorder, begin_grant_use
from app.platform.identity.principal_cache import PrincipalCache
from app.platform.kernel.application_resources import get_resource
from app.platform.kernel.errors import ForbiddenError, InvalidError, UnauthorisedError
from app.platform.kernel.secret_tokens import hash_key, is_well_formed_key
from app.platform.kernel.tenant_scope import (
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
    "grants:read",
    "grants:write",
)
ALL_SCOPES = "*"
# A scope that includes a narrower one.
_COVERED_BY = {"boxes:write": "sites:write"}
# Scopes of the whole organisation: not for callers limited to some sites.
_WHOLE = frozenset(
    {
        *("organisations:read", "organisations:write", "webhooks:read", "webhooks:write"),
        *("audit:read", "members:read", "members:write", "rights:read", "rights:write"),
        *("grants:read", "grants:write"),
    }
)
NO_KEY = "Send `Authorization: Bearer vg_…` with an API key."
_TOUCH_EVERY = timedelta(minutes=1)
# Keys of the ASGI scope: the authenticated caller, and the steps after authentication.
_PRINCIPAL = "vigie.principal"
_AUTHENTICATION_STEPS = "vigie.authentication_steps"

SecondFactorState = Literal["enrolled", "missing", "provider", "not_required"]
"""Whether a person has a second factor: `missing` if the organisation requires one and there is none,
`provider` if the sign-in through the OpenID Connect provider counts instead.
"""

bearer = HTTPBearer(
    auto_error=False,
    scheme_name="ApiKey",
    description="An API key, `vg_…`, or a session token, `vgs_…`. `make run` prints the demo's key; "
    "`POST /v1/api-keys` creates more.",
)


@dataclass(frozen=True, slots=True)
class Principal:
    """The caller of a request.

    Attributes:
        key_id: id of the API key, or of the person.
        organisation_id: the organisation of the key or the session.
        platform: True for the platform's administrators, who may access any organisation.
        scopes: the caller's permissions.
        tenant_scope: the organisations and sites that it may access.
        name: its display name.
        kind: `key`, `user` for a person who signed in, or `grant` for a third party with the key of a
            grant, whose limits are in `tenant_scope.grant`.
        expires_at: when the key expires; None: never, or it is a person.
        integrator_id: the integrator of the organisation; None where it is no client.
        valid_until: when the key or the session ends if nothing changes; None: never.
        second_factor: the state of a person's second factor; None for a key. If it is `missing`, the person
            has no scopes, and only routes of their own account answer.
    """

    key_id: UUID
    organisation_id: UUID
    platform: bool
    scopes: frozenset[str]
    tenant_scope: TenantScope
    name: str = ""
    kind: str = field(default="key")
    expires_at: datetime | None = None
    integrator_id: UUID | None = None
    valid_until: datetime | None = None
    second_factor: SecondFactorState | None = None
    scoped_caller: ScopedCaller = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Make the caller for transactions once, as a principal serves many requests."""
        actor = format_actor(self.kind, self.key_id, self.name)
        object.__setattr__(self, "scoped_caller", ScopedCaller(self.tenant_scope, actor, self.tree))

    @property
    def tree(self) -> UUID:
        """The organisation with which it shares its limits: the integrator, or its own organisation."""
        return self.integrator_id or self.organisation_id

    @property
    def called(self) -> str:
        """How refusals name it."""
        names = {"user": "Your role", "grant": "The key of the grant"}
        return names.get(self.kind, "The API key")

    def may(self, scope: str) -> bool:
        """Return whether the caller has a scope for the whole request."""
        return self.has(scope) and not (scope in _WHOLE and self.tenant_scope.sites is not None)

    def has(self, scope: str) -> bool:
        """Return whether the caller has a scope, at least for some sites."""
        return ALL_SCOPES in self.scopes or scope in self.scopes or _COVERED_BY.get(scope) in self.scopes

    def rights(self) -> dict[str, Any]:
        """Return the caller's rights as JSON for `still_has`, without an integrator's changing clients."""
        sites = self.tenant_scope.sites
        return {
            "platform": self.platform,
            "scopes": sorted(self.scopes),
            "sites": None if sites is None else [str(site) for site in sites],
        }

    def still_has(self, rights: Mapping[str, Any]) -> bool:
        """Return whether the caller still has all of these `rights`."""
        sites = self.tenant_scope.sites
        held = None if rights["sites"] is None else {UUID(site) for site in rights["sites"]}
        sites_in_scope = sites is None or (held is not None and held <= set(sites))
        return (
            sites_in_scope
            and (self.platform or not rights["platform"])
            and all(self.has(scope) for scope in rights["scopes"])
        )

    def visible(self) -> TenantScope:
        """Return the tenant scope that limits queries."""
        return self.tenant_scope

    def caller(self) -> ScopedCaller:
        """Return the caller for transactions."""
        return self.scoped_caller

    def owner(self, named: UUID | None) -> UUID:
        """Return the owner of a new resource: the caller's organisation, or another one in its scope."""
        if named is None or named == self.organisation_id:
            return self.organisation_id
        if self.tenant_scope.includes(named):
            return named
        raise InvalidError(
            "You have no access to the organisation `organisation_id`. Omit it for your own; an integrator "
            "may name its clients.",
            code="foreign_organisation",
        )

    def check_whole(self) -> None:
        """Refuse a caller that is limited to some sites, for resources of the whole organisation."""
        if self.tenant_scope.sites is not None:
            raise ForbiddenError(
                f"{self.called} is limited to some sites, but this call concerns the whole organisation.",
                code="limited_to_sites",
            )


type TokenAuthenticator = Callable[[str, datetime], Awaitable[Principal]]
"""Authenticates a token at a time (UnauthorisedError for a wrong or expired one)."""


@dataclass(frozen=True, slots=True)
class CallerAuthenticator:
    """Authenticates the callers of the application.

    Attributes:
        database: Where keys are stored.
        bootstrap_key: The key of the first administrator, which has no checksum; None: there is none.
        others: Authenticators of tokens that are no API keys, by the prefix of the token.
        cache: The callers of recent requests.
    """

    database: Database
    bootstrap_key: str | None
    others: Mapping[str, TokenAuthenticator]
    cache: PrincipalCache = field(default_factory=PrincipalCache)

    async def authenticate(self, token: str, now: datetime) -> Principal:
        """Authenticate an API key or another token (UnauthorisedError)."""
        digest = hash_key(token)
        principal = self.cache.get(digest, now)
        if principal is None:
            version = self.cache.version
            principal = await self._look_up(token, now)
            self.cache.add(digest, principal, version=version)
        return principal

    async def _look_up(self, token: str, now: datetime) -> Principal:
        for prefix, authenticator in self.others.items():
            if token.startswith(prefix):
                return await authenticator(token, now)
        return await self._authenticate_key(token, now)

    async def _authenticate_key(self, key: str, now: datetime) -> Principal:
        """Authenticate an API key (UnauthorisedError: it is wrong, revoked, or expired: `key_expired`)."""
        is_bootstrap = self.bootstrap_key is not None and hmac.compare_digest(
            key.encode(), self.bootstrap_key.encode()
        )
        # The checksum avoids a query for every invented key.
        if not is_bootstrap and not is_well_formed_key(key):
            raise UnauthorisedError("The API key is not valid. Check that you copied all of it.")
        async with self.database.look_up() as session:
            found = (await session.execute(SELECT_BY_HASH, {"hash": hash_key(key)})).one_or_none()
        if found is None or found[0].revoked_at is not None:
            raise UnauthorisedError("The API key does not exist or was revoked. Use another one.")
        record, clients, integrator_id = found
        if record.expires_at is not None and record.expires_at <= now:
            raise UnauthorisedError("The API key has expired. Create a new one.", code="key_expired")
        if record.last_used_at is None or now - record.last_used_at > _TOUCH_EVERY:
            with run_with_full_scope():
                async with self.database.write(changes_access=False) as writer:
                    await writer.execute(
                        update(ApiKey).where(ApiKey.id == record.id).values(last_used_at=now)
                    )
        return Principal(
            record.id,
            record.organisation_id,
            # A key limited to sites is no administrator's.
            record.platform and record.site_ids is None,
            frozenset(record.scopes),
            resolve_tenant_scope(record.organisation_id, clients, record.site_ids, platform=record.platform),
            record.name,
            expires_at=record.expires_at,
            integrator_id=integrator_id,
            valid_until=record.expires_at,
        )


def add_authentication_step(
    scope: MutableMapping[str, Any], step: Callable[[Principal], Awaitable[None]]
) -> None:
    """Run a step after the caller of a request was authenticated, before anything is done for it.

    The step may wait, as the request holds no resources then, and it may refuse (a VigieError). It does not
    run for a request without a valid caller.
    """
    scope.setdefault(_AUTHENTICATION_STEPS, []).append(step)


def get_known_principal(scope: Mapping[str, Any]) -> Principal | None:
    """Return the caller of a request if it was already authenticated."""
    known: Principal | None = scope.get(_PRINCIPAL)
    return known


async def current_principal(
    request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]
) -> Principal:
    """FastAPI dependency: the caller, or 401. The key is looked up once per request."""
    return await _authenticate(request, None if credentials is None else credentials.credentials)


async def authenticate_request(request: Request) -> Principal:
    """Authenticate before the dependencies run: 401 comes before anything else is read."""
    # As HTTPBearer does, without a model of the header.
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    token = token.strip()
    return await _authenticate(request, token if token and scheme.lower() == "bearer" else None)


async def _authenticate(request: Request, token: str | None) -> Principal:
    principal = get_known_principal(request.scope)
    if principal is None:
        principal = await _identify(request, token)
    set_current_caller(principal.caller())
    # Here, so that a new route is closed unless it says otherwise.
    if principal.second_factor == "missing" and not getattr(
        request.scope.get("route"), "open_without_second_factor", False
    ):
        raise ForbiddenError(
            "Your organisation requires a second factor, and you have none. Enrol one with "
            "`POST /v1/me/totp` or `POST /v1/me/passkeys/options`, then call again.",
            code="second_factor_needed",
        )
    begin_grant_use(
        principal, request.scope.get("route"), lambda: get_resource(request.app, GrantUseRecorder)
    )
    return principal


async def _identify(request: Request, token: str | None) -> Principal:
    if token is None:
        raise UnauthorisedError(NO_KEY)
    authenticator = get_resource(request.app, CallerAuthenticator)
    found = await authenticator.authenticate(token, datetime.now(UTC))
    for step in request.scope.get(_AUTHENTICATION_STEPS, ()):
        await step(found)
    # Only now: no other dependency may find a caller that a step refused.
    request.scope[_PRINCIPAL] = found
    return found


@dataclass(frozen=True, slots=True)
class ScopeRequirement:
    """A FastAPI dependency: the caller if it has a scope; else 403.

    Attributes:
        scope: the required scope.
        whole: whether to refuse callers that are limited to some sites, as it concerns the whole
            organisation.
    """

    scope: str
    whole: bool = False

    # Asynchronous although it does not wait: FastAPI would run it in a thread.
    async def __call__(self, principal: Annotated[Principal, Depends(current_principal)]) -> Principal:
        """Return the caller (ForbiddenError, also `limited_to_sites`)."""
        self.check(principal)
        return principal

    def check(self, principal: Principal) -> None:
        """Refuse a caller without the scope (ForbiddenError, also `limited_to_sites`)."""
        if not principal.may(self.scope):
            if principal.has(self.scope):
                principal.check_whole()
            raise ForbiddenError(
                f"{principal.called} lacks the scope `{self.scope}`.", extra={"scope": self.scope}
            )
        if self.whole:
            principal.check_whole()


def derive_read_scope(scope: str) -> str:
    """Return the scope that allows reading what another scope allows changing."""
    return f"{_COVERED_BY.get(scope, scope).partition(':')[0]}:read"


def require_scope(scope: str, *, whole: bool = False) -> ScopeRequirement:
    """Return the dependency on one of SCOPES; the arguments are those of `ScopeRequirement`."""
    if scope not in SCOPES:
        raise ValueError(scope)
    return ScopeRequirement(scope, whole)
