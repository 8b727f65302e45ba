"""What was read or made, for some seconds: a crowd at the register does not reach the database.

Whoever asks while something is being made waits for the same; where it cannot be made, what was there before
is given, so that the register outlives its database for a while.

How the register answers by HTTP: with a tag, for some seconds, compressed where that is asked for.
"""

import asyncio
import gzip
import hashlib
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Any, Final

from fastapi import Request, Response

from app.platform.db.database import DATABASE_ERRORS

_MOST: Final = 200
_STALE_S: Final = 600.0


@dataclass(slots=True)
class _Kept:
    value: Any
    at: float


class TtlCache:
    """Things by key.

    Args:
        most: How many are kept; those that were asked for last.
    """

    def __init__(self, most: int = _MOST) -> None:
        self._most = most
        self._kept: OrderedDict[Hashable, _Kept] = OrderedDict()
        self._making: dict[Hashable, asyncio.Task[Any]] = {}

    async def get[T](self, key: Hashable, seconds: float, make: Callable[[], Awaitable[T]]) -> T:
        """What is kept under a key, made anew where it is older.

        Args:
            key: What it is.
            seconds: How old it may be.
            make: Makes it.
        """
        now = time.monotonic()
        kept = self._kept.get(key)
        if kept is not None and now - kept.at < seconds:
            self._kept.move_to_end(key)
            found: T = kept.value
            return found
        making = self._making.get(key)
        if making is None:
            making = asyncio.ensure_future(self._make(key, make))
            self._making[key] = making
            making.add_done_callback(lambda _: self._making.pop(key, None))
        try:
            # One who goes away takes it from nobody else.
            made: T = await asyncio.shield(making)
        except DATABASE_ERRORS:
            if kept is None or now - kept.at > _STALE_S:
                raise
            made = kept.value
        return made

    async def _make(self, key: Hashable, make: Callable[[], Awaitable[Any]]) -> object:
        value = await make()
        self._kept[key] = _Kept(value, time.monotonic())
        self._kept.move_to_end(key)
        while len(self._kept) > self._most:
            self._kept.popitem(last=False)
        return value


PAGE_MAX_AGE_S: Final = 30
"""How long a page may be shown again without asking (seconds)."""
_LEAST_BYTES: Final = 1_000
_NOT_MODIFIED: Final = 304


@dataclass(frozen=True, slots=True)
class CachedResponse:
    """An answer that many get: its bytes as they are and compressed, its media type and its tag."""

    body: bytes
    packed: bytes | None
    media_type: str
    tag: str

    @classmethod
    def of(cls, body: bytes, media_type: str) -> "CachedResponse":
        """Compress once what goes out often."""
        packed = gzip.compress(body, 6, mtime=0) if len(body) >= _LEAST_BYTES else None
        return cls(body, packed, media_type, hashlib.sha256(body).hexdigest()[:24])


def make_conditional_response(
    request: Request, made: CachedResponse, headers: dict[str, str], *, status: int = 200
) -> Response:
    """Give it, or say that the client has it already.

    Args:
        request: What is asked.
        made: The answer.
        headers: Its own; `Cache-Control` where it may be kept.
        status: Of what is given.
    """
    packs = made.packed is not None and _takes_gzip(request.headers.get("accept-encoding", ""))
    # Two forms are two representations: each has a tag of its own.
    tag = f'"{made.tag}{"-gz" if packs else ""}"'
    told = {"ETag": tag, "Vary": "Accept-Encoding, Accept-Language", **headers}
    if status < _NOT_MODIFIED and _has(request.headers.get("if-none-match", ""), tag):
        return Response(status_code=_NOT_MODIFIED, headers=told)
    if packs and made.packed is not None:
        return Response(made.packed, status, {**told, "Content-Encoding": "gzip"}, media_type=made.media_type)
    return Response(made.body, status, told, media_type=made.media_type)


def build_cache_headers(seconds: int, *, immutable: bool = False) -> dict[str, str]:
    """Anybody may keep it for so long: it is public."""
    return {"Cache-Control": f"public, max-age={seconds}{', immutable' if immutable else ''}"}


def _takes_gzip(accepted: str) -> bool:
    for part in accepted.split(","):
        name, _, quality = part.partition(";")
        if name.strip().lower() == "gzip":
            return quality.replace(" ", "") not in {"q=0", "q=0.0", "q=0.00", "q=0.000"}
    return False


def _has(shown: str, tag: str) -> bool:
    return any(part.strip().removeprefix("W/") in {tag, "*"} for part in shown.split(","))
