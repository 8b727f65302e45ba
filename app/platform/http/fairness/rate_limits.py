"""Limits request rates by API key, session or IP address, before the body and the database are read.

A request counts for its API key or session if that is well formed, else for its address. Anyone can invent
well-formed keys, each with a full bucket. So requests with an unverified key also take a token from their
address, which is returned once the key is verified. For a minute after each lookup the key's organisation is
cached and its bucket counts before routing; otherwise it counts as soon as the key was looked up.
"""

import asyncio
import hmac
import math
import time
from collections.abc import Hashable, Sequence
from functools import partial
from typing import Final, NamedTuple

from starlette.responses import Response
from starlette.types import Scope

from app.platform.config.api_settings import ApiSettings
from app.platform.http.contract.request_head import (
    count_http_refusal,
    make_refusal_response,
    read_request_head,
)
from app.platform.http.fairness.principal_groups import PrincipalGroup, VerifiedKeyCache
from app.platform.http.fairness.rate_limit_buckets import (
    ANONYMOUS,
    BucketKey,
    RateLimitBuckets,
    list_group_buckets,
)
from app.platform.http.fairness.token_buckets import BucketStore, RateLimiter, TokenDecision
from app.platform.identity.caller_authentication import (
    Principal,
    add_authentication_step,
    get_known_principal,
)
from app.platform.identity.session_cookie import is_console_path, read_session_cookie
from app.platform.kernel.errors import TooManyRequestsError
from app.platform.kernel.ip_addresses import make_address_subject
from app.platform.kernel.secret_tokens import (
    API_KEY_PREFIX,
    SESSION_PREFIX,
    hash_key,
    is_well_formed_key,
)

_UNLIMITED: Final = frozenset({"/healthz", "/readyz", "/metrics"})
_UNLIMITED_BELOW: Final = "/static-offline-docs/"
_TELEMETRY: Final = frozenset({"/v1/telemetry"})
_TELEMETRY_BELOW: Final = "/v1/adapters/"
_COUNTED: Final = "vigie.counted"
_LOW: Final = "vigie.low"
_UNAUTHORISED: Final = 401
# A client that continues after a refusal is answered slowly, so that refusals cannot keep the process busy.
# This many a second, and this many in a burst, are answered without delay.
_REFUSAL_DELAY_S: Final = 0.25
_DELAYED_MOST: Final = 1_000
_QUICK_PER_S: Final = 10.0
_QUICK_BURST: Final = 100


class RateLimitSubject(NamedTuple):
    """The subject that a request counts for.

    Attributes:
        digest: the hash of its key; None without a well-formed key.
        samples: whether it sends samples, which have separate limits.
        address: the client's address, unless its key is verified.
        group: the group of the key, where it is known.
    """

    digest: bytes | None
    samples: bool
    address: str | None
    group: PrincipalGroup | None

    @property
    def policy(self) -> str:
        """The limit of the key or the address."""
        if self.samples:
            return "telemetry"
        return ANONYMOUS if self.digest is None else "key"

    def buckets(self) -> list[BucketKey]:
        """Return the buckets that it takes from, the narrowest first."""
        found: list[BucketKey] = [(self.policy, self.address if self.digest is None else self.digest)]
        if self.digest is not None and self.address is not None:
            found.insert(0, (ANONYMOUS, self.address))
        if self.group is not None:
            found += list_group_buckets(self.group, samples=self.samples)
        return found


def get_rate_limit_subject(scope: Scope) -> RateLimitSubject | None:
    """Return the subject of a request; None for one that is not limited."""
    counted: RateLimitSubject | None = scope.get(_COUNTED)
    return counted


def is_low_priority(scope: Scope) -> bool:
    """Return whether a bucket of the request's caller is nearly used up."""
    return bool(scope.get(_LOW))


class AdmittedRequest(NamedTuple):
    """A request within its rate limits.

    Attributes:
        subject: what it counts for; None: it is not limited.
        headers: headers of its response, with the tokens that are left.
    """

    subject: RateLimitSubject | None
    headers: Sequence[tuple[bytes, bytes]]


_UNLIMITED_REQUEST: Final = AdmittedRequest(None, ())


