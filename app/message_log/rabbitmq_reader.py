"""Reads a RabbitMQ stream from an offset on, over a connection of its own."""

import asyncio
import random
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from rstream.constants import OffsetType
from rstream.exceptions import ServerError
from rstream.schema import Deliver, OffsetSpec

from app.message_log.buffered_reader import BufferedReader
from app.message_log.message_log import LogUnavailableError, StoredRecord
from app.message_log.rabbitmq_connections import StreamConnection, connect_to_stream, translate_errors
from app.message_log.settings import MessageLogSettings

TRIMMED: Final = "vigie-trimmed"
"""The name under which a stream notes the position before which records are no longer needed."""

_SUBSCRIPTION: Final = 0
_CREDIT: Final = 2
_TIMEOUT_S: Final = 2.0
# A node that hangs does not close its connections: ask it now and then.
_PROBE_S: Final = 2.0
_LAST_CHUNK_S: Final = 1.0
# How long the client needs for a chunk that has arrived.
_HANDLE_S: Final = 0.1


async def _read_chunk(connection: StreamConnection, stream: str, spec: OffsetSpec) -> Deliver | None:
    """Return one chunk of a stream; None if it seems to be empty (LogUnavailableError)."""
    chunks: asyncio.Queue[Deliver] = asyncio.Queue()
    connection.add_handler(Deliver, chunks.put, str(_SUBSCRIPTION))
    await connection.run_queue_listener_task(_SUBSCRIPTION, chunks.put)
    try:
        async with translate_errors(), asyncio.timeout(_TIMEOUT_S):
            await connection.subscribe(stream, _SUBSCRIPTION, spec, initial_credit=1)
        try:
            return await _wait_for_chunk(connection, stream, chunks)
        finally:
            async with translate_errors(), asyncio.timeout(_TIMEOUT_S):
                await connection.unsubscribe(_SUBSCRIPTION)
    finally:
        connection.remove_handler(Deliver, str(_SUBSCRIPTION))
        await connection.stop_queue_listener_task(_SUBSCRIPTION)


async def _wait_for_chunk(
    connection: StreamConnection, stream: str, chunks: asyncio.Queue[Deliver]
) -> Deliver | None:
    """Return the chunk of a new subscription; None if there is none (LogUnavailableError).

    A node sends no chunk of an empty stream, and says nothing of it. It handles the requests of a connection
    in order: the answer to a later request comes after the chunk, however slow the node is.
    """
    with suppress(TimeoutError):
        async with asyncio.timeout(_LAST_CHUNK_S):
            return await chunks.get()
    async with translate_errors(), asyncio.timeout(_TIMEOUT_S):
        try:
            await connection.query_offset(stream, TRIMMED)
            is_trimmed = True
        except ServerError:  # none was noted
            is_trimmed = False
    with suppress(TimeoutError):
        async with asyncio.timeout(_HANDLE_S):
            return await chunks.get()
    if is_trimmed:
        raise LogUnavailableError(f"the node returns no record of {stream}, which has some")
    return None


async def read_newest_position(connection: StreamConnection, stream: str) -> int:
    """Return the position of the newest record; 0 if there is none (LogUnavailableError)."""
    chunk = await _read_chunk(connection, stream, OffsetSpec(OffsetType.LAST))
    return 0 if chunk is None else chunk.chunk_first_offset + chunk.num_records


async def read_oldest_position(connection: StreamConnection, stream: str) -> int:
    """Return the position of the oldest record of a stream that has one (LogUnavailableError)."""
    chunk = await _read_chunk(connection, stream, OffsetSpec(OffsetType.FIRST))
    if chunk is None:
        raise LogUnavailableError(f"the node returns no record of {stream}, which has some")
    return chunk.chunk_first_offset + 1


