"""Limits the open event streams of this process, and wakes them when their organisation has new events.

One connection listens for all streams, and one query per wake-up finds the organisations with new events.
Each stream reads its own events, after its client has taken the last ones.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from uuid import UUID

import asyncpg

from app.notifications.events.outbox import STREAM_CHANNEL
from app.notifications.prometheus_metrics import STREAMS_OPEN
from app.notifications.stream.stream_queries import read_stream_head, read_updated_organisations
from app.platform.config.api_settings import ApiSettings
from app.platform.db.database import Database
from app.platform.db.notification_listener import LISTEN_ERRORS, listen_for_wakeups, wait_for_event
from app.platform.kernel.errors import TooManyRequestsError, UnavailableError
from app.platform.observability.metrics_and_logs import get_logger
from app.platform.runtime.stored_settings import InstallationSettings

DATABASE_TIMEOUT_S: Final = 5.0
"""The timeout of a query, in seconds; it is retried then."""

_POLL_S: Final = 5.0
_RETRY_S: Final = 1.0
_RETRY_AFTER_S: Final = 10
_POOL: Final = 2
_CLOSE_S: Final = 2.0
_log = get_logger(__name__)


def _too_many(detail: str) -> TooManyRequestsError:
    return TooManyRequestsError(detail, code="too_many_streams", retry_after_s=_RETRY_AFTER_S)


class StreamSlot:
    """The slot of one stream, woken when its organisation has new events, or when the stream must end.

    Args:
        organisation: The organisation of the events.
        tree: The caller's integrator, or its organisation if it has none.
    """

    def __init__(self, organisation: UUID, tree: UUID) -> None:
        self.organisation = organisation
        self.tree = tree
        self.woken = asyncio.Event()
        self.ended = False

    def end(self) -> None:
        """End the stream now."""
        self.ended = True
        self.woken.set()


class StreamHub:
    """The streams of one process.

    Args:
        settings: The limits of streams.
        database: Opens the connection that listens.
        pool: The connections with which streams read.
        installation: Has the base URL of links.
    """

    def __init__(
        self,
        settings: ApiSettings,
        database: Database,
        pool: asyncpg.Pool,
        installation: InstallationSettings,
    ) -> None:
        self.settings = settings
        self.installation = installation
        self.pool = pool
        self._database = database
        self._slots: dict[UUID, set[StreamSlot]] = {}
        # The newest position of the last check; None: no check yet.
        self._seen: int | None = None
        self._wakeup = asyncio.Event()
        self._watching: asyncio.Task[None] | None = None
        self._stopped = False

    @classmethod
    async def of(
        cls, settings: ApiSettings, database: Database, installation: InstallationSettings
    ) -> "StreamHub":
        """Create a hub with its own pool, which connects at the first stream."""
        return cls(
            settings, database, await database.pool(size=_POOL, name="streams", eager=False), installation
        )

    @contextmanager
    def open_slot(self, organisation: UUID, tree: UUID) -> Iterator[StreamSlot]:
        """Open a slot for a stream, for the duration of a block.

        Args:
            organisation: The organisation of the events.
            tree: The caller's integrator, or its organisation if it has none.

        Raises:
            TooManyRequestsError: `too_many_streams`.
            UnavailableError: This process is stopping.
        """
        self._check_limits(organisation, tree)
        slot = StreamSlot(organisation, tree)
        self._slots.setdefault(organisation, set()).add(slot)
        self._watch()
        STREAMS_OPEN.inc()
        try:
            yield slot
        finally:
            STREAMS_OPEN.dec()
            slots = self._slots[organisation]
            slots.discard(slot)
            if not slots:
                del self._slots[organisation]

    def _check_limits(self, organisation: UUID, tree: UUID) -> None:
        if self._stopped:
            raise UnavailableError("This server is stopping. Connect again.")
        most = self.settings.streams_per_organisation
        if len(self._slots.get(organisation, ())) >= most:
            raise _too_many(
                f"The organisation has {most} open streams, which is the limit. Close one of them."
            )
        open_, most = self._all(), most * self.settings.integrator_factor
        # An integrator's key can open streams of all its clients.
        if sum(slot.tree == tree for slot in open_) >= most:
            raise _too_many(
                f"An integrator and its clients may open at most {most} streams, and so may the platform's "
                "administrators. Close one of them."
            )
        if len(open_) >= self.settings.streams_max:
            raise _too_many("This server has reached its limit of open streams. Retry later.")

    def stop(self) -> None:
        """End all streams, and refuse new ones."""
        self._stopped = True
        for slot in self._all():
            slot.end()

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

    def _all(self) -> list[StreamSlot]:
        return [slot for slots in self._slots.values() for slot in slots]

    def _watch(self) -> None:
        if self._watching is None or self._watching.done():
            self._watching = asyncio.create_task(self._listen(), name="streams")
            self._watching.add_done_callback(self._failed)

    def _failed(self, task: asyncio.Task[None]) -> None:
        if task.cancelled() or (error := task.exception()) is None:
            return
        _log.error("stream_hub_failed", exc_info=error)
        # Clients reconnect, and the first one starts the watch again.
        for slot in self._all():
            slot.end()

    async def _listen(self) -> None:
        listening = asyncio.create_task(
            listen_for_wakeups(self._database, self._wakeup.set, channel=STREAM_CHANNEL),
            name="listen to streams",
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
        """Wake the streams of organisations with new events; False if the database is unavailable."""
        if not self._slots:
            self._seen = None
            return True
        try:
            async with asyncio.timeout(DATABASE_TIMEOUT_S), self.pool.acquire() as connection:
                if self._seen is None:
                    self._seen = (await read_stream_head(connection)).position
                    updated = list(self._slots)
                else:
                    news = await read_updated_organisations(connection, self._seen)
                    self._seen = max(news.values(), default=self._seen)
                    updated = list(news)
        except LISTEN_ERRORS as error:
            _log.warning("stream_look_failed", error=str(error) or type(error).__name__)
            return False
        for organisation in updated:
            # Its last stream may have ended during the query.
            for slot in self._slots.get(organisation, ()):
                slot.woken.set()
        return True
