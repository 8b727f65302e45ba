"""Adds a request id and security headers to every response, and answers CORS requests.

`SecurityHeadersMiddleware` is the outermost layer. `ApiCorsMiddleware` lets the configured origins call the
API from a browser.
"""

from collections.abc import Sequence
from typing import Final

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.platform.http.contract.buffered_response import append_headers, map_response_start
from app.platform.http.contract.problems import make_error_response
from app.platform.http.contract.request_head import read_request_head
from app.platform.kernel.errors import ForbiddenError
from app.platform.kernel.tenant_scope import NO_CALLER, run_as_caller
from app.platform.observability.metrics_and_logs import begin_request_id, current_request_id, end_request_id

_Headers = tuple[tuple[bytes, bytes], ...]
_ALWAYS: Final[_Headers] = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
# A year, the minimum of browsers' preload lists.
_HTTPS: Final[_Headers] = ((b"strict-transport-security", b"max-age=31536000"),)
# Defaults, which the pages of the documentation and of the register override.
_DEFAULTS: Final = {
    b"permissions-policy": b"camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    b"content-security-policy": b"default-src 'none'; frame-ancestors 'none'",
    # Caches between the API and its client must not store what only the client's key may read.
    b"cache-control": b"no-store",
}


class SecurityHeadersMiddleware:
    """Adds `X-Request-Id` and the security headers to every answer."""

    def __init__(self, app: ASGIApp, *, https: bool) -> None:
        self._app = app
        self._always = _ALWAYS + _HTTPS if https else _ALWAYS

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        token = begin_request_id(read_request_head(scope).request_id)
        identity = (b"x-request-id", (current_request_id() or "").encode())

        def guarded(message: Message) -> Message:
            names = {name.lower() for name, _ in message.get("headers", ())}
            missing = [each for each in _DEFAULTS.items() if each[0] not in names]
            return append_headers(message, [*missing, identity, *self._always])

        try:
            # A request can start in the context of the previous one on its connection, and must not inherit
            # its caller.
            with run_as_caller(NO_CALLER):
                await self._app(scope, receive, map_response_start(send, guarded))
        finally:
            end_request_id(token)


_METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
_ALLOWED_HEADERS: Final = (
    "Authorization",
    "Content-Encoding",
    "Content-Type",
    "Idempotency-Key",
    "If-Match",
    "If-None-Match",
    "Last-Event-ID",
    "X-Request-Id",
)
_EXPOSED_HEADERS: Final = (
    "Content-Disposition",
    "Content-Location",
    "Deprecation",
    "ETag",
    "Idempotency-Replayed",
    "Link",
    "Location",
    "RateLimit-Limit",
    "RateLimit-Remaining",
    "RateLimit-Reset",
    "Retry-After",
    "Sunset",
    "X-Request-Id",
)
_MAX_AGE_S: Final = 7_200


class ApiCorsMiddleware(CORSMiddleware):
    """CORS for configured origins, without credentials: pages send their key in `Authorization`."""

    def __init__(self, app: ASGIApp, *, origins: Sequence[str]) -> None:
        super().__init__(
            app,
            allow_origins=origins,
            allow_methods=_METHODS,
            allow_headers=_ALLOWED_HEADERS,
            expose_headers=_EXPOSED_HEADERS,
            max_age=_MAX_AGE_S,
        )

    def preflight_response(self, request_headers: Headers) -> Response:
        """Answer as Starlette does, but with a problem for a refusal."""
        response = super().preflight_response(request_headers)
        if response.status_code == 200:  # noqa: PLR2004 (an HTTP status)
            return Response(status_code=204, headers=_without_body(response))
        refused = make_error_response(
            ForbiddenError(
                "This origin, method or header is not allowed from a browser (VIGIE_API__CORS_ORIGINS).",
                code="cors_refused",
            )
        )
        refused.headers["Vary"] = response.headers["Vary"]
        return refused


def _without_body(response: Response) -> dict[str, str]:
    return {
        name: value
        for name, value in response.headers.items()
        if name not in {"content-length", "content-type"}
    }
