"""Implements rate limits by token buckets. Of each, only the time at which it is full again is stored.

Pure: the clock is an argument.

    limiter = RateLimiter(rate_per_s=25, burst=1000)
    verdict = limiter.take(organisation_id, time.monotonic())

Buckets belong to one process, unless their store is shared (`app.platform.http.fairness.shared_buckets`).
"""

import math
from collections import OrderedDict
from collections.abc import Hashable
from typing import Final, NamedTuple, Protocol

MOST_SUBJECTS: Final = 50_000
"""Buckets that a limiter holds. It evicts the least recently used one, which starts full again."""
# Tolerance for rounding: a token that is due now must not be due in a nanosecond.
_HAIR_S: Final = 1e-6


class TokenDecision(NamedTuple):
    """A limiter's decision on one request.

    Attributes:
        allowed: whether the request may proceed.
        limit: tokens in a full bucket.
        remaining: whole tokens that are left.
        reset_s: seconds until the bucket is full, if no more tokens are taken.
        wait_s: seconds until a token is available; 0 where the request is allowed.
    """

    allowed: bool
    limit: int
    remaining: int
    reset_s: float
    wait_s: float


class BucketStore(Protocol):
    """Stores of each bucket when it is full again."""

    def get(self, policy: str, subject: Hashable) -> float | None:
        """Return when a bucket is full again, in seconds of the monotonic clock; None: it is full."""

    def set(self, policy: str, subject: Hashable, full_at: float, now: float) -> None:
        """Store when a bucket is full again."""


class LocalBuckets:
    """The buckets of one process.

    Args:
        most: maximum buckets; the least recently used one is evicted, and starts full again.
    """

    def __init__(self, most: int = MOST_SUBJECTS) -> None:
        self._most = most
        # In order of use.
        self._full_at: OrderedDict[tuple[str, Hashable], float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._full_at)

    def get(self, policy: str, subject: Hashable) -> float | None:
        """Return when a bucket is full again; None: it is full."""
        return self._full_at.get((policy, subject))

    def set(self, policy: str, subject: Hashable, full_at: float, now: float) -> None:  # noqa: ARG002 (others evict by time)
        """Store when a bucket is full again."""
        key = policy, subject
        self._full_at[key] = full_at
        self._full_at.move_to_end(key)
        if len(self._full_at) > self._most:
            self._full_at.popitem(last=False)


class RateLimiter:
    """Lets each subject take a burst of `burst` tokens, and `rate_per_s` in the long run.

    Args:
        rate_per_s: the rate.
        burst: the burst.
        policy: the name of its buckets in the store.
        store: where its buckets are; None: a store of its own.
    """

    def __init__(
        self, rate_per_s: float, burst: int, *, policy: str = "", store: BucketStore | None = None
    ) -> None:
        self._each_s = 1.0 / rate_per_s
        self._burst = burst
        self._depth_s = burst * self._each_s
        self._policy = policy
        self._store = LocalBuckets() if store is None else store

    def take(self, subject: Hashable, now: float) -> TokenDecision:
        """Take a token, if one is available.

        Args:
            subject: The owner of the bucket.
            now: Seconds of a monotonic clock.
        """
        full_at = max(self._store.get(self._policy, subject) or now, now)
        after = full_at + self._each_s
        wait_s = after - self._depth_s - now
        if wait_s > _HAIR_S:
            return TokenDecision(False, self._burst, 0, full_at - now, wait_s)
        self._store.set(self._policy, subject, after, now)
        remaining = max(0, math.floor((_HAIR_S - wait_s) / self._each_s))
        return TokenDecision(True, self._burst, remaining, after - now, 0.0)

    def give_back(self, subject: Hashable) -> None:
        """Return a token that was taken in vain."""
        full_at = self._store.get(self._policy, subject)
        if full_at is not None:
            self._store.set(self._policy, subject, full_at - self._each_s, full_at)


def make_rate_limiter(
    rate_per_s: float, burst: int, *, policy: str = "", store: BucketStore | None = None
) -> RateLimiter | None:
    """Return a limiter, or None where the rate is 0: no limit. The arguments are those of `RateLimiter`."""
    return RateLimiter(rate_per_s, burst, policy=policy, store=store) if rate_per_s else None
