"""Rate limits: decided by the head of a request alone, before routing, body and database.

Owns by whom a request is counted. By its API key or sign-in, once that is well formed; else by its address.
Anybody can write well-formed keys, and each would have a bucket of its own: until a key was seen to be a good
one, its requests take a token from their address too, which is given back when the key turns out good.
"""

import asyncio
import hmac
import math
import time
from collections import OrderedDict
from collections.abc import Mapping
from typing import Final, NamedTuple

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.core.addresses import address_of
from app.core.api_settings import ApiSettings
from app.core.auth import known_principal
from app.core.edge.head import head_of
from app.core.edge.limits import RateLimiter, Verdict, rate_limiter
from app.core.edge.refuse import refusal
from app.core.errors import TooManyRequestsError
from app.core.keys import PREFIX, SESSION_PREFIX, hash_key, well_formed

_FREE: Final = frozenset({"/healthz", "/readyz", "/metrics"})
_FREE_BELOW: Final = "/static-offline-docs/"
_TELEMETRY: Final = frozenset({"/v1/telemetry"})
_TELEMETRY_BELOW: Final = "/v1/adapters/"
_COUNTED: Final = "vigie.counted"
_KNOWN_MOST: Final = 50_000
# Whoever goes on although it is refused is answered slowly: a client that waits for its answers cannot keep
# the process busy with refusals then. So many a second, and so many at once, are answered at once.
_HOLD_S: Final = 0.25
_HELD_MOST: Final = 1_000
_QUICK_PER_S: Final = 10.0
_QUICK_BURST: Final = 100


class Counted(NamedTuple):
    """By whom a request is counted.

    Attributes:
        subject: the hash of its key, or its address.
        policy: the limit: `key`, `anonymous` or `telemetry`.
        address: where it came from, where its key is not known to be good; else None.
    """

    subject: bytes | str
    policy: str
    address: str | None


def counted_of(scope: Scope) -> Counted | None:
    """By whom a request is counted; None for what is not."""
    counted: Counted | None = scope.get(_COUNTED)
    return counted


class Throttle:
    """Refuses with 429 `rate_limited` what exceeds a limit, and tells every answer what is left of it."""

    def __init__(self, app: ASGIApp, *, settings: ApiSettings, bootstrap: str | None = None) -> None:
        self._app = app
        self._limiters: Mapping[str, RateLimiter | None] = {
            "key": rate_limiter(settings.rate_per_s, settings.rate_burst),
            "anonymous": rate_limiter(settings.anonymous_rate_per_s, settings.anonymous_rate_burst),
            "telemetry": rate_limiter(settings.telemetry_rate_per_s, settings.telemetry_rate_burst),
        }
        # The one key that needs no checksum.
        self._bootstrap = None if bootstrap is None else hash_key(bootstrap)
        self._good: OrderedDict[bytes, None] = OrderedDict()
        self._quick = RateLimiter(_QUICK_PER_S, _QUICK_BURST)
        self._held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http" or scope["path"] in _FREE or scope["path"].startswith(_FREE_BELOW):
            await self._app(scope, receive, send)
            return
        scope[_COUNTED] = counted = self._counted(scope)
        verdict, broken = self._judge(counted)
        if verdict is not None and not verdict.allowed:
            response = await self._refuse(counted, broken, verdict)
            await response(scope, receive, send)
            return
        shown = {} if verdict is None else _headers(verdict)
        headers = [(name.lower().encode(), value.encode()) for name, value in shown.items()]

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._learn(scope, counted)
                message = {**message, "headers": [*message.get("headers", ()), *headers]}
            await send(message)

        await self._app(scope, receive, sending)

    def _counted(self, scope: Scope) -> Counted:
        bearer = head_of(scope).bearer
        path: str = scope["path"]
        telemetry = path in _TELEMETRY or path.startswith(_TELEMETRY_BELOW)
        if bearer is not None:
            digest = hash_key(bearer)
            own = self._bootstrap is not None and hmac.compare_digest(digest, self._bootstrap)
            formed = any(well_formed(bearer, prefix) for prefix in (PREFIX, SESSION_PREFIX))
            if digest in self._good or own or formed:
                known = own or digest in self._good
                address = None if known else _address(scope)
                return Counted(digest, "telemetry" if telemetry else "key", address)
        return Counted(_address(scope), "telemetry" if telemetry else "anonymous", None)

    def _judge(self, counted: Counted) -> tuple[Verdict | None, str]:
        """What the limits say, and which one says it."""
        now = time.monotonic()
        if counted.address is not None and (addresses := self._limiters["anonymous"]) is not None:
            verdict = addresses.take(counted.address, now)
            if not verdict.allowed:
                return verdict, "anonymous"
        limiter = self._limiters[counted.policy]
        return None if limiter is None else limiter.take(counted.subject, now), counted.policy

    def _learn(self, scope: Scope, counted: Counted) -> None:
        """Remember a key that turned out good, once its caller is known."""
        known = known_principal(scope) is not None
        if not known or counted.address is None or not isinstance(counted.subject, bytes):
            return
        if (addresses := self._limiters["anonymous"]) is not None:
            addresses.give_back(counted.address)
        self._good[counted.subject] = None
        if len(self._good) > _KNOWN_MOST:
            self._good.popitem(last=False)

    async def _refuse(self, counted: Counted, broken: str, verdict: Verdict) -> Response:
        subject = counted.subject if broken == counted.policy else counted.address
        quick = self._quick.take(subject, time.monotonic()).allowed
        if not quick and self._held < _HELD_MOST:
            self._held += 1
            try:
                await asyncio.sleep(_HOLD_S)
            finally:
                self._held -= 1
        wait_s = max(1, math.ceil(verdict.wait_s))
        error = TooManyRequestsError(
            f"Too many requests: wait {wait_s} s.", retry_after_s=wait_s, code="rate_limited"
        )
        return refusal(error, policy=broken, headers=_headers(verdict))


def _address(scope: Scope) -> str:
    client = scope.get("client")
    return address_of(client[0] if client else None)


def _headers(verdict: Verdict) -> dict[str, str]:
    return {
        "RateLimit-Limit": str(verdict.limit),
        "RateLimit-Remaining": str(verdict.remaining),
        "RateLimit-Reset": str(math.ceil(verdict.reset_s)),
    }
