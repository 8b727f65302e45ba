"""Lets the configured origins call the API from a browser (CORS)."""

from collections.abc import Sequence
from typing import Final

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp

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
