"""Caches reads and whole responses for some seconds, so that many visitors cost the database one query.

- Concurrent requests for a missing entry share one computation (no cache stampede).
- If the database is down, stale entries are served for up to 10 minutes.
- Cached responses have an ETag and a gzip variant.
"""

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Any, Final

from fastapi import Request, Response

from app.platform.db.database import DATABASE_ERRORS
from app.platform.http.contract.compressed_response import accepts_gzip, compress, has_current_copy

_MAX_ENTRIES: Final = 200
_STALE_S: Final = 600.0
PAGE_MAX_AGE_S: Final = 30
"""`max-age` of pages and data (seconds)."""
_MIN_GZIP_BYTES: Final = 1_000
_NOT_MODIFIED: Final = 304


@dataclass(slots=True)
class _CacheEntry:
    value: Any
    at: float


class TtlCache:
    """A cache with a time to live, which evicts the least recently used entries (LRU).

    Args:
        most: The greatest number of entries.
    """

    def __init__(self, most: int = _MAX_ENTRIES) -> None:
        self._most = most
        self._entries: OrderedDict[Hashable, _CacheEntry] = OrderedDict()
        self._computing: dict[Hashable, asyncio.Task[Any]] = {}

    async def get[T](self, key: Hashable, seconds: float, make: Callable[[], Awaitable[T]]) -> T:
        """Return the value of a key, and compute it again if it is too old.

        Args:
            key: The key.
            seconds: The time to live (seconds).
            make: Computes the value.
        """
        now = time.monotonic()
        cached = self._entries.get(key)
        if cached is not None and now - cached.at < seconds:
            self._entries.move_to_end(key)
            found: T = cached.value
            return found
        computing = self._computing.get(key)
        if computing is None:
            computing = asyncio.ensure_future(self._compute(key, make))
            self._computing[key] = computing
            computing.add_done_callback(lambda _: self._computing.pop(key, None))
        try:
            # A request that is cancelled must not cancel the computation for the others.
            made: T = await asyncio.shield(computing)
        except DATABASE_ERRORS:
            if cached is None or now - cached.at > _STALE_S:
                raise
            made = cached.value
        return made

    async def _compute(self, key: Hashable, make: Callable[[], Awaitable[Any]]) -> object:
        value = await make()
        self._entries[key] = _CacheEntry(value, time.monotonic())
        self._entries.move_to_end(key)
        while len(self._entries) > self._most:
            self._entries.popitem(last=False)
        return value


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
