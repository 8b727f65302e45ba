import os
import time
from collections.abc import Iterator
from uuid import uuid4

import pytest

from app.platform.config.api_settings import ApiSettings
from app.platform.http.fairness.rate_limit_buckets import RateLimitBuckets
from app.platform.http.fairness.shared_buckets import SharedBuckets


@pytest.fixture
def descriptor() -> Iterator[int]:
    made = os.memfd_create("buckets")
    yield made
    os.close(made)


def test_processes_see_the_same_buckets(descriptor: int) -> None:
    one, other = SharedBuckets(descriptor), SharedBuckets(descriptor)
    now = time.monotonic()
    for subject in ("192.0.2.1", b"\0" * 32, uuid4()):
        assert other.get("key", subject) is None
        one.set("key", subject, now + 4, now)
        assert other.get("key", subject) == now + 4
        assert other.get("organisation", subject) is None
        other.set("key", subject, now + 5, now)
        assert one.get("key", subject) == now + 5


def test_rate_limits_are_of_all_processes_together(descriptor: int) -> None:
    settings = ApiSettings(rate_per_s=1, rate_burst=10)
    workers = [RateLimitBuckets(settings, SharedBuckets(descriptor)) for _ in range(4)]
    key = [("key", b"digest")]
    verdicts = [worker.take(key, 100.0).verdict for _ in range(5) for worker in workers]
    assert sum(verdict is not None and verdict.allowed for verdict in verdicts) == 10
    workers[0].give_back(key[0])
    assert workers[1].take(key, 100.0).broken is None
    assert workers[2].take(key, 100.0).broken == key[0]


def test_a_full_table_forgets_full_buckets_first(descriptor: int) -> None:
    table = SharedBuckets(descriptor)
    now = 1_000.0
    table.set("key", "nearly empty", now + 3_600, now)
    # Twice as many as there are slots; each is full again at once.
    for number in range(262_144):
        table.set("anonymous", number, now + 0.001, now)
    assert table.get("key", "nearly empty") == now + 3_600
