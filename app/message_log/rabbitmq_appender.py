"""Appends records to a RabbitMQ stream over a connection to its leader, which detects repeats."""

import asyncio
import time
import uuid
from typing import Any, Final

from rstream.exceptions import ServerError
from rstream.schema import PublishConfirm, PublishError, PublishSubBatching

from app.message_log.message_log import LogFullError, LogUnavailableError
from app.message_log.rabbitmq_connections import StreamConnection, connect_to_stream, translate_errors
from app.message_log.rabbitmq_reader import TRIMMED, read_newest_position, read_oldest_position
from app.message_log.record_units import UNIT_BYTES, count_units, measure_bytes
from app.message_log.settings import MessageLogSettings

_PUBLISHER: Final = 0
_TIMEOUT_S: Final = 2.0
_RETRY_S: Final = 0.1
_MEASURE_S: Final = 10.0
_FULL_S: Final = 1.0
_LENGTH_BYTES: Final = 4
_UNCOMPRESSED_BATCH: Final = 0x80


class RabbitMQAppender:
    """Appends to one stream, one record at a time.

    A record has a number. A leader stores a number that it has seen no second time, and confirms it once a
    majority has the first copy.

    A stream cannot refuse records: it would remove the oldest. The appender refuses by itself, by the upper
    bound of the bytes that are still needed (`record_units`).

    Args:
        settings: The log's.
        stream: The name of the stream.
        client: The name of the connection.
    """

    def __init__(self, settings: MessageLogSettings, stream: str, *, client: str) -> None:
        self._settings = settings
        self._stream = stream
        self._client = client
        self._reference = f"{client}-{uuid.uuid4().hex}"[-200:]
        self._lock = asyncio.Lock()
        self._connection: StreamConnection | None = None
        self._next = 0
        self._unfinished: tuple[str, int] | None = None
        self._awaited = 0
        self._confirmed: asyncio.Future[None] | None = None
        self._measured = -_MEASURE_S
        self._needed_bytes = 0

    async def append(self, data: bytes, record_id: str) -> None:
        """Append a record, and return once a majority of the replicas has it.

        Raises:
            LogUnavailableError: It is not known whether the record was appended.
            LogFullError: It was not appended.
        """
        async with self._lock:
            deadline = time.monotonic() + self._settings.timeout_s
            while True:
                try:
                    async with (
                        translate_errors(),
                        asyncio.timeout(max(_RETRY_S, deadline - time.monotonic())),
                    ):
                        await self._append_once(data, record_id)
                except LogFullError:
                    raise
                except LogUnavailableError:
                    await self.disconnect()
                    if time.monotonic() + _RETRY_S >= deadline:
                        raise
                    await asyncio.sleep(_RETRY_S)
                except BaseException:
                    await self.disconnect()
                    raise
                else:
                    return

    async def disconnect(self) -> None:
        """End the connection. The next append makes another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.abort()

    async def _append_once(self, data: bytes, record_id: str) -> None:
        if self._connection is not None and self._connection.lost.is_set():
            await self.disconnect()
        connection = self._connection or await self._connect()
        if self._unfinished is None or self._unfinished[0] != record_id:
            await self._require_room(connection)
            self._next += 1
            self._unfinished = (record_id, self._next)
        self._awaited = self._unfinished[1]
        self._confirmed = asyncio.get_running_loop().create_future()
        await connection.send_frame(_build_publish_frame(self._awaited, data))
        lost: asyncio.Future[Any] = asyncio.ensure_future(connection.lost.wait())
        try:
            await asyncio.wait([lost, self._confirmed], return_when=asyncio.FIRST_COMPLETED)
            if not self._confirmed.done():
                raise ConnectionError("the connection to the leader ended")
            self._confirmed.result()
        finally:
            lost.cancel()
        self._unfinished = None
        self._needed_bytes += UNIT_BYTES * count_units(len(data))

    async def _connect(self) -> StreamConnection:
        connection = await connect_to_stream(
            self._settings, self._stream, client=self._client, at_leader=True
        )
        try:
            connection.add_handler(PublishConfirm, self._note_confirm, "confirm")
            connection.add_handler(PublishError, self._note_error, "error")
            async with asyncio.timeout(_TIMEOUT_S):
                await connection.declare_publisher(self._stream, self._reference, _PUBLISHER)
        except BaseException:
            await connection.abort()
            raise
        self._connection = connection
        return connection

    def _note_confirm(self, frame: PublishConfirm) -> None:
        waiting = self._confirmed
        if waiting is not None and not waiting.done() and self._awaited in frame.publishing_ids:
            waiting.set_result(None)

    def _note_error(self, frame: PublishError) -> None:
        waiting = self._confirmed
        if waiting is not None and not waiting.done():
            codes = [error.response_code for error in frame.errors]
            waiting.set_exception(ConnectionError(f"the leader refused the record: {codes}"))

    async def _require_room(self, connection: StreamConnection) -> None:
        """Refuse if the records that are still needed may have `max_bytes`."""
        limit = self._settings.max_bytes
        since = time.monotonic() - self._measured
        if since >= (_FULL_S if self._needed_bytes >= limit else _MEASURE_S):
            self._needed_bytes = await measure_needed_bytes(
                connection, self._stream, await read_newest_position(connection, self._stream)
            )
            self._measured = time.monotonic()
        if self._needed_bytes >= limit:
            raise LogFullError(f"{self._stream} has {self._needed_bytes} bytes that are still needed")


async def measure_needed_bytes(connection: StreamConnection, stream: str, newest: int) -> int:
    """Return the most bytes of the records of a stream that were not trimmed (LogUnavailableError)."""
    if not newest:
        return 0
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            oldest = await connection.query_offset(stream, TRIMMED)
    except ServerError:
        # None was noted, or the records up to there were removed.
        oldest = await read_oldest_position(connection, stream)
    return measure_bytes(oldest, newest)


def _build_publish_frame(number: int, data: bytes) -> PublishSubBatching:
    """Build the frame that appends a record as one batch, which a node stores as a whole or not at all."""
    units = count_units(len(data))
    messages = bytes(_LENGTH_BYTES * (units - 1)) + len(data).to_bytes(_LENGTH_BYTES, "big") + data
    return PublishSubBatching(
        publisher_id=_PUBLISHER,
        number_of_root_messages=1,
        publishing_id=number,
        compress_type=_UNCOMPRESSED_BATCH,
        subbatching_message_count=units,
        uncompressed_data_size=len(messages),
        compressed_data_size=len(messages),
        messages=messages,
    )
