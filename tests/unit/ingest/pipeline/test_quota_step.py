"""How a batch is divided by the quotas of several organisations: no more than there is room for."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.ingest.pipeline import quota_cache
from app.ingest.pipeline.quota_cache import DailyQuotas, QuotaCache
from app.ingest.pipeline.quota_step import find_day_end, find_over_quota
from app.platform.db.database import RawConnection
from app.registry.quota_service import SampleQuotaRow

INTEGRATOR, FIRST, SECOND, FREE = (UUID(int=number) for number in range(1, 5))
NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


def rows(pool: int | None, own: int | None) -> list[SampleQuotaRow]:
    """The quotas of an integrator and its two clients, of which the first has one of its own too."""
    found = []
    if pool is not None:
        found += [SampleQuotaRow(owner, INTEGRATOR, pool, 0, 0) for owner in (INTEGRATOR, FIRST, SECOND)]
    if own is not None:
        found.append(SampleQuotaRow(FIRST, FIRST, own, 0, 0))
    return found


SAMPLES = st.lists(
    st.tuples(st.sampled_from([INTEGRATOR, FIRST, SECOND, FREE]), st.integers(0, 12), st.booleans()),
    max_size=60,
)


@given(SAMPLES, st.none() | st.integers(0, 20), st.none() | st.integers(0, 10))
def test_as_many_are_taken_as_there_is_room_for_in_the_order_of_arrival(
    samples: list[tuple[UUID, int, bool]], pool: int | None, own: int | None
) -> None:
    quotas = DailyQuotas(rows(pool, own))
    owners = [owner for owner, _, _ in samples]
    # A box per organisation: the same time of another one is another sample.
    identities = [(owner.int, time) for owner, time, _ in samples]
    stored = {identities[index] for index, sample in enumerate(samples) if sample[2]}
    repeats = frozenset(index for index, identity in enumerate(identities) if identity in stored)
    lacking = find_over_quota(owners, identities, repeats, quotas)

    taken: list[tuple[int, int]] = []
    new: Counter[UUID] = Counter()
    for index, (owner, identity) in enumerate(zip(owners, identities, strict=True)):
        if identity in stored or identity in taken:
            assert index not in lacking
            continue
        tree = new[INTEGRATOR] + new[FIRST] + new[SECOND]
        full = (owner is not FREE and pool is not None and tree >= pool) or (
            owner is FIRST and own is not None and new[FIRST] >= own
        )
        assert (index in lacking) is full
        if not full:
            taken.append(identity)
            new[owner] += 1
    # Nothing was taken yet: that is for after the commit.
    assert all(quota.used == 0 for owner in set(owners) for quota in quotas.of(owner))
    quotas.add_usage(new)
    for owner in (INTEGRATOR, FIRST, SECOND):
        for quota in quotas.of(owner):
            assert 0 <= quota.left == quota.most - quota.used


def test_what_several_have_used_counts_together() -> None:
    quotas = DailyQuotas(
        [SampleQuotaRow(INTEGRATOR, INTEGRATOR, 100, 30, 0), SampleQuotaRow(FIRST, INTEGRATOR, 100, 50, 0)]
    )
    assert quotas.have_room(20)
    assert not quotas.have_room(21)
    (quota,) = quotas.of(FIRST)
    assert (quota.used, quota.left) == (80, 20)
    quotas.add_usage({FREE: 7, FIRST: 30})
    assert (quota.used, quota.left) == (110, 0)


class Clock:
    """A clock that is set by hand, and what is read by it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 100.0
        self.days: list[Any] = []
        monkeypatch.setattr(quota_cache, "load_sample_quotas", self.load)
        self.quota_cache = QuotaCache(5, clock=lambda: self.now_s)

    async def load(self, _: RawConnection, day: object, default: int | None) -> list[SampleQuotaRow]:
        self.days.append(day)
        return [SampleQuotaRow(FIRST, FIRST, default or 0, 0, 0)]

    async def refresh(self, now: datetime, *, force: bool = False) -> DailyQuotas:
        return await self.quota_cache.refresh(cast("RawConnection", None), now, force=force)


async def test_quotas_are_read_once_a_second_and_at_the_beginning_of_a_day(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock(monkeypatch)
    first = await clock.refresh(NOON)
    clock.now_s += 0.9
    assert await clock.refresh(NOON) is first
    clock.now_s += 0.1
    assert await clock.refresh(NOON) is not first
    assert await clock.refresh(NOON, force=True) is not first
    await clock.refresh(find_day_end(NOON))
    assert clock.days == [NOON.date()] * 3 + [NOON.date() + timedelta(days=1)]


async def test_what_may_have_been_read_already_is_not_counted_again(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    before = await clock.refresh(NOON)
    after = await clock.refresh(NOON, force=True)
    clock.quota_cache.add_usage(before, {FIRST: 3})
    assert [quota.used for quota in after.of(FIRST)] == [0]
    clock.quota_cache.add_usage(after, {FIRST: 3})
    assert [quota.used for quota in after.of(FIRST)] == [3]


@pytest.mark.parametrize("now", [NOON, NOON.replace(hour=0), NOON.replace(hour=23, minute=59)])
def test_a_day_ends_at_midnight(now: datetime) -> None:
    assert find_day_end(now) == datetime(2026, 11, 25, tzinfo=UTC)
