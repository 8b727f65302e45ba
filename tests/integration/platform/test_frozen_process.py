"""A process that is suspended in the middle of a transaction, or whose machine is gone without a goodbye."""

import asyncio

from sqlalchemy import text

from app.platform.db.database import Database
from app.platform.db.ingest_barrier import close_ingest_barrier, pass_ingest_barrier
from app.settings import VigieSettings


async def test_a_frozen_process_keeps_its_locks_for_a_while_only(settings: VigieSettings) -> None:
    impatient = settings.database.model_copy(update={"command_timeout_s": 1.0})
    database = Database(impatient, application="frozen")
    batches = await database.connect()
    async with database.engine.connect() as frozen:
        # As everything does that goes through a session: here it is never heard of again.
        await frozen.execute(text("SELECT version FROM registry FOR UPDATE"))
        async with asyncio.timeout(30), batches.transaction():
            await batches.execute("SELECT version FROM registry FOR UPDATE", timeout=30)
        await frozen.invalidate()
    async with database.write() as session:
        await close_ingest_barrier(session)
        bound = await session.scalar(text("SHOW idle_in_transaction_session_timeout"))
    assert bound == "10s"
    async with batches.transaction():
        await pass_ingest_barrier(batches)
    await batches.close()
    await database.close()
