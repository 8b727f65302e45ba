import pytest

from app.platform.http.fairness.token_buckets import LocalBuckets, RateLimiter, make_rate_limiter


def test_a_burst_then_the_rate() -> None:
    limiter = RateLimiter(rate_per_s=10, burst=3)
    taken = [limiter.take("a", 100.0) for _ in range(4)]
    assert [each.allowed for each in taken] == [True, True, True, False]
    assert [each.remaining for each in taken] == [2, 1, 0, 0]
    assert [each.limit for each in taken] == [3] * 4
    assert [each.reset_s for each in taken] == pytest.approx([0.1, 0.2, 0.3, 0.3])
    assert taken[-1].wait_s == pytest.approx(0.1)
    # What is refused takes nothing: a token is there when it was said to be, and one alone.
    assert limiter.take("a", 100.1).allowed
    assert not limiter.take("a", 100.1).allowed
    assert limiter.take("a", 200.0).remaining == 2


def test_over_a_long_time_the_rate_is_the_rate() -> None:
    limiter = RateLimiter(rate_per_s=7, burst=5)
    allowed = sum(limiter.take("a", tick / 1000).allowed for tick in range(60_000))
    assert allowed == 7 * 60 + 5 - 1 or allowed == 7 * 60 + 5


def test_buckets_are_apart_and_tokens_come_back() -> None:
    limiter = RateLimiter(rate_per_s=1, burst=1)
    assert limiter.take("a", 0.0).allowed
    assert limiter.take(b"a", 0.0).allowed
    limiter.give_back("a")
    limiter.give_back("never seen")
    assert limiter.take("a", 0.0).allowed
    assert not limiter.take(b"a", 0.0).allowed


def test_whoever_was_away_longest_is_forgotten() -> None:
    store = LocalBuckets(3)
    limiter = RateLimiter(rate_per_s=1, burst=1, store=store)
    for name in ("a", "b", "c"):
        limiter.take(name, 0.0)
    assert limiter.take("a", 1.0).allowed
    limiter.take("d", 1.0)
    assert len(store) == 3
    assert not limiter.take("c", 0.5).allowed
    assert limiter.take("b", 0.5).allowed


def test_a_rate_of_0_is_no_limit() -> None:
    assert make_rate_limiter(0, 10) is None
    assert make_rate_limiter(1, 10) is not None
