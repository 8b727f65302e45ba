"""What is told of each request that comes through: its id in the log, its number and time in the metrics.

Where each request came from, told to the audit log (`app.platform.kernel.tenant_scope`).

Stands innermost of the middlewares: what proxies say of the client is read by one further out, and so is the
request's id given.
"""

import time
from typing import Final

import structlog
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.platform.http.contract.buffered_response import map_response_start
from app.platform.http.contract.problems import handle_unexpected_error
from app.platform.kernel.tenant_scope import set_request_origin
from app.platform.observability.metrics_and_logs import HTTP_REQUESTS, HTTP_SECONDS, current_request_id

# Any word is a method to HTTP, and each would make a Prometheus series.
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def _route_of(scope: Scope) -> str:
    """The path template: paths themselves would make a Prometheus series for each id."""
    return str(getattr(scope.get("route"), "path", "other"))


class RequestMetricsMiddleware:
    """Binds the request's id to what is logged meanwhile, and counts the answer when it begins."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()

        def counted(message: Message) -> Message:
            method = scope["method"] if scope["method"] in _METHODS else "other"
            route = _route_of(scope)
            HTTP_REQUESTS.labels(method, route, str(message["status"])).inc()
            HTTP_SECONDS.labels(method, route).observe(time.perf_counter() - began)
            return message

        with structlog.contextvars.bound_contextvars(request_id=current_request_id()):
            await self._app(scope, receive, map_response_start(send, counted))


class UnexpectedErrorMiddleware:
    """Answers 500 where the application raised something that nobody foresaw.

    Starlette's own does so too, outside of every middleware: without an id, uncounted, and logged twice.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = False

        async def sending(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, sending)
        except Exception as error:
            if begun:
                # Half an answer cannot be mended: the server closes the connection, and the client can tell.
                raise
            await handle_unexpected_error(Request(scope), error)(scope, receive, send)


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
