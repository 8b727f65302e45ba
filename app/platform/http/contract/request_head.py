"""Reads a request's head once for all middleware, and answers and counts refused requests."""

from collections.abc import Mapping
from typing import Final, NamedTuple

from starlette.responses import Response
from starlette.types import Scope

from app.platform.http.contract.problems import make_error_response
from app.platform.kernel.errors import VigieError
from app.platform.observability.metrics_and_logs import HTTP_REFUSED

_KEY: Final = "vigie.head"
_FORWARDS: Final = frozenset({b"forwarded", b"x-forwarded-for", b"x-real-ip", b"via"})
_SCHEME: Final = b"bearer "


class RequestHead(NamedTuple):
    """A request's head.

    Attributes:
        bearer: the text after `Bearer`; None where there is none, or it is not ASCII.
        request_id: the client's id of the request.
        host: the Host header.
        size: bytes of all names and values.
        forwarded: whether a proxy forwarded the request.
    """

    bearer: str | None
    request_id: bytes | None
    host: bytes | None
    size: int
    forwarded: bool


def read_request_head(scope: Scope) -> RequestHead:
    """Return the head of a request, which is parsed at the first call."""
    cached: RequestHead | None = scope.get(_KEY)
    if cached is not None:
        return cached
    bearer = request_id = host = None
    size, forwarded = 0, False
    for name, value in scope["headers"]:
        size += len(name) + len(value)
        if name == b"authorization":
            bearer = _bearer(value)
        elif name == b"x-request-id":
            request_id = value
        elif name == b"host":
            host = value
        elif name in _FORWARDS:
            forwarded = True
    scope[_KEY] = head = RequestHead(bearer, request_id, host, size, forwarded)
    return head


def _bearer(value: bytes) -> str | None:
    if value[: len(_SCHEME)].lower() != _SCHEME or not value.isascii():
        return None
    return value[len(_SCHEME) :].strip().decode("ascii")


def count_http_refusal(error: VigieError, *, policy: str = "") -> None:
    """Count a refusal; `policy` is the exceeded limit."""
    HTTP_REFUSED.labels(error.code, policy).inc()


def make_refusal_response(
    error: VigieError, *, policy: str = "", headers: Mapping[str, str] | None = None
) -> Response:
    """Build and count the response to a request that is refused before routing."""
    count_http_refusal(error, policy=policy)
    response = make_error_response(error)
    response.headers.update(headers or {})
    return response
