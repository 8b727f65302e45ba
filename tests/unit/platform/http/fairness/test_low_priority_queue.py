"""Who asks much goes behind those who do not; by itself, and through the edge."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial
from uuid import uuid4

import pytest
from fastapi import FastAPI

from app.platform.config.api_settings import ApiSettings
from app.platform.http.fairness import low_priority_queue
from app.platform.http.fairness.concurrency_limits import ConcurrencyLimits, RequestPermits
from app.platform.http.fairness.low_priority_queue import LowPriorityQueue
from app.platform.http.fairness.principal_groups import PrincipalGroup
from app.platform.observability.metrics_and_logs import HTTP_REFUSED
from tests.unit.platform.http.fairness.test_fair_semaphore import settled
from tests.unit.platform.http.fairness.test_principal_groups import all_asking, ask, keys_of, until
from tests.unit.platform.http.middleware.helpers import behind_the_edge


async def test_who_yields_begins_when_nobody_else_is_at_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(low_priority_queue, "_PATIENCE_S", 60.0)
    order = LowPriorityQueue(waiting=10)
    for _ in range(2):
        order.begin()
    waits = asyncio.create_task(order.acquire("a"))
    await settled()
    order.end()
    await settled()
    assert not waits.done()
    order.end()
    # Somebody who does not yield was quicker.
    order.begin()
    await settled()
    assert not waits.done()
    order.end()
    leave = await waits
    assert leave is not None
    leave()


async def test_those_who_yield_run_one_at_a_time_and_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(low_priority_queue, "_PATIENCE_S", 60.0)
    order = LowPriorityQueue(waiting=2)
    began: list[str] = []
    ends: list[Callable[[], None]] = []

    async def enter(tenant: str) -> None:
        leave = await order.acquire(tenant)
        assert leave is not None
        began.append(tenant)
        ends.append(leave)

    await enter("a")
    tasks = [asyncio.create_task(enter(tenant)) for tenant in "aab"]
    await settled()
    assert await order.acquire("a") is None
    for expected in ("ab", "aba", "abaa"):
        ends.pop()()
        await settled()
        assert "".join(began) == expected
    ends.pop()()
    await asyncio.gather(*tasks)


async def test_a_slow_one_of_those_who_yield_does_not_keep_the_others_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(low_priority_queue, "_PATIENCE_S", 0.01)
    order = LowPriorityQueue(waiting=1)
    slow = await order.acquire("a")
    assert slow is not None
    async with asyncio.timeout(60):
        quick = await order.acquire("b")
    assert quick is not None
    # Its own next one waits for it all the same.
    behind = asyncio.create_task(order.acquire("a"))
    await asyncio.sleep(0.05)
    assert not behind.done()
    slow()
    async with asyncio.timeout(60):
        last = await behind
    assert last is not None
    for leave in (quick, last):
        leave()
    # Nothing was given back twice: two of them are not alone at the same time.
    monkeypatch.setattr(low_priority_queue, "_PATIENCE_S", 60.0)
    alone = await order.acquire("a")
    other = asyncio.create_task(order.acquire("b"))
    await settled()
    assert not other.done()
    assert alone is not None
    alone()
    assert await other is not None


async def test_samples_that_yield_do_not_wait_behind_a_dashboard_that_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(low_priority_queue, "_PATIENCE_S", 0.01)
    lines, account = ConcurrencyLimits(ApiSettings(), connections=5), PrincipalGroup(uuid4(), uuid4())
    dashboard, samples = (RequestPermits(lines, samples=each) for each in (False, True))
    await dashboard.acquire_group(account, yields=True)
    async with asyncio.timeout(60):
        await samples.acquire_group(account, yields=True)
    for held in (dashboard, samples):
        held.release()


async def test_who_yields_waits_no_longer_than_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(low_priority_queue, "_PATIENCE_S", 0.01)
    order = LowPriorityQueue(waiting=1)
    order.begin()
    leave = await order.acquire("a")
    assert leave is not None
    leave()


async def test_who_yields_stands_aside_in_between_as_long_as_anybody_is_at_work() -> None:
    order = LowPriorityQueue(waiting=1)
    aside = order.make_pause()
    order.begin()
    waits = asyncio.ensure_future(aside())
    await settled()
    assert not waits.done()
    order.end()
    await settled()
    assert waits.done()


async def test_it_stands_aside_for_a_while_in_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(low_priority_queue, "PAUSES_S", 0.02)
    order = LowPriorityQueue(waiting=1)
    aside = order.make_pause()
    order.begin()
    async with asyncio.timeout(60):
        await aside()
    # Nothing of it is left.
    waits = asyncio.ensure_future(aside())
    await settled()
    assert waits.done()


def _is_running(app: FastAPI, key: str) -> bool:
    return bool(app.state.running[f"Bearer {key}"])


def _note(ended: list[str], name: str, _: object) -> None:
    ended.append(name)


async def test_who_used_up_much_is_passed_by_a_neighbour_that_came_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(low_priority_queue, "PAUSES_S", 60.0)
    gate = asyncio.Event()
    app = behind_the_edge(gate, organisation_rate_per_s=0.001, organisation_rate_burst=100)
    (much,), (little,) = keys_of(app, uuid4(), 1), keys_of(app, uuid4(), 1)
    for _ in range(30):
        await ask(app, much)
    ended: list[str] = []
    async with AsyncExitStack() as stack:
        for key, name in ((much, "yields"), (little, "comes later")):
            (asked,) = await all_asking(app, [key], 1, stack)
            asked.add_done_callback(partial(_note, ended, name))
            await until(partial(_is_running, app, key))
        gate.set()
        await until(lambda: len(ended) == 2)
    assert ended == ["comes later", "yields"]


async def test_whoever_gives_up_lets_the_next_one_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(low_priority_queue, "_PATIENCE_S", 60.0)
    order = LowPriorityQueue(waiting=1)
    order.begin()
    gone = asyncio.create_task(order.acquire("a"))
    stays = asyncio.create_task(order.acquire("b"))
    await settled()
    gone.cancel()
    await asyncio.wait({gone})
    order.end()
    assert await stays is not None


@pytest.mark.parametrize("known", [True, False])
async def test_who_used_up_much_waits_for_a_neighbour_and_not_the_reverse(
    monkeypatch: pytest.MonkeyPatch, *, known: bool
) -> None:
    monkeypatch.setattr(low_priority_queue, "_PATIENCE_S", 60.0)
    gate = asyncio.Event()
    app = behind_the_edge(
        gate, organisation_rate_per_s=0.001, organisation_rate_burst=100, waiting_per_organisation=2
    )
    much = keys_of(app, uuid4(), 2)
    (little,) = keys_of(app, uuid4(), 1)
    for _ in range(30):
        await ask(app, much[0])
    keys = much[: 1 if known else 2][-1:]
    refused = HTTP_REFUSED.labels("too_many_requests_at_once", "organisation")._value.get()
    async with AsyncExitStack() as stack:
        asked = await all_asking(app, [little], 3, stack)
        await until(lambda: app.state.running.total() == 3)
        yielding = await all_asking(app, keys, 5, stack)
        # One is next, two wait behind it, and for more there is no room.
        await until(lambda: sum(task.done() for task in yielding) == 2)
        assert app.state.running[f"Bearer {keys[0]}"] == 0
        gate.set()
        answers = await asyncio.gather(*asked, *yielding)
    assert sorted(answer.status_code for answer in answers) == [200] * 6 + [429] * 2
    assert app.state.most == 3
    assert HTTP_REFUSED.labels("too_many_requests_at_once", "organisation")._value.get() == refused + 2
