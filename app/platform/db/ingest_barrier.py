"""The gate between batches and those who change what a batch relies on.

Batches pass it together, each for the length of its transaction. Whoever takes a rule or a box away, moves a
box, or lets another process write to it, closes the gate first: then no batch is under way, and the next one
sees what was committed. The gate comes before every row lock, so that nobody waits in a circle.

Whoever waits to close it keeps later batches out. So nobody closes it as often as they like: one at a time
waits (`BARRIER_QUEUE`), and behind it stand the batches that came meanwhile, which pass before it is closed
again; and an organisation that has closed it leaves it open for as long, an integrator and its clients
together. That turn is taken before any connection and lock: whoever waits for it holds up nobody else. The
order is turn, `BARRIER_QUEUE`, `INGEST_BARRIER`, rows.
"""

import asyncio
import time
from collections.abc import Hashable
from typing import Final

from sqlalchemy import event, text
from sqlalchemy.orm import Session, SessionTransaction

from app.platform.db.advisory_locks import BARRIER_QUEUE, INGEST_BARRIER
from app.platform.db.database import RawConnection, WriteSession
from app.platform.kernel.tenant_scope import current_caller

_OPEN_FOR: Final = 1.0  # as long as batches waited for this caller
_LONGEST_REST_S: Final = 1.0
_MANY: Final = 1000
_PASS: Final = f"SELECT pg_advisory_xact_lock_shared({INGEST_BARRIER})"
# A batch that hangs must not hang all the others behind whoever waits for it, nor a process that was
# suspended with the gate closed.
_QUEUE: Final = text(
    "SELECT set_config('lock_timeout', '5s', true),"
    f" set_config('idle_in_transaction_session_timeout', '10s', true), pg_advisory_xact_lock({BARRIER_QUEUE})"
)
# With the gate closed everybody waits for what its closer waits for.
_CLOSE: Final = text(
    f"SELECT pg_advisory_xact_lock({INGEST_BARRIER}), set_config('lock_timeout', '2s', true)"
)
_TURN: Final = "vigie_turn_at_gate"


async def pass_ingest_barrier(connection: RawConnection) -> None:
    """Let a batch through: until its transaction ends nobody closes the gate."""
    await connection.execute(_PASS)


async def close_ingest_barrier_unqueued(connection: RawConnection) -> None:
    """The same as `close_ingest_barrier` for a process that works alone and seldom: it takes no turn.

    Args:
        connection: in a transaction that has locked nothing.
    """
    await connection.execute(_QUEUE.text)
    await connection.execute(_CLOSE.text)


async def close_ingest_barrier(session: WriteSession) -> None:
    """Wait for the batches under way, and let none begin until the caller's transaction ends.

    Call it before anything else in the transaction, which may have to wait; once more does nothing.
    """
    if _TURN in session.info:
        return
    caller = current_caller()
    turn = await _take_turn(caller.tree or caller.reach.organisations)
    inside = session.sync_session
    inside.info[_TURN] = turn
    event.listen(inside, "after_transaction_end", _ended)
    try:
        await session.execute(_QUEUE)
        turn.queued()
        await session.execute(_CLOSE)
    except BaseException:
        _give_back(inside)
        raise


def _ended(session: Session, transaction: SessionTransaction) -> None:
    if transaction.parent is None:
        _give_back(session)


def _give_back(session: Session) -> None:
    turn: _Turn | None = session.info.pop(_TURN, None)
    if turn is not None:
        turn.end()


class _Turn:
    """The turn of the callers of an organisation, or of an integrator and its clients, in this process.

    They wait for each other, and nobody else.
    """

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._wanted = 0
        self._since: float | None = None
        self._rests_until = 0.0

    async def take(self) -> None:
        """Wait until nobody else has it, and until the gate has been open for long enough."""
        self._wanted += 1
        try:
            await self._lock.acquire()
        except BaseException:
            self._leave()
            raise
        try:
            await asyncio.sleep(self._rests_until - time.monotonic())
        except BaseException:
            self.end()
            raise

    def queued(self) -> None:
        """From here on later batches wait."""
        self._since = time.monotonic()

    def end(self) -> None:
        """The gate is open again."""
        if self._since is not None:
            now = time.monotonic()
            rest = min(_OPEN_FOR * (now - self._since), _LONGEST_REST_S)
            self._since, self._rests_until = None, now + rest
        self._lock.release()
        self._leave()

    def is_over(self) -> bool:
        """Tell whether a new one would be no other."""
        return not self._wanted and self._rests_until <= time.monotonic()

    def _leave(self) -> None:
        self._wanted -= 1
        if not self._wanted:
            # One that somebody waited for is bound to its event loop.
            self._lock = asyncio.Lock()


_turns: Final[dict[Hashable, _Turn]] = {}


async def _take_turn(whose: Hashable) -> _Turn:
    if len(_turns) > _MANY:
        for each in [each for each, turn in _turns.items() if turn.is_over()]:
            del _turns[each]
    turn = _turns.setdefault(whose, _Turn())
    await turn.take()
    return turn
