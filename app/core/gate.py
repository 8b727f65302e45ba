"""The gate between batches and those who change what a batch relies on.

Batches pass it together, each for the length of its transaction. Whoever takes a rule or a box away, moves a
box, or lets another process write to it, closes the gate first: then no batch is under way, and the next one
sees what was committed. The gate comes before every row lock, so that nobody waits in a circle.
"""

from typing import Final

from sqlalchemy import text

from app.core.database import RawConnection, WriteSession
from app.core.locks import GATE

_PASS: Final = f"SELECT pg_advisory_xact_lock_shared({GATE})"
_CLOSE: Final = text(f"SELECT pg_advisory_xact_lock({GATE})")
# Whoever waits to close it keeps later batches out: a batch that hangs must not hang them all.
_PATIENCE: Final = text("SET LOCAL lock_timeout = '5s'")
# A process that was suspended with the gate closed must not stop ingest for longer than this.
_PRESENCE: Final = text("SET LOCAL idle_in_transaction_session_timeout = '10s'")


async def pass_gate(connection: RawConnection) -> None:
    """Let a batch through: until its transaction ends nobody closes the gate."""
    await connection.execute(_PASS)


async def close_gate(session: WriteSession) -> None:
    """Wait for the batches under way, and let none begin until the caller's transaction ends."""
    await session.execute(_PATIENCE)
    await session.execute(_PRESENCE)
    await session.execute(_CLOSE)
