import asyncio
import time
from uuid import UUID, uuid4

import pytest
from starlette.types import Message

from app.platform.config.api_settings import ApiSettings
from app.platform.http.fairness import concurrency_limits, low_priority_queue
from app.platform.http.fairness import low_priority_queue as cpu_accounting
from app.platform.http.fairness.concurrency_limits import ConcurrencyLimits, RequestPermits
from app.platform.http.fairness.principal_groups import PrincipalGroup


@pytest.fixture
def lines() -> ConcurrencyLimits:
    """Two places for everybody."""
    return ConcurrencyLimits(ApiSettings(running_per_organisation=1), connections=2)


async def entered(lines: ConcurrencyLimits, organisation: UUID) -> RequestPermits:
    held = RequestPermits(lines, samples=False)
    await held.acquire_group(PrincipalGroup(organisation, organisation), yields=False)
    return held


def assert_all_given_back(lines: ConcurrencyLimits) -> None:
    turns = lines.of("integrator", samples=False)
    assert turns is not None
    assert len(turns) == 0


@pytest.mark.parametrize("yielding", [False, True])
async def test_who_is_slow_to_send_a_body_keeps_no_place_from_others(
    lines: ConcurrencyLimits, *, yielding: bool
) -> None:
    slow = uuid4()
    uploads = [await entered(lines, slow), await entered(lines, uuid4())]
    third = RequestPermits(lines, samples=False)
    neighbour = uuid4()
    coming = asyncio.create_task(third.acquire_group(PrincipalGroup(neighbour, neighbour), yields=yielding))
    sent: asyncio.Queue[Message] = asyncio.Queue()
    reading = [asyncio.ensure_future(held.while_reading(sent.get)()) for held in uploads]
    async with asyncio.timeout(60):
        await coming
        # Its own organisation has no second request at work meanwhile.
        more = asyncio.create_task(entered(lines, slow))
        await asyncio.sleep(0)
        assert not more.done()
        for body in (b"{", b"["):
            await sent.put({"type": "http.request", "body": body, "more_body": False})
        # There is one place, and then the third's: whoever is back waits for it.
        await asyncio.wait(reading, return_when=asyncio.FIRST_COMPLETED)
        assert [task.done() for task in reading].count(True) == 1
        third.release()
        assert {message["body"] for message in await asyncio.gather(*reading)} == {b"{", b"["}
        for held in uploads:
            held.release()
        (await more).release()
    assert_all_given_back(lines)


async def test_who_yields_and_is_slow_keeps_no_sibling_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(low_priority_queue, "_PATIENCE_S", 0.01)
    lines, integrator = ConcurrencyLimits(ApiSettings(running_per_organisation=2), connections=5), uuid4()
    rude, sibling = (PrincipalGroup(uuid4(), integrator) for _ in range(2))
    slow, next_, other = (RequestPermits(lines, samples=False) for _ in range(3))
    sent: asyncio.Queue[Message] = asyncio.Queue()
    async with asyncio.timeout(60):
        await slow.acquire_group(rude, yields=True)
        reading = asyncio.ensure_future(slow.while_reading(sent.get)())
        waits = asyncio.ensure_future(next_.acquire_group(rude, yields=True))
        # Neither a slow body, nor whoever waits behind that in its own organisation.
        await other.acquire_group(sibling, yields=True)
        await sent.put({"type": "http.request", "body": b"", "more_body": False})
        # It is back once its sibling is done, and an answer that has begun has not to end first.
        await asyncio.sleep(0)
        assert not reading.done()
        other.release_shared()
        await reading
        assert not waits.done()
        slow.release_shared()
        await waits
    for held in (slow, next_, other):
        held.release()
    assert_all_given_back(lines)


