"""Implements rate limits by token buckets. Of each, only the time at which it is full again is stored.

Pure: the clock is an argument.

    limiter = RateLimiter(rate_per_s=25, burst=1000)
    verdict = limiter.take(organisation_id, time.monotonic())

Buckets belong to one process: several processes allow several times as much.
"""

import math
from collections import OrderedDict
from collections.abc import Hashable
from typing import Final, NamedTuple

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


class RateLimiter:
    """Lets each subject take a burst of `burst` tokens, and `rate_per_s` in the long run."""

    def __init__(self, rate_per_s: float, burst: int, *, most: int = MOST_SUBJECTS) -> None:
        self._each_s = 1.0 / rate_per_s
        self._burst = burst
        self._depth_s = burst * self._each_s
        self._most = most
        # When each subject's bucket is full again, in order of use.
        self._full_at: OrderedDict[Hashable, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._full_at)

    def take(self, subject: Hashable, now: float) -> TokenDecision:
        """Take a token, if one is available.

        Args:
            subject: The owner of the bucket.
            now: Seconds of a monotonic clock.
        """
        full_at = max(self._full_at.get(subject, now), now)
        after = full_at + self._each_s
        wait_s = after - self._depth_s - now
        if wait_s > _HAIR_S:
            return TokenDecision(False, self._burst, 0, full_at - now, wait_s)
        self._full_at[subject] = after
        self._full_at.move_to_end(subject)
        if len(self._full_at) > self._most:
            self._full_at.popitem(last=False)
        remaining = max(0, math.floor((_HAIR_S - wait_s) / self._each_s))
        return TokenDecision(True, self._burst, remaining, after - now, 0.0)

    def give_back(self, subject: Hashable) -> None:
        """Return a token that was taken in vain."""
        if subject in self._full_at:
            self._full_at[subject] -= self._each_s


def make_rate_limiter(rate_per_s: float, burst: int) -> RateLimiter | None:
    """Return a limiter, or None where the rate is 0: no limit."""
    return RateLimiter(rate_per_s, burst) if rate_per_s else None
