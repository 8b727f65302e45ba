"""Responds with a cached body, plain or compressed, or with 304 if the client has it."""

import hashlib
from dataclasses import dataclass
from typing import Final

from fastapi import Request, Response

from app.platform.http.contract.compressed_response import accepts_gzip, compress, has_current_copy

_MIN_GZIP_BYTES: Final = 1_000
_NOT_MODIFIED: Final = 304


@dataclass(frozen=True, slots=True)
class CachedResponse:
    """A response body, plain and compressed (`packed`), with its media type and its ETag (`tag`)."""

    body: bytes
    packed: bytes | None
    media_type: str
    tag: str

    @classmethod
    def of(cls, body: bytes, media_type: str) -> "CachedResponse":
        """Compress a body once for all requests; small ones stay as they are."""
        packed = compress(body, 6) if len(body) >= _MIN_GZIP_BYTES else None
        return cls(body, packed, media_type, hashlib.sha256(body).hexdigest()[:24])


def make_conditional_response(
    request: Request, made: CachedResponse, headers: dict[str, str], *, status: int = 200
) -> Response:
    """Respond with a cached body, or with 304 if the client has it.

    Args:
        request: The request, with its `Accept-Encoding` and `If-None-Match`.
        made: The cached response.
        headers: Further headers, such as `Cache-Control`.
        status: The status of a response with a body.
    """
    zipped = made.packed is not None and accepts_gzip(request.headers.get("accept-encoding", ""))
    # Plain and compressed bodies are two representations, so their ETags differ (RFC 9110, 8.8.3).
    tag = f'"{made.tag}{"-gz" if zipped else ""}"'
    sent = {"ETag": tag, "Vary": "Accept-Encoding, Accept-Language", **headers}
    if status < _NOT_MODIFIED and has_current_copy(request.headers.get("if-none-match", ""), tag):
        return Response(status_code=_NOT_MODIFIED, headers=sent)
    if zipped and made.packed is not None:
        return Response(made.packed, status, {**sent, "Content-Encoding": "gzip"}, media_type=made.media_type)
    return Response(made.body, status, sent, media_type=made.media_type)


def build_cache_headers(seconds: int, *, immutable: bool = False) -> dict[str, str]:
    """Build a `Cache-Control` that lets shared caches store a response."""
    return {"Cache-Control": f"public, max-age={seconds}{', immutable' if immutable else ''}"}
