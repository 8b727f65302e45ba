import asyncio

from app.platform.http.fairness.fair_semaphore import FairSemaphore


async def settled() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


async def test_some_run_some_wait_in_order_and_the_rest_are_refused() -> None:
    turns = FairSemaphore(running=1, waiting=2)
    assert await turns.acquire("a")
    order: list[str] = []

    async def wait(name: str) -> None:
        assert await turns.acquire("a")
        order.append(name)

    waiting = [asyncio.create_task(wait(name)) for name in ("first", "second")]
    await settled()
    assert not await turns.acquire("a")
    assert await turns.acquire("b")
    for expected in (["first"], ["first", "second"]):
        turns.release("a")
        await settled()
        assert order == expected
    await asyncio.gather(*waiting)
    turns.release("a")
    turns.release("b")
    assert len(turns) == 0


async def test_whoever_gives_up_waiting_takes_no_turn() -> None:
    turns = FairSemaphore(running=1, waiting=2)
    assert await turns.acquire("a")
    gone = asyncio.create_task(turns.acquire("a"))
    stays = asyncio.create_task(turns.acquire("a"))
    await settled()
    gone.cancel()
    await asyncio.wait({gone})
    turns.release("a")
    assert await stays
    turns.release("a")
    assert len(turns) == 0


async def test_a_turn_that_comes_as_it_is_given_up_goes_on_to_the_next() -> None:
    turns = FairSemaphore(running=1, waiting=2)
    assert await turns.acquire("a")
    gone = asyncio.create_task(turns.acquire("a"))
    stays = asyncio.create_task(turns.acquire("a"))
    await settled()
    turns.release("a")
    gone.cancel()
    await asyncio.wait({gone})
    assert await stays
    turns.release("a")
    assert len(turns) == 0


async def test_where_all_wait_for_each_other_the_next_place_goes_round() -> None:
    turns = FairSemaphore(running=2, waiting=10, total=2)
    order: list[str] = []

    async def take(name: str) -> None:
        assert await turns.acquire(name)
        order.append(name)

    tasks = [asyncio.create_task(take(name)) for name in "aaaaabbc"]
    await settled()
    assert order == ["a", "a"]
    for number in range(len(tasks)):
        # Whoever has its place for longest leaves.
        turns.release(order[number])
        await settled()
    await asyncio.gather(*tasks)
    assert "".join(order) == "aabcabaa"
    assert len(turns) == 0


async def test_whoever_gives_up_in_a_line_for_all_leaves_nothing_behind() -> None:
    turns = FairSemaphore(running=1, waiting=2, total=1)
    assert await turns.acquire("a")
    gone, stays = (asyncio.create_task(turns.acquire(name)) for name in ("b", "c"))
    await settled()
    gone.cancel()
    await asyncio.wait({gone})
    assert len(turns) == 2
    turns.release("a")
    assert await stays
    turns.release("c")
    assert len(turns) == 0


async def test_whoever_gives_up_late_does_not_take_the_line_of_those_who_came_since() -> None:
    turns = FairSemaphore(running=1, waiting=2)
    assert await turns.acquire("a")
    gone = asyncio.create_task(turns.acquire("a"))
    await settled()
    gone.cancel()
    # Before that one has run the line is empty, and begins anew.
    turns.release("a")
    assert await turns.acquire("a")
    await asyncio.wait({gone})
    assert len(turns) == 1
    turns.release("a")
    assert len(turns) == 0
