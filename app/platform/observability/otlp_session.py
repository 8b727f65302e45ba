"""Sends exports without reading long answers: a collector may be broken, or somebody else's.

OpenTelemetry reads an answer whole, however long it is, and uses nothing of it but the status.
"""

from typing import Any, Final

import requests

_LIMIT_BYTES: Final = 65_536


class BoundedSession(requests.Session):
    """A session that reads the beginning of answers, and closes the connection of a longer one."""

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:  # noqa: ANN401 (those of requests)
        """Send a request and return the answer, with at most 64 KiB of its body, still compressed."""
        response = super().send(request, **{**options, "stream": True})
        try:
            content = response.raw.read(_LIMIT_BYTES, decode_content=False)
        finally:
            # Of an answer that was read to its end, the connection has gone back to the pool already.
            response.close()
        response._content = content  # noqa: SLF001 (what `content` returns; there is no other way to set it)
        return response
