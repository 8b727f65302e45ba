"""Wakes the streams of one kind in this process when their organisation has news.

One connection listens for all streams, and one query per wake-up finds the organisations with news.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Final
from uuid import UUID

import asyncpg

from app.platform.config.api_settings import ApiSettings
from app.platform.db.database import Database, RawConnection
from app.platform.db.notification_listener import LISTEN_ERRORS, listen_for_wakeups, wait_for_event
from app.platform.http.streaming.stream_slots import StreamSlot, StreamSlots
from app.platform.observability.metric_types import Gauge
from app.platform.observability.metrics_and_logs import get_logger

DATABASE_TIMEOUT_S: Final = 5.0
"""The timeout of a query, in seconds; it is retried then."""

POOL: Final = 2
"""Connections with which the streams of one kind read."""

_POLL_S: Final = 5.0
_RETRY_S: Final = 1.0
_CLOSE_S: Final = 2.0
_log = get_logger(__name__)


class WakeupHub(ABC):
    """The streams of one kind of one process.

    Args:
        topic: The kind of stream.
        channel: The LISTEN/NOTIFY channel that tells of news.
        open_streams: The gauge of open streams.
        slots: The limits of streams.
        database: Opens the connection that listens.
        pool: The connections with which streams read.
    """

    def __init__(  # noqa: PLR0917 (those of the class)
        self,
        topic: str,
        channel: str,
        open_streams: Gauge,
        slots: StreamSlots,
        database: Database,
        pool: asyncpg.Pool,
    ) -> None:
        self.pool = pool
        self.slots = slots
        self._topic = topic
        self._channel = channel
        self._open_streams = open_streams
        self._database = database
        # The newest position of the last check; None: no check yet.
        self._seen: int | None = None
        self._wakeup = asyncio.Event()
        self._watching: asyncio.Task[None] | None = None

    @abstractmethod
    async def read_newest_position(self, connection: RawConnection) -> int:
        """Read the newest visible position of any organisation."""

    @abstractmethod
    async def read_updated_organisations(self, connection: RawConnection, after: int) -> Mapping[UUID, int]:
        """Find the organisations with news after a position, and their newest positions."""

    @property
    def settings(self) -> ApiSettings:
        """The limits of streams."""
        return self.slots.settings

    @settings.setter
    def settings(self, settings: ApiSettings) -> None:
        self.slots.settings = settings

    @contextmanager
    def open_slot(self, organisation: UUID, tree: UUID, grant_id: UUID | None = None) -> Iterator[StreamSlot]:
        """Open a slot for a stream, for the duration of a block.

        Args:
            organisation: The organisation whose data are streamed.
            tree: The caller's integrator, or its organisation if it has none.
            grant_id: The grant by which the caller reads; None: it is no third party.

        Raises:
            TooManyRequestsError: `too_many_streams`.
            UnavailableError: This process is stopping.
        """
        with self.slots.open(self._topic, organisation, tree, grant_id) as slot:
            self._watch()
            self._open_streams.inc()
            try:
                yield slot
            finally:
                self._open_streams.dec()

    def stop(self) -> None:
        """End all streams of this process, and refuse new ones."""
        self.slots.stop()

    async def close(self) -> None:
        """Stop, and close the connections."""
        self.stop()
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        try:
            async with asyncio.timeout(_CLOSE_S):
                await self.pool.close()
        except TimeoutError:
            self.pool.terminate()

    def list_slots(self) -> list[StreamSlot]:
        """List the open slots of this kind."""
        return self.slots.list_all(self._topic)

    def _watch(self) -> None:
        if self._watching is None or self._watching.done():
            self._watching = asyncio.create_task(self._listen(), name=self._topic)
            self._watching.add_done_callback(self._failed)

    def _failed(self, task: asyncio.Task[None]) -> None:
        if task.cancelled() or (error := task.exception()) is None:
            return
        _log.error("stream_hub_failed", topic=self._topic, exc_info=error)
        # Clients reconnect, and the first one starts the watch again.
        for slot in self.list_slots():
            slot.end()

    async def _listen(self) -> None:
        listening = asyncio.create_task(
            listen_for_wakeups(self._database, self._wakeup.set, channel=self._channel),
            name=f"listen to {self._topic}",
        )
        try:
            while True:
                self._wakeup.clear()
                pause = _POLL_S if await self._check_for_events() else _RETRY_S
                await wait_for_event(self._wakeup, pause)
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)

    async def _check_for_events(self) -> bool:
        """Wake the streams of organisations with news; False if the database is unavailable."""
        slots = self.list_slots()
        if not slots:
            self._seen = None
            return True
        updated: Collection[UUID]
        try:
            async with asyncio.timeout(DATABASE_TIMEOUT_S), self.pool.acquire() as connection:
                if self._seen is None:
                    self._seen = await self.read_newest_position(connection)
                    updated = {slot.organisation for slot in slots}
                else:
                    news = await self.read_updated_organisations(connection, self._seen)
                    self._seen = max(news.values(), default=self._seen)
                    updated = news.keys()
        except LISTEN_ERRORS as error:
            _log.warning("stream_look_failed", error=str(error) or type(error).__name__)
            return False
        for organisation in updated:
            # Its last stream may have ended during the query.
            for slot in self.slots.list_of(self._topic, organisation):
                slot.woken.set()
        return True
