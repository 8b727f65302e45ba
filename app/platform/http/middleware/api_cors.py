"""Lets web pages call the API from a browser (CORS): configured origins all of it, others open data."""

from collections.abc import Collection, Sequence
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.platform.http.contract.problems import make_error_response
from app.platform.kernel.errors import ForbiddenError

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
    "NGSILD-Results-Count",
    "RateLimit-Limit",
    "RateLimit-Remaining",
    "RateLimit-Reset",
    "Retry-After",
    "Sunset",
    "X-Request-Id",
)
_MAX_AGE_S: Final = 7_200
_OPEN: Final = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Expose-Headers": ", ".join(_EXPOSED_HEADERS),
}
_OPEN_PREFLIGHT: Final = {
    **_OPEN,
    "Access-Control-Allow-Methods": "GET, HEAD",
    # A page of another origin must not send a key.
    "Access-Control-Allow-Headers": ", ".join(
        ("Accept", *(name for name in _ALLOWED_HEADERS if name != "Authorization"))
    ),
    "Access-Control-Max-Age": str(_MAX_AGE_S),
}


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


class OpenDataCorsMiddleware:
    """Lets any web page read open data: CORS `*` for requests without a key, their errors included.

    Args:
        app: The next layer.
        paths: Where open data are, with everything below.
        origins: The configured origins, whose pages may send a key. Their preflight requests are left to
            `ApiCorsMiddleware`.
    """

    def __init__(self, app: ASGIApp, *, paths: Collection[str], origins: Collection[str]) -> None:
        self._app = app
        self._paths = frozenset(paths)
        self._below = tuple(f"{path}/" for path in paths)
        self._origins = frozenset(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a preflight request, or add the headers to the response of the application."""
        if scope["type"] != "http" or not self._is_open(scope):
            await self._app(scope, receive, send)
            return
        if scope["method"] == "OPTIONS":
            await Response(status_code=204, headers=_OPEN_PREFLIGHT)(scope, receive, send)
            return

        async def send_open(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_OPEN)
            await send(message)

        await self._app(scope, receive, send_open)

    def _is_open(self, scope: Scope) -> bool:
        path = scope["path"]
        if path not in self._paths and not path.startswith(self._below):
            return False
        headers = Headers(scope=scope)
        if scope["method"] == "OPTIONS" and headers.get("origin") in self._origins:
            return False
        return "authorization" not in headers


def _without_body(response: Response) -> dict[str, str]:
    return {
        name: value
        for name, value in response.headers.items()
        if name not in {"content-length", "content-type"}
    }
