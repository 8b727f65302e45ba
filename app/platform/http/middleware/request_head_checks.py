"""Checks the heads of requests: the length of the URL and the headers, and the host.

`app.platform.runtime.server_timeouts` handles what is not HTTP.
"""

import re
from typing import Final

from starlette.types import Scope

from app.platform.http.contract.request_head import read_request_head
from app.platform.kernel.errors import MalformedRequestError

ADDRESS_MAX: Final = 8_192
"""Maximum bytes of path and query; RFC 9110 recommends at least 8,000."""
HEADERS_MAX: Final = 32_768
"""Maximum bytes of all headers together."""

_HOST: Final = re.compile(rb"([A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(:[0-9]{1,5})?")


def find_head_fault(scope: Scope) -> MalformedRequestError | None:
    """Return why a head is refused: it exceeds a limit (414, 431), or has no valid host (400)."""
    head = read_request_head(scope)
    if len(scope.get("raw_path") or b"") + len(scope["query_string"]) > ADDRESS_MAX:
        return MalformedRequestError(
            f"Path and query are longer than {ADDRESS_MAX} bytes. Shorten them.",
            status=414,
            code="uri_too_long",
        )
    if head.size > HEADERS_MAX:
        return MalformedRequestError(
            f"The headers are larger than {HEADERS_MAX} bytes. Send fewer or shorter ones.",
            status=431,
            code="headers_too_large",
        )
    # HTTP/1.0 does not require a host.
    if head.host is not None and not _HOST.fullmatch(head.host):
        return MalformedRequestError("The Host header is not a valid host name.", code="invalid_host")
    return None
