import asyncio
import time

from app.platform.observability.gauge_sampling import (
    HTTP_WAITING,
    LOOP_DELAY,
    run_gauge_sampler,
    sample_gauge,
    update_sampled_gauges,
)


class Queue:
    def __init__(self, waiting: int) -> None:
        self.waiting = waiting


def shown(label: str) -> float:
    value: float = HTTP_WAITING.labels(label, "false")._value.get()
    return value


def test_owners_of_one_gauge_are_added_up_and_forgotten_when_they_are_gone() -> None:
    queues = [Queue(3), Queue(4)]
    for queue in queues:
        sample_gauge(HTTP_WAITING, ("test", "false"), queue, lambda each: each.waiting)
    del queue
    update_sampled_gauges()
    assert shown("test") == 7
    queues.pop()
    update_sampled_gauges()
    assert shown("test") == 3
    queues.clear()
    update_sampled_gauges()
    assert shown("test") == 0


async def test_a_blocked_loop_shows() -> None:
    stop, began = asyncio.Event(), time.monotonic()
    before = LOOP_DELAY.labels("test")._sum.get()
    running = asyncio.create_task(run_gauge_sampler("test", stop))
    await asyncio.sleep(0.8)
    time.sleep(0.6)  # noqa: ASYNC251  # it blocks the loop on purpose
    await asyncio.sleep(0)
    await asyncio.sleep(0.01)
    stop.set()
    await running
    # And what the machine itself held up.
    assert 0.2 < LOOP_DELAY.labels("test")._sum.get() - before < time.monotonic() - began
