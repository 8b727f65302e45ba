import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from app.platform.identity import principal_cache
from app.platform.identity.caller_authentication import Principal
from app.platform.identity.principal_cache import PrincipalCache
from app.platform.kernel.tenant_scope import FULL_SCOPE

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
PRINCIPAL = Principal(uuid4(), uuid4(), platform=False, scopes=frozenset(), tenant_scope=FULL_SCOPE)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def cache(clock: Clock) -> PrincipalCache:
    made = PrincipalCache(most=2, clock=clock)
    made._on_change()  # it listens
    return made


def test_a_caller_is_known_for_a_few_seconds(cache: PrincipalCache, clock: Clock) -> None:
    cache.add(b"a", PRINCIPAL, version=cache.version)
    clock.now += 4.9
    # The system's clock may have been set back meanwhile.
    assert cache.get(b"a", NOW - timedelta(hours=1)) is PRINCIPAL
    assert cache.get(b"b", NOW) is None
    clock.now += 0.1
    assert cache.get(b"a", NOW - timedelta(hours=1)) is None


def test_no_longer_than_its_key_is_valid(cache: PrincipalCache) -> None:
    ends = replace(PRINCIPAL, valid_until=NOW + timedelta(seconds=1))
    cache.add(b"a", ends, version=cache.version)
    assert cache.get(b"a", NOW + timedelta(seconds=0.9)) is ends
    assert cache.get(b"a", NOW + timedelta(seconds=1)) is None


def test_a_change_drops_all_and_what_was_looked_up_before_it(cache: PrincipalCache) -> None:
    before = cache.version
    cache.add(b"a", PRINCIPAL, version=before)
    cache.clear()
    assert cache.get(b"a", NOW) is None
    cache.add(b"a", PRINCIPAL, version=before)
    assert cache.get(b"a", NOW) is None


def test_without_notifications_nothing_is_cached(cache: PrincipalCache) -> None:
    cache._on_lost()
    cache.add(b"a", PRINCIPAL, version=cache.version)
    assert cache.get(b"a", NOW) is None
    deaf = PrincipalCache()
    deaf.add(b"a", PRINCIPAL, version=deaf.version)
    assert len(deaf) == 0


def test_it_is_bounded(cache: PrincipalCache) -> None:
    for digest in (b"a", b"b", b"c"):
        cache.add(digest, PRINCIPAL, version=cache.version)
    assert len(cache) == 2
    assert cache.get(b"a", NOW) is None


async def test_it_listens_until_it_is_cancelled(
    cache: PrincipalCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = asyncio.Event()

    async def listen(*_: object, **__: object) -> None:
        begun.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(principal_cache, "listen_for_wakeups", listen)
    following = asyncio.create_task(cache.follow(None))  # type: ignore[arg-type]
    await begun.wait()
    cache.add(b"a", PRINCIPAL, version=cache.version)
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
    assert len(cache) == 0
