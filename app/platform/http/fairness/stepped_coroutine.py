"""Work that is driven step by step: each step is timed, and the next one begins when it is let.

A coroutine runs from one thing that it waits for to the next, and nobody can interrupt it there. In between
it can stand aside, so that what others wait for comes first.
"""

import time
from collections.abc import Awaitable, Callable, Generator
from functools import partial
from typing import Any


class SteppedCoroutine[Result]:
    """A coroutine of which each step is timed, with a pause before each but the first.

    It runs in the task that awaits it: what the task is told (to end, above all) it is told as well, in a
    pause too.

    Args:
        work: The coroutine.
        pause: Called whenever what it waited for has come; it goes on when that is over, or at once (None).
        spent: Told how long each step took: of the thread's time, as the machine has other work too.
    """

    def __init__(
        self,
        work: Awaitable[Result],
        *,
        pause: Callable[[], Awaitable[None] | None],
        spent: Callable[[float], None],
    ) -> None:
        self._steps = work.__await__()
        self._pause = pause
        self._spent = spent

    def __await__(self) -> Generator[Any, Any, Result]:
        """Drive it to its end.

        Returns:
            What it returns.
        """
        step: Callable[[], Any] = partial(next, self._steps)
        while True:
            began = time.thread_time()
            try:
                awaited = step()
            except StopIteration as end:
                result: Result = end.value
                return result
            finally:
                self._spent(time.thread_time() - began)
            try:
                value = yield awaited
                if (pause := self._pause()) is not None:
                    yield from pause.__await__()
            except GeneratorExit:
                self._steps.close()
                raise
            except BaseException as error:  # noqa: BLE001 (it is the work's to handle)
                step = partial(self._steps.throw, error)
            else:
                step = partial(self._steps.send, value)
