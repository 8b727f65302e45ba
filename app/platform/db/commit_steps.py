"""Lets a request add a step to the end of its transactions, which commits with them."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from app.platform.db.database import WriteSession

type CommitStep = Callable[[WriteSession], Awaitable[None]]

LAST_STEP: Final[ContextVar[CommitStep | None]] = ContextVar("vigie_last_step", default=None)
"""The step of the running task, which `Database.write` runs before it commits."""


@contextmanager
def add_commit_step(step: CommitStep) -> Iterator[None]:
    """Run a step at the end of each transaction of `Database.write` within a block, and commit with it."""
    token = LAST_STEP.set(step)
    try:
        yield
    finally:
        LAST_STEP.reset(token)


@contextmanager
def suspend_commit_step() -> Iterator[None]:
    """Suspend the step of `add_commit_step` within a block.

    For counters and records that are written beside a request's work, whether or not that commits.
    """
    token = LAST_STEP.set(None)
    try:
        yield
    finally:
        LAST_STEP.reset(token)
