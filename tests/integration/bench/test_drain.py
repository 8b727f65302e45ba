"""The benchmark itself, on a small backlog: what it measures is there, and all of it."""

import time

from bench.drain import DrainCourse, run
from bench.load import MessageLoad
from bench.stack import stack


async def test_a_small_backlog_is_drained_by_each_and_counted() -> None:
    load = MessageLoad(messages=20_003, boxes=50, start_ms=int(time.time()) * 1000 - 86_400_000)
    async with stack() as running:
        found = {letter: await run(running, DrainCourse(letter, load)) for letter in "abde"}
        slow = MessageLoad(messages=20, boxes=50, start_ms=load.start_ms)
        found["c"] = await run(running, DrainCourse("c", slow))
        folder = running.folder
    assert {drain.failure for drain in found.values()} == {None}
    assert [found[letter].stored for letter in "abcde"] == [None, None, 20, 20_003, 20_003]
    assert {(drain.lost, drain.twice) for drain in found.values()} == {(0, 0)}
    # CPU time comes in hundredths of a second: so small a backlog may take none.
    assert all(drain.rate > 0 and drain.cpu["consumer"] >= 0 for drain in found.values())
    assert "store" in found["e"].steps
    assert not folder.exists()
