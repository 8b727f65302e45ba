"""Shows progress: a bar on a terminal, otherwise a line every few seconds."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

_EVERY_S = 5.0
AdvanceCallback = Callable[[int], None]


@contextmanager
def show_progress(what: str, total: int | None) -> Iterator[AdvanceCallback]:
    """Show progress while the body runs.

    Args:
        what: The label, which names what is counted.
        total: The expected total; None if unknown.

    Yields:
        A function that adds to the count.
    """
    console = Console(stderr=True)
    if not console.is_terminal:
        with _lines(what, total) as advance:
            yield advance
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]:.0f}/s"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(what, total=total, rate=0.0)
        started = time.monotonic()

        def advance(count: int) -> None:
            done = bar.tasks[0].completed + count
            bar.update(task, advance=count, rate=done / max(time.monotonic() - started, 1e-9))

        yield advance


@contextmanager
def _lines(what: str, total: int | None) -> Iterator[AdvanceCallback]:
    done, said = 0, time.monotonic()

    def advance(count: int) -> None:
        nonlocal done, said
        done += count
        if time.monotonic() - said >= _EVERY_S:
            said = time.monotonic()
            print(f"{what}: {done}" + (f" of {total}" if total else ""), flush=True)

    yield advance
