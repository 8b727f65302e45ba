"""Requests whose head is not worth reading: addresses and headers without end, hosts that are none.

HTTP itself, as far as it can be read at all, is `app.platform.runtime.server_timeouts`'s.
"""

import re
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from app.platform.http.contract.refusals import make_refusal_response
from app.platform.http.contract.request_head import read_request_head
from app.platform.kernel.errors import MalformedRequestError

ADDRESS_MAX: Final = 8_192
"""Bytes of path and query; RFC 9110 asks for 8,000 at least."""
HEADERS_MAX: Final = 32_768
"""Bytes of all headers together."""

_HOST: Final = re.compile(rb"([A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(:[0-9]{1,5})?")


class RequestHeadLimitMiddleware:
    """Refuses such requests: 400, 414 or 431."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        error = _fault(scope) if scope["type"] == "http" else None
        if error is None:
            await self._app(scope, receive, send)
        else:
            await make_refusal_response(error)(scope, receive, send)


def _fault(scope: Scope) -> MalformedRequestError | None:
    head = read_request_head(scope)
    if len(scope.get("raw_path") or b"") + len(scope["query_string"]) > ADDRESS_MAX:
        return MalformedRequestError(
            f"Path and query are longer than {ADDRESS_MAX} bytes: send less.", status=414, code="uri_too_long"
        )
    if head.size > HEADERS_MAX:
        return MalformedRequestError(
            f"The headers are larger than {HEADERS_MAX} bytes.", status=431, code="headers_too_large"
        )
    # HTTP/1.0 needs none.
    if head.host is not None and not _HOST.fullmatch(head.host):
        return MalformedRequestError("The Host header is not a host's name.", code="invalid_host")
    return None
