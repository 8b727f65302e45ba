"""Wakes the event streams of this process when their organisation has new events.

Each stream reads its own events, after its client has taken the last ones.
"""

from collections.abc import Mapping
from uuid import UUID

import asyncpg

from app.notifications.events.outbox import STREAM_CHANNEL
from app.notifications.prometheus_metrics import STREAMS_OPEN
from app.notifications.stream.stream_queries import read_stream_head, read_updated_organisations
from app.platform.db.database import Database, RawConnection
from app.platform.http.streaming.stream_slots import StreamSlots
from app.platform.http.streaming.wakeup_hub import POOL, WakeupHub
from app.platform.runtime.stored_settings import InstallationSettings


class StreamHub(WakeupHub):
    """The event streams of one process.

    Args:
        slots: The limits of streams.
        database: Opens the connection that listens.
        pool: The connections with which streams read.
        installation: Has the base URL of links.
    """

    def __init__(
        self,
        slots: StreamSlots,
        database: Database,
        pool: asyncpg.Pool,
        installation: InstallationSettings,
    ) -> None:
        super().__init__("events", STREAM_CHANNEL, STREAMS_OPEN, slots, database, pool)
        self.installation = installation

    @classmethod
    async def of(
        cls, slots: StreamSlots, database: Database, installation: InstallationSettings
    ) -> "StreamHub":
        """Create a hub with its own pool, which connects at the first stream."""
        return cls(slots, database, await database.pool(size=POOL, name="streams", eager=False), installation)

    async def read_newest_position(self, connection: RawConnection) -> int:
        """Read the newest visible position of any organisation's event."""
        return (await read_stream_head(connection)).position

    async def read_updated_organisations(self, connection: RawConnection, after: int) -> Mapping[UUID, int]:
        """Find the organisations with events after a position."""
        return await read_updated_organisations(connection, after)
