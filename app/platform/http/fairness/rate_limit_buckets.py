"""Selects the token buckets that limit a request: of API key or IP address, organisation, integrator.

Pure: the clock is an argument.
"""

from collections.abc import Hashable, Sequence
from typing import Final, NamedTuple

from app.platform.config.api_settings import ApiSettings
from app.platform.http.fairness.principal_groups import PrincipalGroup
from app.platform.http.fairness.token_buckets import (
    BucketStore,
    TokenDecision,
    make_rate_limiter,
)

ANONYMOUS: Final = "anonymous"

# Below this share of a bucket the caller exceeds its long-run rate for more than a moment.
_LOW: Final = 0.75

type BucketKey = tuple[str, Hashable]
"""A policy, and the subject of one of its buckets."""


class RateLimitDecision(NamedTuple):
    """The result of the rate limits for a request.

    Attributes:
        verdict: that of the exceeded limit; else that of the limit with the fewest tokens left; None: no
            limit applies.
        broken: the exceeded limit.
        low: whether a bucket of the caller is nearly used up.
    """

    verdict: TokenDecision | None
    broken: BucketKey | None
    low: bool


class RateLimitBuckets:
    """The rate limits of the API, by policy.

    Args:
        settings: the limits.
        store: where the buckets are; None: in this process, by policy.
    """

    def __init__(self, settings: ApiSettings, store: BucketStore | None = None) -> None:
        rate, burst = settings.organisation_rate_per_s, settings.organisation_rate_burst
        samples, many = settings.organisation_telemetry_rate_per_s, settings.organisation_telemetry_rate_burst
        times = settings.integrator_factor
        limits = {
            "key": (settings.rate_per_s, settings.rate_burst),
            ANONYMOUS: (settings.anonymous_rate_per_s, settings.anonymous_rate_burst),
            "telemetry": (settings.telemetry_rate_per_s, settings.telemetry_rate_burst),
            "organisation": (rate, burst),
            "organisation_telemetry": (samples, many),
            "integrator": (rate * times, burst * times),
            "integrator_telemetry": (samples * times, many * times),
        }
        self._limiters = {
            policy: make_rate_limiter(*limit, policy=policy, store=store) for policy, limit in limits.items()
        }

    def take(self, buckets: Sequence[BucketKey], now: float) -> RateLimitDecision:
        """Take a token from each of these buckets; from none if one is empty."""
        least: TokenDecision | None = None
        low = False
        for index, (policy, subject) in enumerate(buckets):
            limiter = self._limiters[policy]
            if limiter is None:
                continue
            verdict = limiter.take(subject, now)
            if not verdict.allowed:
                for taken in buckets[:index]:
                    self.give_back(taken)
                return RateLimitDecision(verdict, (policy, subject), low=True)
            if policy == ANONYMOUS and len(buckets) > 1:
                # The address's token is returned once the key is verified.
                continue
            low = low or verdict.remaining < verdict.limit * _LOW
            if least is None or verdict.remaining < least.remaining:
                least = verdict
        return RateLimitDecision(least, None, low)

    def give_back(self, taken: BucketKey) -> None:
        """Return a token that was taken in vain."""
        policy, subject = taken
        limiter = self._limiters[policy]
        if limiter is not None:
            limiter.give_back(subject)


def list_group_buckets(group: PrincipalGroup, *, samples: bool) -> tuple[BucketKey, BucketKey]:
    """Return the buckets that an organisation's requests use beside those of its keys."""
    suffix = "_telemetry" if samples else ""
    return (f"organisation{suffix}", group.organisation), (f"integrator{suffix}", group.tree)
