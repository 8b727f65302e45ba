"""Work that stands aside between its steps, so that what others wait for comes first.

A coroutine runs from one thing that it waits for to the next, and nobody can interrupt it there. In between
it can be held up: its next step begins when it is let.
"""

from collections.abc import Awaitable, Callable, Generator
from functools import partial
from typing import Any


class Paced[Result]:
    """A coroutine with a pause before each of its steps but the first.

    It runs in the task that awaits it: what the task is told (to end, above all) it is told as well, in a
    pause too.

    Args:
        work: The coroutine.
        pause: Called whenever what it waited for has come; it goes on when that is over.
    """

    def __init__(self, work: Awaitable[Result], pause: Callable[[], Awaitable[None]]) -> None:
        self._steps = work.__await__()
        self._pause = pause

    def __await__(self) -> Generator[Any, Any, Result]:
        """Drive it to its end.

        Returns:
            What it returns.
        """
        step: Callable[[], Any] = partial(next, self._steps)
        while True:
            try:
                awaited = step()
            except StopIteration as end:
                result: Result = end.value
                return result
            try:
                value = yield awaited
                yield from self._pause().__await__()
            except GeneratorExit:
                self._steps.close()
                raise
            except BaseException as error:  # noqa: BLE001 (it is the work's to handle)
                step = partial(self._steps.throw, error)
            else:
                step = partial(self._steps.send, value)
