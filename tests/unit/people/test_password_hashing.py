"""Hashes of passwords: so many at once, and each account and address in its turn."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from types import SimpleNamespace

import pytest

from app.people import password_hashing
from app.people.password_hashing import PasswordHashingPool
from app.people.settings import SessionSettings
from app.platform.kernel.errors import TooManyRequestsError, UnavailableError
from tests.integration.notifications.helpers import until
from tests.integration.people.folk import PASSWORD

CHEAP = SessionSettings(hash_memory_kib=19_456, hashes_at_once=2)
ADA, BOB, EVE = ("ada's", "ada"), ("bob's", "bob"), ("eve's", "eve")


class Slow:
    """Argon2, which begins when it is let, and says whose passwords it is at.

    Attributes:
        begun: What was hashed, in this order.
        most: How many were hashed at once.
    """

    def __init__(self, hasher: PasswordHashingPool) -> None:
        self._argon = hasher._argon
        self._go = threading.Semaphore(0)
        self._lock = threading.Lock()
        self._running = 0
        self.begun: list[str] = []
        self.most = 0

    def hash(self, password: str) -> str:
        with self._lock:
            self.begun.append(password)
            self._running += 1
            self.most = max(self.most, self._running)
        self._go.acquire()
        with self._lock:
            self._running -= 1
        return self._argon.hash(password)

    def let(self, number: int) -> None:
        self._go.release(number)

    async def has_begun(self, number: int) -> None:
        async def enough() -> bool:
            return len(self.begun) >= number

        await until(enough)
        # Were there one more that may, it would have begun.
        for _ in range(20):
            await asyncio.sleep(0.005)
        assert len(self.begun) == number


@pytest.fixture
def hasher() -> PasswordHashingPool:
    return PasswordHashingPool(CHEAP)


@pytest.fixture
def slow(hasher: PasswordHashingPool, monkeypatch: pytest.MonkeyPatch) -> Iterator[Slow]:
    made = Slow(hasher)
    monkeypatch.setattr(hasher, "_argon", made)
    yield made
    made.let(1000)


async def test_hashes_are_made_in_threads_of_their_own(
    hasher: PasswordHashingPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = SimpleNamespace(hash=lambda _: threading.current_thread().name)
    monkeypatch.setattr(hasher, "_argon", named)
    assert (await hasher.hash("a password", ADA)).startswith("password-hash")


@asynccontextmanager
async def hashing_for(
    hasher: PasswordHashingPool, *whose: tuple[str, str]
) -> AsyncIterator[list[asyncio.Task[str]]]:
    """Ask for hashes, in this order; each password is the account's name."""
    tasks = []
    for subjects in whose:
        tasks.append(asyncio.create_task(hasher.hash(subjects[1], subjects)))
        await asyncio.sleep(0)
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_password_is_that_of_its_hash_alone(hasher: PasswordHashingPool) -> None:
    hashed = await hasher.hash(PASSWORD, ADA)
    assert await hasher.verify(PASSWORD, hashed, ADA)
    assert not await hasher.verify(PASSWORD + " ", hashed, ADA)
    assert not await hasher.verify(PASSWORD, None, ADA)
    assert not await hasher.verify(PASSWORD, "no hash", ADA)


@pytest.mark.parametrize(
    "flood", [[("one", "ada")] * 6, [(f"{n}", "ada") for n in range(6)], [("one", f"{n}") for n in range(6)]]
)
async def test_one_account_or_address_leaves_room_for_others(
    hasher: PasswordHashingPool, slow: Slow, flood: list[tuple[str, str]]
) -> None:
    async with hashing_for(hasher, *flood, BOB) as tasks:
        # Of all that the flood asks for, one is made: there are two places.
        await slow.has_begun(2)
        # The two run in threads of their own: either may come first.
        assert set(slow.begun) == {flood[0][1], "bob"}
        slow.let(2)
        assert (await tasks[-1]).startswith("$argon2id$")
        slow.let(10)
        await asyncio.gather(*tasks)
    assert slow.most == 2


async def test_subjects_take_turns(hasher: PasswordHashingPool, slow: Slow) -> None:
    async with hashing_for(hasher, *[ADA] * 3, *[BOB] * 3, *[EVE] * 3) as tasks:
        await slow.has_begun(2)
        for number in range(3, 10):
            slow.let(1)
            await slow.has_begun(number)
        slow.let(2)
        await asyncio.gather(*tasks)
    # Nobody had two before each had one, nor three before each had two.
    for first in (0, 3, 6):
        assert sorted(slow.begun[first : first + 3]) == ["ada", "bob", "eve"]


@pytest.mark.parametrize("same", ["address", "account"])
async def test_too_many_of_one_are_refused_at_once(
    hasher: PasswordHashingPool, slow: Slow, same: str
) -> None:
    def subjects(number: int) -> tuple[str, str]:
        return ("ada's", f"{number}") if same == "address" else (f"{number}", "ada")

    line = [subjects(number) for number in range(1 + password_hashing._QUEUE_LIMIT)]
    async with hashing_for(hasher, *line) as tasks:
        with pytest.raises(TooManyRequestsError) as caught:
            await hasher.hash(PASSWORD, subjects(99))
        assert (caught.value.code, caught.value.retry_after_s) == ("too_many_requests_at_once", 1)
        slow.let(100)
        assert await hasher.hash(PASSWORD, BOB)
        await asyncio.gather(*tasks)
    # Whoever was refused left no turn behind.
    assert len(hasher._subject_slots) == 0
    assert await hasher.hash(PASSWORD, subjects(99))


async def test_a_flood_from_one_address_leaves_its_account_to_others(
    hasher: PasswordHashingPool, slow: Slow
) -> None:
    async with hashing_for(hasher, *[ADA] * 6, ("elsewhere", "ada")) as tasks:
        await slow.has_begun(1)
        slow.let(2)
        # It waits for one of them, and not for those that wait behind it.
        await tasks[-1]
        assert [task.done() for task in tasks].count(False) >= 4
        slow.let(10)
        await asyncio.gather(*tasks)


async def test_who_waits_too_long_is_sent_away(
    hasher: PasswordHashingPool, slow: Slow, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with hashing_for(hasher, ADA, BOB) as tasks:
        await slow.has_begun(2)
        monkeypatch.setattr(password_hashing, "_TIMEOUT_S", 0.01)
        for subjects in (EVE, ADA):
            with pytest.raises(UnavailableError) as caught:
                await hasher.hash(PASSWORD, subjects)
            assert caught.value.code == "too_busy"
        monkeypatch.undo()
        monkeypatch.setattr(hasher, "_argon", slow)
        slow.let(3)
        await asyncio.gather(*tasks, hasher.hash(PASSWORD, EVE))
    assert len(hasher._subject_slots) == 0


async def test_who_goes_leaves_the_place_taken_until_the_thread_is_done(
    hasher: PasswordHashingPool, slow: Slow
) -> None:
    async with hashing_for(hasher, ADA, BOB) as tasks:
        await slow.has_begun(2)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        async with hashing_for(hasher, ADA, EVE) as others:
            # No thread was stopped by that: their memory is in use.
            await slow.has_begun(2)
            slow.let(4)
            await asyncio.gather(*others)
    assert slow.most == 2
    assert len(hasher._subject_slots) == 0