class RequestRateLimits:
    """The rate limits of the API.

    Args:
        settings: the limits.
        bootstrap: the key of the first administrator; None: there is none.
        store: where the buckets are; None: in this process.
    """

    def __init__(
        self, settings: ApiSettings, *, bootstrap: str | None = None, store: BucketStore | None = None
    ) -> None:
        self._buckets = RateLimitBuckets(settings, store)
        # The one key without a checksum.
        self._bootstrap = None if bootstrap is None else hash_key(bootstrap)
        self._https = settings.public_url.startswith("https:")
        self._verified = VerifiedKeyCache()
        self._quick = RateLimiter(_QUICK_PER_S, _QUICK_BURST)
        self._delayed = 0

    async def admit(self, scope: Scope) -> AdmittedRequest | Response:
        """Take the tokens of a request, or return the response 429 `rate_limited`."""
        path: str = scope["path"]
        if path in _UNLIMITED or path.startswith(_UNLIMITED_BELOW):
            return _UNLIMITED_REQUEST
        scope[_COUNTED] = counted = self._counted(scope)
        verdict, broken, scope[_LOW] = self._buckets.take(counted.buckets(), time.monotonic())
        if verdict is not None and broken is not None:
            return await self._refuse(broken, verdict)
        if counted.digest is not None:
            add_authentication_step(scope, partial(self._learn, scope, counted.digest, counted))
        return AdmittedRequest(counted, () if verdict is None else _raw_headers(verdict))

    def forget_if_refused(self, scope: Scope, status: int) -> None:
        """Remove a key from the cache that the application refused: it is revoked or expired."""
        counted = get_rate_limit_subject(scope)
        if status != _UNAUTHORISED or counted is None or counted.digest is None:
            return
        if not get_known_principal(scope):
            self._verified.remove(counted.digest)

    def _counted(self, scope: Scope) -> RateLimitSubject:
        path: str = scope["path"]
        if is_console_path(path):
            bearer = read_session_cookie(scope, https=self._https)
        else:
            bearer = read_request_head(scope).bearer
        samples = path in _TELEMETRY or path.startswith(_TELEMETRY_BELOW)
        if bearer is not None:
            digest = hash_key(bearer)
            group = self._verified.get(digest, time.monotonic())
            own = self._bootstrap is not None and hmac.compare_digest(digest, self._bootstrap)
            if group is not None or own:
                return RateLimitSubject(digest, samples, None, group)
            if any(is_well_formed_key(bearer, prefix) for prefix in (API_KEY_PREFIX, SESSION_PREFIX)):
                return RateLimitSubject(digest, samples, _address(scope), None)
        return RateLimitSubject(None, samples, _address(scope), None)

    async def _learn(
        self, scope: Scope, digest: bytes, counted: RateLimitSubject, principal: Principal
    ) -> None:
        """Cache a verified key, and take a token from its group if none was taken yet.

        Raises:
            TooManyRequestsError: The group has no token left.
        """
        group = PrincipalGroup.of(principal)
        now = time.monotonic()
        self._verified.add(digest, group, now)
        if counted.group == group:
            return
        if counted.address is not None:
            self._buckets.give_back((ANONYMOUS, counted.address))
        buckets = list_group_buckets(group, samples=counted.samples)
        verdict, broken, low = self._buckets.take(buckets, now)
        scope[_LOW] = low or is_low_priority(scope)
        if verdict is not None and broken is not None:
            # As for a cached organisation: a refused request takes no token from the key either.
            self._buckets.give_back((counted.policy, digest))
            error = _too_many(verdict)
            count_http_refusal(error, policy=broken[0])
            raise error

    async def _refuse(self, broken: BucketKey, verdict: TokenDecision) -> Response:
        policy, subject = broken
        if not self._is_quick(subject) and self._delayed < _DELAYED_MOST:
            self._delayed += 1
            try:
                await asyncio.sleep(_REFUSAL_DELAY_S)
            finally:
                self._delayed -= 1
        return make_refusal_response(_too_many(verdict), policy=policy, headers=_headers(verdict))

    def _is_quick(self, subject: Hashable) -> bool:
        return self._quick.take(subject, time.monotonic()).allowed


def _too_many(verdict: TokenDecision) -> TooManyRequestsError:
    wait_s = max(1, math.ceil(verdict.wait_s))
    return TooManyRequestsError(
        f"Too many requests. Wait {wait_s} s.", retry_after_s=wait_s, code="rate_limited"
    )


def _address(scope: Scope) -> str:
    client = scope.get("client")
    return make_address_subject(client[0] if client else None)


def _headers(verdict: TokenDecision) -> dict[str, str]:
    return {
        "RateLimit-Limit": str(verdict.limit),
        "RateLimit-Remaining": str(verdict.remaining),
        "RateLimit-Reset": str(math.ceil(verdict.reset_s)),
    }


def _raw_headers(verdict: TokenDecision) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode(), value.encode()) for name, value in _headers(verdict).items()]
