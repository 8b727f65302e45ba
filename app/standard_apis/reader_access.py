"""Limits reads of SensorThings, OGC API and NGSI-LD to the caller's access, and to a time budget.

Readers with a key see their tenant scope. Anonymous readers see open data, if the operator enabled that.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Final

from fastapi import Depends, Request, Response
from fastapi.security import HTTPAuthorizationCredentials
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from app.platform.db.database import ReadSession
from app.platform.db.standby_reads import SessionReads
from app.platform.http.contract.session_dependencies import SessionReadsDependency
from app.platform.identity.caller_authentication import (
    Principal,
    bearer,
    current_principal,
    require_scope,
)
from app.platform.kernel.application_resources import get_resource, make_resource_dependency
from app.platform.kernel.errors import UnauthorisedError
from app.platform.kernel.grant_limits import GrantLimits
from app.platform.runtime.stored_settings import InstallationSettings
from app.standard_apis.open_data_context import OpenData, OpenDataContext
from app.standard_apis.query_error import QueryError
from app.standard_apis.settings import StandardApiSettings

BUDGET_S: Final = 10.0
"""The time that all statements of a request may need together (s)."""
_CANCELLING_MS: Final = 1_000
_QUERY_CANCELED: Final = "57014"
# The class of errors that a query's values cause: overflow, a time out of range, a character that is no text.
_DATA_EXCEPTION: Final = "22"
# Too many columns, too many arguments, too deep nesting.
_PROGRAM_LIMIT_EXCEEDED: Final = "54"
_OPEN_MAX_AGE_S: Final = 5
# The views of this schema show what the transaction's grant includes (`migrations.granted_views`).
_SHOW_GRANTED: Final = text("SET LOCAL search_path = granted_data, public")
_SITES, _TELEMETRY = require_scope("sites:read"), require_scope("telemetry:read")


async def find_caller(
    request: Request,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)],
    settings: Annotated[StandardApiSettings, Depends(make_resource_dependency(StandardApiSettings))],
) -> Principal | None:
    """Return the caller, or None for an anonymous one (UnauthorisedError if there may be none)."""
    if credentials is None:
        if "authorization" in request.headers:
            raise UnauthorisedError("Send a key as `Authorization: Bearer vg_…`; other schemes are unknown.")
        if not settings.anonymous:
            raise UnauthorisedError(
                "Send a key as `Authorization: Bearer vg_…`. This installation does not serve open data by "
                "this interface; its operator can enable that (VIGIE_SENSORTHINGS__ANONYMOUS).",
                code="anonymous_access_disabled",
            )
        return None
    principal = await current_principal(request, credentials)
    for scope in (_SITES, _TELEMETRY):
        scope.check(principal)
    return principal


Caller = Annotated[Principal | None, Depends(find_caller)]
"""FastAPI dependency: the caller; None: an anonymous one, who reads open data."""


@dataclass(frozen=True, slots=True)
class ReaderAccess:
    """Runs reads within one caller's access.

    Attributes:
        caller: the caller; None: an anonymous one.
        reads: runs reads in the caller's tenant scope.
        open_data: runs reads that see open data only.
    """

    caller: Principal | None
    reads: SessionReads
    open_data: OpenDataContext

    @property
    def grant(self) -> GrantLimits | None:
        """The limits of the caller's grant; None: the key is not that of a grant."""
        return None if self.caller is None else self.caller.tenant_scope.grant

    async def run[T](self, read: Callable[[ReadSession], Awaitable[T]], *, advice: str) -> T:
        """Run a read within the time budget.

        Args:
            read: the statements.
            advice: what to do if they need too long, as a sentence.

        Raises:
            QueryError: `query_too_slow`; `query_too_large` if it exceeds a limit of the database;
                `invalid_query` if a value is out of range.
        """

        async def bounded(session: ReadSession) -> T:
            # Also connects: what that takes is not the query's. The server ends a statement that this process
            # could not cancel.
            limit_ms = round(BUDGET_S * 1000) + _CANCELLING_MS
            await session.execute(text(f"SET LOCAL statement_timeout = {limit_ms}"))
            if self.grant is not None:
                await session.execute(_SHOW_GRANTED)
            timer = asyncio.timeout(BUDGET_S)
            try:
                async with timer:
                    return await read(session)
            except TimeoutError as error:
                if not timer.expired():
                    raise
                raise _too_slow(advice) from error

        try:
            return await (self.open_data.reads if self.caller is None else self.reads).run(bounded)
        except DBAPIError as error:
            state = getattr(error.orig, "sqlstate", None) or ""
            if state == _QUERY_CANCELED:
                raise _too_slow(advice) from error
            if state.startswith(_DATA_EXCEPTION):
                raise QueryError(
                    "The query cannot be computed: a number or a time is out of range, or a text is not "
                    "valid. Use smaller numbers, and times of years 1 to 9999.",
                ) from error
            if state.startswith(_PROGRAM_LIMIT_EXCEEDED):
                raise QueryError(
                    "The query exceeds a limit of the database. Use fewer properties and conditions.",
                    code="query_too_large",
                ) from error
            raise


async def _access(caller: Caller, reads: SessionReadsDependency, open_data: OpenData) -> ReaderAccess:
    return ReaderAccess(caller, reads, open_data)


ReaderAccessDependency = Annotated[ReaderAccess, Depends(_access)]
"""FastAPI dependency: what the caller may read."""


def _too_slow(advice: str) -> QueryError:
    return QueryError(f"The query needs more than {BUDGET_S:.0f} seconds. {advice}", code="query_too_slow")


def get_public_url(request: Request) -> str:
    """Return the absolute address of the installation, which clients follow in links."""
    installation = get_resource(request.app, InstallationSettings)
    # Without a public address links are of the host that the client called.
    return installation.public_url or f"{request.url.scheme}://{request.url.netloc}"


def add_cache_headers(response: Response, caller: Principal | None) -> None:
    """Let caches keep open data; those of a tenant stay with the caller."""
    response.headers["Vary"] = "Authorization"
    if caller is None:
        response.headers["Cache-Control"] = f"public, max-age={_OPEN_MAX_AGE_S}"
    else:
        response.headers["Cache-Control"] = "no-store"