async def test_a_body_that_waits_for_a_pause_is_not_slow(
    lines: ConcurrencyLimits, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request of low priority reads its body only after its pauses, which are no fault of its client."""
    held = RequestPermits(lines, samples=False)
    await held.acquire_group(PrincipalGroup(uuid4(), uuid4()), yields=True)

    async def reacquire() -> None:
        pytest.fail("its permits were released")

    async def receive() -> Message:
        await asyncio.sleep(concurrency_limits._BODY_PATIENCE_S + 0.02)
        return {"type": "http.request", "body": b"", "more_body": False}

    monkeypatch.setattr(held, "_reacquire", reacquire)
    await held.while_reading(receive)()
    held.release()
    assert_all_given_back(lines)


async def test_a_client_that_goes_while_it_sends_leaves_nothing(lines: ConcurrencyLimits) -> None:
    held = await entered(lines, uuid4())
    never: asyncio.Future[Message] = asyncio.get_running_loop().create_future()

    async def receive() -> Message:
        return await never

    reading = asyncio.ensure_future(held.while_reading(receive)())
    await asyncio.sleep(0.2)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert never.cancelled()
    held.release()
    assert_all_given_back(lines)


async def test_a_byte_now_and_then_keeps_no_place_either(lines: ConcurrencyLimits) -> None:
    uploads = [await entered(lines, uuid4()), await entered(lines, uuid4())]

    async def receive() -> Message:
        await asyncio.sleep(0.04)
        return {"type": "http.request", "body": b"1", "more_body": True}

    async def read(held: RequestPermits) -> None:
        receiving = held.while_reading(receive)
        while True:
            await receiving()

    reading = [asyncio.create_task(read(held)) for held in uploads]
    async with asyncio.timeout(60):
        third = await entered(lines, uuid4())
    for task, held in zip(reading, uploads, strict=True):
        task.cancel()
        held.release()
    await asyncio.gather(*reading, return_exceptions=True)
    third.release()
    assert_all_given_back(lines)


async def test_an_answer_that_has_begun_takes_no_place_again(lines: ConcurrencyLimits) -> None:
    held = await entered(lines, uuid4())
    sent: asyncio.Queue[Message] = asyncio.Queue()
    reading = asyncio.ensure_future(held.while_reading(sent.get)())
    await asyncio.sleep(0.2)
    held.release_shared()
    await sent.put({"type": "http.request", "body": b"", "more_body": False})
    await reading
    assert_all_given_back(lines)
    held.release()


async def test_who_takes_much_of_the_process_goes_behind_within_its_rate() -> None:
    lines, account = ConcurrencyLimits(ApiSettings(), connections=5), PrincipalGroup(uuid4(), uuid4())
    assert lines.shares is not None
    lines.shares.add(account, 2.0, time.monotonic())
    first, second, samples = (RequestPermits(lines, samples=each) for each in (False, False, True))
    await first.acquire_group(account, yields=False)
    waits = asyncio.ensure_future(second.acquire_group(account, yields=False))
    async with asyncio.timeout(60):
        await samples.acquire_group(account, yields=False)
        assert not waits.done()
        first.release()
        await waits
    for held in (second, samples):
        held.release()


@pytest.mark.parametrize("samples", [False, True])
async def test_what_a_request_takes_is_told_of_its_organisation(
    monkeypatch: pytest.MonkeyPatch, *, samples: bool
) -> None:
    monkeypatch.setattr(cpu_accounting, "_ALLOWED_S", 0.001)
    lines, account = ConcurrencyLimits(ApiSettings(), connections=5), PrincipalGroup(uuid4(), uuid4())
    assert lines.shares is not None

    async def spin() -> None:
        until = time.thread_time() + 0.01
        while time.thread_time() < until:
            pass

    held = RequestPermits(lines, samples=samples)
    await held.acquire_group(account, yields=False)
    # Then, and not now: it is forgotten after some milliseconds.
    then = time.monotonic()
    await held.run(spin())
    held.release()
    assert lines.shares.is_much(account, then) != samples


async def test_where_there_is_no_limit_nobody_takes_much() -> None:
    assert ConcurrencyLimits(ApiSettings(organisation_rate_per_s=0), connections=5).shares is None
    assert ConcurrencyLimits(ApiSettings(running_per_organisation=0), connections=5).shares is None
