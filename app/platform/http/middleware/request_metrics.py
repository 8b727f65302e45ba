"""Counts requests, answers unexpected errors with 500, and sets client address and request id for the audit.

Outer layers read the client's address from proxies and assign the request id; requests that they refuse are
not counted here.
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

# HTTP allows any word as a method, and each would make a Prometheus series.
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def _route_of(scope: Scope) -> str:
    """Return the path template: paths themselves would make a Prometheus series for each id."""
    return str(getattr(scope.get("route"), "path", "other"))


class RequestMetricsMiddleware:
    """Binds the request id to the request's log lines, and counts the response when it begins."""

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
    """Answers 500 to an unexpected error of the application.

    Starlette does so too, outside of every middleware: without an id, uncounted, and logged twice.
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
                # A response that has begun cannot be replaced: the server closes the connection, which the
                # client notices.
                raise
            await handle_unexpected_error(Request(scope), error)(scope, receive, send)


class RequestOriginMiddleware:
    """Sets the request's origin, for the audit log, for the rest of its task (pure ASGI)."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Set the client's address and the request id, then continue."""
        if scope["type"] == "http":
            client = scope.get("client")
            set_request_origin(client[0] if client else None, current_request_id())
        await self._app(scope, receive, send)