class RabbitMQReader(BufferedReader):
    """Reads one stream in order (`PartitionReader`).

    Args:
        settings: The log's.
        stream: The name of the stream.
        after: The position after which it begins: 1 plus the offset.
        client: The name of the connection.
        on_close: Called with this reader once it is closed.
    """

    def __init__(
        self,
        settings: MessageLogSettings,
        stream: str,
        after: int,
        *,
        client: str,
        on_close: Callable[[BufferedReader], None],
    ) -> None:
        super().__init__(after, on_close)
        self._settings = settings
        self._stream = stream
        self._client = client
        self._connection: StreamConnection | None = None
        self._arrived = asyncio.Event()
        self._taken = asyncio.Event()
        self._probed = 0.0

    async def _wait(self, seconds: float) -> None:
        self._arrived.clear()
        if self._ready or self._removed:
            return
        lost = asyncio.Event() if self._connection is None else self._connection.lost
        waits = [asyncio.create_task(event.wait()) for event in (self._arrived, lost)]
        try:
            await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    def _find_pause_s(self) -> float:
        return _PROBE_S

    def _take(self, max_bytes: int) -> list[StoredRecord]:
        taken = super()._take(max_bytes)
        if not self._ready:
            self._taken.set()
        return taken

    async def _receive(self, _max_bytes: int) -> LogUnavailableError | None:
        """Connect if there is no connection, probe it now and then; returns the error of a failure."""
        if self._is_closed:
            return LogUnavailableError("the log was closed")
        if self._connection is not None and self._connection.lost.is_set():
            await self._disconnect()
        try:
            if self._connection is None:
                await self._connect()
            elif time.monotonic() - self._probed >= _PROBE_S:
                async with translate_errors(), asyncio.timeout(_TIMEOUT_S):
                    await self._connection.stream_exists(self._stream)
            else:
                return None
        except LogUnavailableError as error:
            await self._disconnect()
            return error
        self._probed = time.monotonic()
        return None

    async def _connect(self) -> None:
        at_leader = random.random() < 0.5  # noqa: S311, PLR2004  # spreads readers over the replicas
        connection = await connect_to_stream(
            self._settings, self._stream, client=self._client, at_leader=at_leader
        )
        try:

            async def deliver(chunk: Deliver) -> None:
                await self._take_chunk(connection, chunk)

            connection.add_handler(Deliver, deliver, str(_SUBSCRIPTION))
            await connection.run_queue_listener_task(_SUBSCRIPTION, deliver)
            spec = OffsetSpec.from_params(OffsetType.OFFSET, self._position)
            self._connection = connection
            async with translate_errors(), asyncio.timeout(_TIMEOUT_S):
                await connection.subscribe(self._stream, _SUBSCRIPTION, spec, initial_credit=_CREDIT)
        except BaseException:
            self._connection = None
            await connection.abort()
            raise

    async def _take_chunk(self, connection: StreamConnection, chunk: Deliver) -> None:
        """Buffer the new records of a chunk, and allow the node one more once they were fetched."""
        if connection is not self._connection:
            return
        if chunk.chunk_first_offset > self._position and not await self._check_jump():
            self._arrived.set()
            return
        for position, data in enumerate(chunk.get_messages(), chunk.chunk_first_offset + 1):
            # Empty messages stand for bytes of the record after them (`record_units`).
            if data and position > self._position:
                self._add(position, bytes(data))
        self._arrived.set()
        self._taken.clear()
        if self._ready:
            await self._taken.wait()
        await connection.credit(_SUBSCRIPTION, 1)

    async def _check_jump(self) -> bool:
        """Return whether offsets were only skipped: noted offsets take some too. Else records were removed.

        If the stream does not answer, the connection is ended: the next one begins at the same position.
        """
        found: StreamConnection | None = None
        try:
            found = await connect_to_stream(
                self._settings, self._stream, client=self._client, at_leader=False
            )
            return self._note_oldest(await read_oldest_position(found, self._stream))
        except LogUnavailableError:
            if self._connection is not None:
                self._connection.drop()
            return False
        finally:
            if found is not None:
                await found.abort()

    async def _stop(self) -> None:
        await self._disconnect()

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.abort()
