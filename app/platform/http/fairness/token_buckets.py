"""How often somebody may ask: a bucket of tokens each, kept as the one time at which it will be full again.

Pure: the clock is an argument.

    limiter = RateLimiter(rate_per_s=25, burst=1000)
    verdict = limiter.take(organisation_id, time.monotonic())

Of one process: several processes allow several times as much.
"""

import math
from collections import OrderedDict
from collections.abc import Hashable
from typing import Final, NamedTuple

MOST_SUBJECTS: Final = 50_000
"""Buckets that a limiter keeps. Whoever was away longest is forgotten first, and begins with a full one."""
# For the sums of floats: a token that is due now is not due in a nanosecond.
_HAIR_S: Final = 1e-6


class TokenDecision(NamedTuple):
    """What a limiter says to one request.

    Attributes:
        allowed: whether it may go on.
        limit: tokens in a full bucket.
        remaining: whole tokens that are left now.
        reset_s: seconds until the bucket is full, if nothing more is taken.
        wait_s: seconds until there is a token; 0 where the request is allowed.
    """

    allowed: bool
    limit: int
    remaining: int
    reset_s: float
    wait_s: float


class RateLimiter:
    """Lets each subject take `burst` at once, and `rate_per_s` in the long run."""

    def __init__(self, rate_per_s: float, burst: int, *, most: int = MOST_SUBJECTS) -> None:
        self._each_s = 1.0 / rate_per_s
        self._burst = burst
        self._depth_s = burst * self._each_s
        self._most = most
        # When each subject's bucket is full again; used last stands last.
        self._full_at: OrderedDict[Hashable, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._full_at)

    def take(self, subject: Hashable, now: float) -> TokenDecision:
        """Take a token, if there is one.

        Args:
            subject: Whose bucket it is.
            now: Seconds of a clock that never goes back.
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
        """Put a token back that was taken for nothing."""
        if subject in self._full_at:
            self._full_at[subject] -= self._each_s


def make_rate_limiter(rate_per_s: float, burst: int) -> RateLimiter | None:
    """A limiter, or None where the rate is 0: no limit."""
    return RateLimiter(rate_per_s, burst) if rate_per_s else None
