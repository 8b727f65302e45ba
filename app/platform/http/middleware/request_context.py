"""Gives every request its id, and every response the security headers; counts and times requests.

`RequestContextMiddleware` is the outermost layer. It also answers HEAD as GET without the body, and sets the
request's origin for the audit log.
"""

import time
from functools import cache
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.platform.http.contract.deprecation import list_deprecation_headers
from app.platform.http.contract.request_head import read_request_head
from app.platform.http.middleware.request_tracing import trace_request
from app.platform.kernel.tenant_scope import (
    NO_CALLER,
    current_caller,
    set_current_caller,
    set_request_origin,
)
from app.platform.observability.metric_types import Counter, Histogram
from app.platform.observability.metrics_and_logs import (
    HTTP_REQUESTS,
    HTTP_SECONDS,
    begin_request_id,
    current_request_id,
    end_request_id,
)

_Headers = tuple[tuple[bytes, bytes], ...]
_ALWAYS: Final[_Headers] = (
    (b"x-content-type-options", b"nosniff"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
# A year, the minimum of browsers' preload lists.
_HTTPS: Final[_Headers] = ((b"strict-transport-security", b"max-age=31536000"),)
# Defaults, which pages override.
_DEFAULTS: Final[_Headers] = (
    (b"referrer-policy", b"no-referrer"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    # Caches between the API and its client must not store what only the client's key may read.
    (b"cache-control", b"no-store"),
)
_DEFAULT_NAMES: Final = frozenset(name for name, _ in _DEFAULTS)
# HTTP allows any word as a method, and each would make a Prometheus series.
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_ADMITTED: Final = "vigie.admitted"


def mark_admitted(scope: Scope) -> None:
    """Mark a request as admitted: metrics count only such requests, `HTTP_REFUSED` the others."""
    scope[_ADMITTED] = True


class RequestContextMiddleware:
    """Sets the id and origin of a request, guards its response, and counts it.

    Args:
        app: the next layer.
        https: whether clients use https.
    """

    def __init__(self, app: ASGIApp, *, https: bool) -> None:
        self._app = app
        self._always = _ALWAYS + _HTTPS if https else _ALWAYS

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        is_head = scope["method"] == "HEAD"
        if is_head:
            scope = {**scope, "method": "GET"}
        token = begin_request_id(read_request_head(scope).request_id)
        request_id = current_request_id() or ""
        client = scope.get("client")
        set_request_origin(client[0] if client else None, request_id)

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                await send(self._complete(message, scope, request_id.encode()))
                if scope.get(_ADMITTED):
                    _count("HEAD" if is_head else scope["method"], scope, message["status"], began)
                if is_head:
                    # Ends the response after its head: a stream sees a disconnect, and ends too.
                    await send({"type": "http.response.body", "body": b""})
            elif not is_head:
                await send(message)

        # A request can start in the context of the previous one on its connection, and must not inherit its
        # caller.
        before = current_caller()
        set_current_caller(NO_CALLER)
        try:
            await trace_request(self._app, scope, receive, sending)
        finally:
            set_current_caller(before)
            end_request_id(token)

    def _complete(self, message: Message, scope: Scope, request_id: bytes) -> Message:
        """Return the head of a response with the headers that every response has."""
        headers = list(message.get("headers", ()))
        given = {name for name, _ in headers}
        if given.isdisjoint(_DEFAULT_NAMES):
            headers += _DEFAULTS
        else:
            headers += [each for each in _DEFAULTS if each[0] not in given]
        headers.append((b"x-request-id", request_id))
        headers += self._always
        headers += list_deprecation_headers(scope.get("route"))
        return {**message, "headers": headers}


def _count(method: str, scope: Scope, status: int, began: float) -> None:
    # The path template: paths themselves would make a Prometheus series for each id.
    route = str(getattr(scope.get("route"), "path", "other"))
    requests, seconds = _metrics_of(method if method in _METHODS else "other", route, str(status))
    requests.inc()
    seconds.observe(time.perf_counter() - began)


# Each lookup of labels takes a lock and a comparison of all names. There are as many as Prometheus series.
@cache
def _metrics_of(method: str, route: str, status: str) -> tuple[Counter, Histogram]:
    return HTTP_REQUESTS.labels(method, route, status), HTTP_SECONDS.labels(method, route)
