"""Prevents ingest batches from running while rules, boxes or other data they rely on are changed.

Batches share the barrier, each for its transaction. A change that removes a rule or a box, moves a box, or
lets another process write to it, closes the barrier first: then no batch is running, and the next one sees
the committed change. The barrier comes before every row lock, so that there are no deadlocks.

While a transaction waits to close it, later batches wait. Two rules bound that delay. Only one transaction
waits at a time (`BARRIER_QUEUE`); the batches behind it pass before the barrier closes again. And an
organisation, or an integrator with its clients, leaves it open for as long as batches waited for its last
change. This per-tenant slot is acquired before any connection and lock, so that its queue delays no other
tenant. The order is: slot, `BARRIER_QUEUE`, `INGEST_BARRIER`, rows.
"""

import asyncio
import time
from collections.abc import Hashable
from typing import Final

from sqlalchemy import event, text
from sqlalchemy.orm import Session, SessionTransaction

from app.platform.db.advisory_lock_keys import BARRIER_QUEUE, INGEST_BARRIER
from app.platform.db.database import RawConnection, WriteSession
from app.platform.kernel.tenant_scope import current_caller

_OPEN_FACTOR: Final = 1.0  # multiple of the time that batches waited for this tenant
_LONGEST_OPEN_S: Final = 1.0
_CLEANUP_SIZE: Final = 1000
_PASS: Final = f"SELECT pg_advisory_xact_lock_shared({INGEST_BARRIER})"
# A batch that hangs must not block all others behind the waiting transaction; nor must a process that was
# suspended while it held the barrier.
_QUEUE: Final = text(
    "SELECT set_config('lock_timeout', '5s', true),"
    f" set_config('idle_in_transaction_session_timeout', '10s', true), pg_advisory_xact_lock({BARRIER_QUEUE})"
)
# While the barrier is closed, all batches wait for whatever its holder waits for.
_CLOSE: Final = text(
    f"SELECT pg_advisory_xact_lock({INGEST_BARRIER}), set_config('lock_timeout', '2s', true)"
)
_SLOT: Final = "vigie_barrier_slot"


async def pass_ingest_barrier(connection: RawConnection) -> None:
    """Let a batch pass: the barrier stays open until its transaction ends."""
    await connection.execute(_PASS)


async def close_ingest_barrier_unqueued(connection: RawConnection) -> None:
    """Close the barrier without a tenant's slot, for a process that works alone and rarely.

    Args:
        connection: in a transaction that has locked nothing.
    """
    await connection.execute(_QUEUE.text)
    await connection.execute(_CLOSE.text)


async def close_ingest_barrier(session: WriteSession) -> None:
    """Wait for running batches, and hold later ones until the caller's transaction ends.

    Call it before anything else in the transaction, as it may wait. A second call does nothing.
    """
    if _SLOT in session.info:
        return
    caller = current_caller()
    slot = await _acquire_slot(caller.tree or caller.tenant_scope.organisations)
    sync_session = session.sync_session
    sync_session.info[_SLOT] = slot
    event.listen(sync_session, "after_transaction_end", _on_transaction_end)
    try:
        await session.execute(_QUEUE)
        slot.queued()
        await session.execute(_CLOSE)
    except BaseException:
        _release_slot(sync_session)
        raise


def _on_transaction_end(session: Session, transaction: SessionTransaction) -> None:
    if transaction.parent is None:
        _release_slot(session)


def _release_slot(session: Session) -> None:
    slot: _TenantSlot | None = session.info.pop(_SLOT, None)
    if slot is not None:
        slot.release()


class _TenantSlot:
    """The slot of an organisation, or of an integrator and its clients, in this process.

    Their transactions wait for each other, and for no other tenant.
    """

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._requests = 0
        self._since: float | None = None
        self._open_until = 0.0

    async def acquire(self) -> None:
        """Wait until the slot is free, and until the barrier has been open for long enough."""
        self._requests += 1
        try:
            await self._lock.acquire()
        except BaseException:
            self._leave()
            raise
        try:
            await asyncio.sleep(self._open_until - time.monotonic())
        except BaseException:
            self.release()
            raise

    def queued(self) -> None:
        """Record the time from which later batches wait."""
        self._since = time.monotonic()

    def release(self) -> None:
        """Release the slot after the barrier has opened again."""
        if self._since is not None:
            now = time.monotonic()
            open_s = min(_OPEN_FACTOR * (now - self._since), _LONGEST_OPEN_S)
            self._since, self._open_until = None, now + open_s
        self._lock.release()
        self._leave()

    def is_idle(self) -> bool:
        """Return whether the slot has no state left and can be removed."""
        return not self._requests and self._open_until <= time.monotonic()

    def _leave(self) -> None:
        self._requests -= 1
        if not self._requests:
            # A lock with waiters is bound to their event loop.
            self._lock = asyncio.Lock()


_slots: Final[dict[Hashable, _TenantSlot]] = {}


async def _acquire_slot(tenant: Hashable) -> _TenantSlot:
    if len(_slots) > _CLEANUP_SIZE:
        for each in [each for each, slot in _slots.items() if slot.is_idle()]:
            del _slots[each]
    slot = _slots.setdefault(tenant, _TenantSlot())
    await slot.acquire()
    return slot
