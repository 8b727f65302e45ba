"""Records refused accesses (403): a key that tries what it may not, or a person.

The first of each kind in a minute: nobody can fill the log, nor keep its organisation's others waiting, by
being refused. What cannot be written is told in the program's log and stays refused all the same.
"""

import time
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.audit.audit_recorder import record_event
from app.platform.db.database import DATABASE_ERRORS, Database
from app.platform.identity.principals import Principal, get_known_principal
from app.platform.kernel.errors import UnavailableError
from app.platform.kernel.tenant_scope import run_as_caller
from app.platform.observability.metrics_and_logs import get_logger

_log = get_logger(__name__)
_FORBIDDEN: Final = 403
_APART_S: Final = 60.0
_REMEMBERED: Final = 10_000


class RefusalsMiddleware:
    """Pure ASGI; inside of whatever says where a request came from."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._last: dict[tuple[object, str, str], float] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve, and record that it was refused, where it was."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def noticed(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == _FORBIDDEN:
                await self._record(scope)
            await send(message)

        await self._app(scope, receive, noticed)

    async def _record(self, scope: Scope) -> None:
        principal = get_known_principal(scope)
        if principal is None or not self._is_due(principal, scope):
            return
        database: Database = scope["app"].state.database
        path = str(getattr(scope.get("route"), "path", "other"))
        try:
            with run_as_caller(principal.caller()):
                async with database.write() as session:
                    await record_event(
                        session,
                        principal.organisation_id,
                        "access.refused",
                        kind=principal.kind,
                        identifier=principal.key_id,
                        details={"method": scope["method"], "path": path},
                    )
        except (*DATABASE_ERRORS, UnavailableError) as error:
            _log.warning("refusal_not_recorded", path=path, error=repr(error))

    def _is_due(self, principal: Principal, scope: Scope) -> bool:
        now = time.monotonic()
        what = (principal.key_id, scope["method"], str(getattr(scope.get("route"), "path", "other")))
        if now - self._last.get(what, -_APART_S) < _APART_S:
            return False
        if len(self._last) >= _REMEMBERED:
            self._last.clear()
        self._last[what] = now
        return True
