"""Which buckets a request takes from: its key's or its address's, its organisation's, its integrator's.

Pure: the clock is an argument.
"""

from collections.abc import Hashable, Sequence
from typing import Final, NamedTuple

from app.platform.config.api_settings import ApiSettings
from app.platform.http.fairness.principal_groups import PrincipalGroup
from app.platform.http.fairness.token_buckets import RateLimiter, TokenDecision, make_rate_limiter

ANONYMOUS: Final = "anonymous"

# Whose bucket holds less than this share asks more than its rate, and not just now and then.
_LOW: Final = 0.75

type BucketKey = tuple[str, Hashable]
"""A policy, and whose bucket of it."""


class RateLimitDecision(NamedTuple):
    """What the limits say of a request.

    Attributes:
        verdict: of the limit that it broke; else of the one of which least is left; None: none counts it.
        broken: the limit that it broke.
        low: whether its caller has used up much of what it may ask at once.
    """

    verdict: TokenDecision | None
    broken: BucketKey | None
    low: bool


class RateLimitBuckets:
    """All limits of a process, by policy."""

    def __init__(self, settings: ApiSettings) -> None:
        rate, burst = settings.organisation_rate_per_s, settings.organisation_rate_burst
        samples, many = settings.organisation_telemetry_rate_per_s, settings.organisation_telemetry_rate_burst
        times = settings.integrator_factor
        self._limiters: dict[str, RateLimiter | None] = {
            "key": make_rate_limiter(settings.rate_per_s, settings.rate_burst),
            ANONYMOUS: make_rate_limiter(settings.anonymous_rate_per_s, settings.anonymous_rate_burst),
            "telemetry": make_rate_limiter(settings.telemetry_rate_per_s, settings.telemetry_rate_burst),
            "organisation": make_rate_limiter(rate, burst),
            "organisation_telemetry": make_rate_limiter(samples, many),
            "integrator": make_rate_limiter(rate * times, burst * times),
            "integrator_telemetry": make_rate_limiter(samples * times, many * times),
        }

    def take(self, wanted: Sequence[BucketKey], now: float) -> RateLimitDecision:
        """Take a token from each of these buckets; from none where one is empty."""
        least: TokenDecision | None = None
        low = False
        for index, (policy, subject) in enumerate(wanted):
            limiter = self._limiters[policy]
            if limiter is None:
                continue
            verdict = limiter.take(subject, now)
            if not verdict.allowed:
                for taken in wanted[:index]:
                    self.give_back(taken)
                return RateLimitDecision(verdict, (policy, subject), low=True)
            if policy == ANONYMOUS and len(wanted) > 1:
                # Of an address whose key is not known yet: what it took comes back.
                continue
            low = low or verdict.remaining < verdict.limit * _LOW
            if least is None or verdict.remaining < least.remaining:
                least = verdict
        return RateLimitDecision(least, None, low)

    def give_back(self, taken: BucketKey) -> None:
        """Put a token back that was taken for nothing."""
        policy, subject = taken
        limiter = self._limiters[policy]
        if limiter is not None:
            limiter.give_back(subject)


def list_group_buckets(account: PrincipalGroup, *, samples: bool) -> tuple[BucketKey, BucketKey]:
    """The buckets that an organisation's requests take from besides those of its keys."""
    suffix = "_telemetry" if samples else ""
    return (f"organisation{suffix}", account.organisation), (f"integrator{suffix}", account.tree)
