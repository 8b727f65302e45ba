"""Who asks much goes behind those who do not; by itself, and through the edge."""

import asyncio
from contextlib import AsyncExitStack
from uuid import uuid4

import pytest

from app.core.edge import precedence
from app.core.edge.precedence import Precedence
from app.core.observability import HTTP_REFUSED
from tests.unit.core.edge.helpers import behind_the_edge
from tests.unit.core.edge.test_accounts import all_asking, ask, keys_of, until
from tests.unit.core.edge.test_turns import settled


async def test_who_yields_begins_when_nobody_else_is_at_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precedence, "_PATIENCE_S", 60.0)
    order = Precedence(waiting=10)
    for _ in range(2):
        order.begin()
    waits = asyncio.create_task(order.enter("a"))
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
    assert await waits
    order.leave("a")


async def test_those_who_yield_run_one_at_a_time_and_in_turn() -> None:
    order = Precedence(waiting=2)
    began: list[str] = []

    async def enter(tenant: str) -> None:
        assert await order.enter(tenant)
        began.append(tenant)

    assert await order.enter("a")
    tasks = [asyncio.create_task(enter(tenant)) for tenant in "aab"]
    await settled()
    assert not await order.enter("a")
    for expected in ("b", "ba", "baa"):
        order.leave(began[-1] if began else "a")
        await settled()
        assert "".join(began) == expected
    order.leave("a")
    await asyncio.gather(*tasks)


async def test_who_yields_waits_no_longer_than_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precedence, "_PATIENCE_S", 0.01)
    order = Precedence(waiting=1)
    order.begin()
    assert await order.enter("a")
    order.leave("a")


async def test_whoever_gives_up_lets_the_next_one_come() -> None:
    order = Precedence(waiting=1)
    order.begin()
    gone = asyncio.create_task(order.enter("a"))
    stays = asyncio.create_task(order.enter("b"))
    await settled()
    gone.cancel()
    await asyncio.wait({gone})
    order.end()
    assert await stays


@pytest.mark.parametrize("known", [True, False])
async def test_who_used_up_much_waits_for_a_neighbour_and_not_the_reverse(
    monkeypatch: pytest.MonkeyPatch, *, known: bool
) -> None:
    monkeypatch.setattr(precedence, "_PATIENCE_S", 60.0)
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
