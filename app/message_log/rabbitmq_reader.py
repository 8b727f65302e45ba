"""Reads a RabbitMQ stream from an offset on, over a connection of its own."""

import asyncio
import random
import time
from collections import deque
from typing import Final

from rstream.constants import OffsetType
from rstream.schema import Deliver, OffsetSpec

from app.message_log.message_log import LogUnavailableError, StoredRecord
from app.message_log.rabbitmq_connections import StreamConnection, connect_to_stream, translate_errors
from app.message_log.settings import MessageLogSettings

_SUBSCRIPTION: Final = 0
_CREDIT: Final = 2
_TIMEOUT_S: Final = 2.0
_RETRY_S: Final = 0.1
# A node that hangs does not close its connections: ask it now and then.
_PROBE_S: Final = 2.0
_LAST_CHUNK_S: Final = 1.0


def _list_records(chunk: Deliver, after: int) -> list[StoredRecord]:
    """Return the records of a chunk after a position."""
    return [
        StoredRecord(position, bytes(data))
        for position, data in enumerate(chunk.get_messages(), chunk.chunk_first_offset + 1)
        if position > after
    ]


async def _read_chunk(connection: StreamConnection, stream: str, spec: OffsetSpec) -> Deliver | None:
    """Return one chunk of a stream; None if it is empty (LogUnavailableError)."""
    chunks: asyncio.Queue[Deliver] = asyncio.Queue()
    connection.add_handler(Deliver, chunks.put, str(_SUBSCRIPTION))
    await connection.run_queue_listener_task(_SUBSCRIPTION, chunks.put)
    try:
        async with translate_errors(), asyncio.timeout(_TIMEOUT_S):
            await connection.subscribe(stream, _SUBSCRIPTION, spec, initial_credit=1)
        try:
            async with asyncio.timeout(_LAST_CHUNK_S):
                return await chunks.get()
        except TimeoutError:
            return None
        finally:
            async with translate_errors(), asyncio.timeout(_TIMEOUT_S):
                await connection.unsubscribe(_SUBSCRIPTION)
    finally:
        connection.remove_handler(Deliver, str(_SUBSCRIPTION))
        await connection.stop_queue_listener_task(_SUBSCRIPTION)


async def read_newest_position(connection: StreamConnection, stream: str) -> int:
    """Return the position of the newest record; 0 if there is none (LogUnavailableError)."""
    chunk = await _read_chunk(connection, stream, OffsetSpec(OffsetType.LAST))
    return 0 if chunk is None else chunk.chunk_first_offset + chunk.num_records


async def read_oldest_position(connection: StreamConnection, stream: str) -> int:
    """Return the position of the oldest record; 0 if there is none (LogUnavailableError)."""
    chunk = await _read_chunk(connection, stream, OffsetSpec(OffsetType.FIRST))
    return 0 if chunk is None else chunk.chunk_first_offset + 1


class RabbitMQReader:
    """Reads one stream in order (`PartitionReader`).

    Args:
        settings: The log's.
        stream: The name of the stream.
        after: The position after which it begins: 1 plus the offset.
        client: The name of the connection.
    """

    def __init__(self, settings: MessageLogSettings, stream: str, after: int, *, client: str) -> None:
        self._settings = settings
        self._stream = stream
        self._position = after
        self._client = client
        self._connection: StreamConnection | None = None
        self._ready: deque[StoredRecord] = deque()
        self._arrived = asyncio.Event()
        self._taken = asyncio.Event()
        self._probed = 0.0
        self._is_closed = False

    async def fetch(self, *, max_bytes: int, max_wait_s: float) -> list[StoredRecord]:
        """Return the next records in order, as soon as there is one; an empty list after `max_wait_s`.

        Cancelling the wait loses nothing.

        Args:
            max_bytes: About how many bytes to return; at least one record.
            max_wait_s: The longest wait, in seconds.

        Raises:
            LogUnavailableError: The log does not answer. Call again.
        """
        deadline = time.monotonic() + max_wait_s
        while True:
            if self._ready:
                return self._take(max_bytes)
            failure = await self._try_to_connect()
            left = deadline - time.monotonic()
            if failure is not None and (left <= 0 or self._is_closed):
                raise failure
            if left <= 0:
                return []
            await self._wait(min(left, _RETRY_S if failure else _PROBE_S))

    async def close(self) -> None:
        """Stop reading."""
        self._is_closed = True
        await self._disconnect()

    async def _wait(self, seconds: float) -> None:
        self._arrived.clear()
        if self._ready:
            return
        lost = asyncio.Event() if self._connection is None else self._connection.lost
        waits = [asyncio.create_task(event.wait()) for event in (self._arrived, lost)]
        try:
            await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    def _take(self, max_bytes: int) -> list[StoredRecord]:
        taken = [self._ready.popleft()]
        size = len(taken[0].data)
        while self._ready and size + len(self._ready[0].data) <= max_bytes:
            taken.append(self._ready.popleft())
            size += len(taken[-1].data)
        if not self._ready:
            self._taken.set()
        return taken

    async def _try_to_connect(self) -> LogUnavailableError | None:
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
                await self._receive(connection, chunk)

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

    async def _receive(self, connection: StreamConnection, chunk: Deliver) -> None:
        """Take the new records of a chunk, and allow the node one more once they were fetched."""
        if connection is not self._connection:
            return
        self._ready.extend(_list_records(chunk, self._position))
        # The first record that the settings' retention left may be later than the one asked for.
        self._position = max(self._position, chunk.chunk_first_offset + chunk.num_records)
        self._arrived.set()
        self._taken.clear()
        if self._ready:
            await self._taken.wait()
        await connection.credit(_SUBSCRIPTION, 1)

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.abort()
