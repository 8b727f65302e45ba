"""Where each request came from, told to the audit log (`app.platform.kernel.tenant_scope`).

Stands innermost of the middlewares: what proxies say of the client is read by one further out, and so is the
request's id given.
"""

from starlette.types import ASGIApp, Receive, Scope, Send

from app.platform.kernel.tenant_scope import set_request_origin
from app.platform.observability.request_ids import current_request_id


class RequestOriginMiddleware:
    """Pure ASGI: what it sets holds for the rest of the request's task."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Note the client's address and the request's id, and go on."""
        if scope["type"] == "http":
            client = scope.get("client")
            set_request_origin(client[0] if client else None, current_request_id())
        await self._app(scope, receive, send)
