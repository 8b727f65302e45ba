"""Who is waiting for events in this process: how many streams may be open, and which ones are woken.

Owns the one connection that LISTENs, and the query that follows a wake-up. Must not read events: each stream
reads its own, when its client has taken the last ones.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final
from uuid import UUID

import asyncpg

from app.notifications.delivery.outbox_listener import DATABASE_ERRORS, listen_for_wakeups
from app.notifications.events.outbox import STREAM_CHANNEL
from app.notifications.stream.stream_queries import read_stream_head, read_updated_organisations
from app.platform.config.api_settings import ApiSettings
from app.platform.db.database import Database
from app.platform.kernel.errors import TooManyRequestsError, UnavailableError
from app.platform.observability.metrics_and_logs import STREAMS_OPEN, get_logger
from app.platform.runtime.stored_settings import InstallationSettings

PATIENCE_S: Final = 5.0
"""Longest wait for an answer of the database (seconds): then it is asked again."""

_POLL_S: Final = 5.0
_RETRY_S: Final = 1.0
_COME_BACK_S: Final = 10
_POOL: Final = 2
_CLOSE_S: Final = 2.0
_log = get_logger(__name__)


def _too_many(detail: str) -> TooManyRequestsError:
    return TooManyRequestsError(detail, code="too_many_streams", retry_after_s=_COME_BACK_S)


class StreamSlot:
    """One stream's place: woken when its organisation has something new, or when it must end.

    Args:
        organisation: whose events it has.
        tree: who opened it: an integrator or one of its clients, or an organisation that is nobody's client.
    """

    def __init__(self, organisation: UUID, tree: UUID) -> None:
        self.organisation = organisation
        self.tree = tree
        self.woken = asyncio.Event()
        self.ended = False

    def end(self) -> None:
        """Have the stream end, now."""
        self.ended = True
        self.woken.set()


class StreamHub:
    """The streams of one process.

    Args:
        settings: How many there may be.
        database: For the connection that listens.
        pool: What streams read through.
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
        self._places: dict[UUID, set[StreamSlot]] = {}
        # How far the last look saw; None: nobody has looked.
        self._seen: int | None = None
        self._news = asyncio.Event()
        self._watching: asyncio.Task[None] | None = None
        self._stopped = False

    @classmethod
    async def of(
        cls, settings: ApiSettings, database: Database, installation: InstallationSettings
    ) -> "StreamHub":
        """A hub with a pool of its own. Nothing is connected before the first stream."""
        return cls(settings, database, await database.pool(size=_POOL, eager=False), installation)

    @contextmanager
    def place(self, organisation: UUID, tree: UUID) -> Iterator[StreamSlot]:
        """A place for a stream of an organisation, for the length of a block.

        Args:
            organisation: whose events.
            tree: the caller's integrator, or its organisation.

        Raises:
            TooManyRequestsError: `too_many_streams`.
            UnavailableError: This process is stopping.
        """
        self._check(organisation, tree)
        made = StreamSlot(organisation, tree)
        self._places.setdefault(organisation, set()).add(made)
        self._watch()
        STREAMS_OPEN.inc()
        try:
            yield made
        finally:
            STREAMS_OPEN.dec()
            there = self._places[organisation]
            there.discard(made)
            if not there:
                del self._places[organisation]

    def _check(self, organisation: UUID, tree: UUID) -> None:
        if self._stopped:
            raise UnavailableError("This server is stopping: connect again.")
        most = self.settings.streams_per_organisation
        if len(self._places.get(organisation, ())) >= most:
            raise _too_many(
                f"The organisation has {most} streams open, which is the most. Close one of them."
            )
        open_, most = self._all(), most * self.settings.integrator_factor
        # One key of an integrator's opens streams of all its clients.
        if sum(place.tree == tree for place in open_) >= most:
            raise _too_many(
                f"An integrator opens at most {most} streams with its clients, and so do the platform's "
                "administrators. Close one of them."
            )
        if len(open_) >= self.settings.streams_max:
            raise _too_many("This server has as many streams open as it may. Try again later.")

    def stop(self) -> None:
        """End every stream, and let none begin."""
        self._stopped = True
        for place in self._all():
            place.end()

    async def close(self) -> None:
        """Stop, and close what is connected."""
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
        return [place for there in self._places.values() for place in there]

    def _watch(self) -> None:
        if self._watching is None or self._watching.done():
            self._watching = asyncio.create_task(self._listen(), name="streams")
            self._watching.add_done_callback(self._failed)

    def _failed(self, task: asyncio.Task[None]) -> None:
        if task.cancelled() or (error := task.exception()) is None:
            return
        _log.error("stream_hub_failed", exc_info=error)
        # Their clients come back, and the first one makes us watch again.
        for place in self._all():
            place.end()

    async def _listen(self) -> None:
        listening = asyncio.create_task(
            listen_for_wakeups(self._database, self._news.set, channel=STREAM_CHANNEL),
            name="listen to streams",
        )
        try:
            while True:
                self._news.clear()
                pause = _POLL_S if await self._look() else _RETRY_S
                with suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await self._news.wait()
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)

    async def _look(self) -> bool:
        """Wake the streams of the organisations that have something new; False while the database is away."""
        if not self._places:
            self._seen = None
            return True
        try:
            async with asyncio.timeout(PATIENCE_S), self.pool.acquire() as connection:
                if self._seen is None:
                    self._seen = (await read_stream_head(connection)).position
                    having = list(self._places)
                else:
                    news = await read_updated_organisations(connection, self._seen)
                    self._seen = max(news.values(), default=self._seen)
                    having = list(news)
        except DATABASE_ERRORS as error:
            _log.warning("stream_look_failed", error=str(error) or type(error).__name__)
            return False
        for organisation in having:
            # Its last stream may have ended meanwhile.
            for place in self._places.get(organisation, ()):
                place.woken.set()
        return True
