"""Keeps the replicated log in RabbitMQ streams: one stream per partition.

A position is 1 plus an offset, and measures bytes (`record_units`). Streams remove only whole segments by
size, and never refuse a record: this engine refuses when the records that are still needed may have
`max_bytes`. A stream removes records from twice that on, which leaves room for edges that append at the same
time.
"""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

from rstream.exceptions import PreconditionFailed, ServerError, StreamAlreadyExists

from app.message_log.buffered_reader import BufferedReader
from app.message_log.message_log import (
    MOST_RECORD_BYTES,
    LogDescription,
    LogUnavailableError,
    PartitionReader,
    PartitionStatus,
    check_record_size,
)
from app.message_log.rabbitmq_appender import RabbitMQAppender, measure_needed_bytes
from app.message_log.rabbitmq_connections import (
    StreamConnection,
    connect_to_node,
    connect_to_stream,
    find_nodes,
    translate_errors,
)
from app.message_log.rabbitmq_reader import (
    TRIMMED,
    RabbitMQReader,
    read_newest_position,
    read_oldest_position,
)
from app.message_log.settings import MessageLogSettings

_SEGMENT_BYTES: Final = 64 * 2**20
_TIMEOUT_S: Final = 10.0
_LOG_ID: Final = "vigie-log-id"
# A stream forgets noted offsets before its oldest record: an id is larger than any offset.
_LEAST_ID: Final = 2**60
_SETTLE_S: Final = 0.3


class RabbitMQLog:
    """A log in RabbitMQ streams (`MessageLog`).

    Args:
        settings: The log's servers, account, name, partitions, replicas and limits.
        client: The name under which the servers list the connections.
    """

    def __init__(self, settings: MessageLogSettings, *, client: str = "vigie") -> None:
        self._settings = settings
        self._client = client
        self._frame_max: int | None = None
        self._appenders: dict[int, RabbitMQAppender] = {}
        self._readers: set[BufferedReader] = set()
        self._replicas: dict[int, tuple[str, ...]] = {}
        # The id of the log, and the newest positions that were read since it is known.
        self._log_id: str | None = None
        self._newest: dict[int, int] = {}
        self._is_open = False
        self._answered = False

    @property
    def connected(self) -> bool:
        """Whether the last question to a node was answered."""
        return self._is_open and self._answered

    @property
    def max_record_bytes(self) -> int:
        """The largest record: 4 MiB, or less if the servers' `stream.frame_max` is smaller."""
        return (
            MOST_RECORD_BYTES if self._frame_max is None else min(MOST_RECORD_BYTES, self._frame_max - 1024)
        )

    def _stream_name(self, partition: int) -> str:
        return f"{self._settings.name}-{partition}"

    async def open(self) -> None:
        """Connect, and create the streams that are missing.

        Raises:
            LogUnavailableError: No node answers, or there is no majority. Call again.
        """
        async with self._any_node() as connection:
            self._frame_max = connection.frame_max
            for partition in range(self._settings.partitions):
                await self._make_stream(connection, partition)
        self._is_open = True

    async def _make_stream(self, connection: StreamConnection, partition: int) -> None:
        arguments = {
            "initial-cluster-size": self._settings.replicas,
            "max-length-bytes": 2 * self._settings.max_bytes + 2 * _SEGMENT_BYTES,
            "stream-max-segment-size-bytes": _SEGMENT_BYTES,
            "queue-leader-locator": "balanced",
        }
        name = self._stream_name(partition)
        async with translate_errors(), asyncio.timeout(_TIMEOUT_S):
            try:
                await connection.create_stream(name, arguments)
            except StreamAlreadyExists:
                return
            except PreconditionFailed as error:
                raise LogUnavailableError(
                    f"the stream {name} has other limits than the settings, and cannot be changed. Set "
                    "VIGIE_MESSAGE_LOG__MAX_BYTES and VIGIE_MESSAGE_LOG__REPLICAS back, or close the log "
                    "(vigie close-log) and use another VIGIE_MESSAGE_LOG__NAME"
                ) from error

    @asynccontextmanager
    async def _any_node(self) -> AsyncIterator[StreamConnection]:
        """Connect to any node for the length of a block."""
        failure = LogUnavailableError("the settings name no node of the log")
        connection: StreamConnection | None = None
        self._answered = False
        for server in random.sample(self._settings.servers, len(self._settings.servers)):
            try:
                connection = await connect_to_node(self._settings, server, client=self._client)
                break
            except LogUnavailableError as error:
                failure = error
        if connection is None:
            raise failure
        self._answered = True
        try:
            yield connection
        finally:
            await connection.abort()

    @asynccontextmanager
    async def _leader(self, partition: int) -> AsyncIterator[StreamConnection]:
        """Connect to the leader of a partition for the length of a block."""
        stream = self._stream_name(partition)
        connection = await connect_to_stream(self._settings, stream, client=self._client, at_leader=True)
        self._answered = True
        try:
            async with translate_errors(), asyncio.timeout(_TIMEOUT_S):
                yield connection
        finally:
            await connection.abort()

    async def append(self, partition: int, data: bytes, *, record_id: str) -> None:
        """Append a record, and return once a majority of the replicas has it.

        Raises:
            LogUnavailableError: It is not known whether the record was appended.
            LogFullError: It was not appended.
            ValueError: It is empty, or larger than `max_record_bytes`.
        """
        check_record_size(data, self.max_record_bytes)
        if not self._is_open:
            raise LogUnavailableError("the log is not open")
        if partition not in self._appenders:
            self._appenders[partition] = RabbitMQAppender(
                self._settings, self._stream_name(partition), client=self._client
            )
        try:
            await self._appenders[partition].append(data, record_id)
        except LogUnavailableError:
            self._answered = False
            raise
        self._answered = True

    def read(self, partition: int, after: int) -> PartitionReader:
        """Return a reader of the records after a position (0: from the oldest)."""
        reader = RabbitMQReader(
            self._settings,
            self._stream_name(partition),
            after,
            client=self._client,
            on_close=self._readers.discard,
        )
        self._readers.add(reader)
        return reader

    async def find_newest_position(self, partition: int) -> int:
        """Return the position of the newest record; 0 if there never was one (LogUnavailableError)."""
        if self._log_id is None:
            await self._note_id()
        async with self._leader(partition) as connection:
            return await self._read_newest(connection, partition)

    async def _read_newest(self, connection: StreamConnection, partition: int) -> int:
        """Return the position of the newest record; 0 if there is none (LogUnavailableError)."""
        stream = self._stream_name(partition)
        newest = await read_newest_position(connection, stream)
        if newest:
            self._newest[partition] = newest
            return newest
        if partition in self._newest:
            await self._note_id()
        if partition in self._newest:
            raise LogUnavailableError(f"the node returns no record of {stream}, which has some")
        return 0

    async def trim(self, partition: int, before: int) -> None:
        """Note that the records before a position are no longer needed (LogUnavailableError).

        The stream removes them with their segment, once it is larger than its limit.
        """
        async with self._leader(partition) as connection:
            stream = self._stream_name(partition)
            await connection.store_offset(stream, TRIMMED, before)
            # Returns after the node has processed the frame before it.
            await connection.stream_exists(stream)

    async def describe(self) -> LogDescription:
        """Return the id of the log, and the status of each partition: `in_sync` are replicas that run.

        The id is a random number that the first partition keeps.

        Raises:
            LogUnavailableError: No node answers.
        """
        async with self._any_node() as connection:
            partitions = range(self._settings.partitions)
            statuses = [await self._describe_partition(connection, partition) for partition in partitions]
        log_id = None
        with suppress(LogUnavailableError):
            log_id = await self._note_id()
        return LogDescription(log_id, statuses)

    async def _describe_partition(self, connection: StreamConnection, partition: int) -> PartitionStatus:
        stream = self._stream_name(partition)
        try:
            nodes = await find_nodes(connection, stream)
            newest = await self._read_newest(connection, partition)
            oldest = await read_oldest_position(connection, stream) if newest else 0
            async with translate_errors():
                size = await measure_needed_bytes(connection, stream, newest)
        except LogUnavailableError:
            return PartitionStatus(partition, None, self._replicas.get(partition, ()), (), 0, 0, 0)
        running = (nodes.leader, *nodes.replicas)
        known = self._replicas.get(partition, ())
        self._replicas[partition] = (*running, *(name for name in known if name not in running))
        return PartitionStatus(
            partition, nodes.leader, self._replicas[partition], running, oldest, newest, size
        )

    async def _note_id(self) -> str:
        """Return the id of the log; positions of another id are forgotten (LogUnavailableError)."""
        log_id = await self._read_id()
        if log_id != self._log_id:
            self._log_id = log_id
            self._newest.clear()
        return log_id

    async def _read_id(self) -> str:
        """Return the id that the first partition keeps; gives it one first (LogUnavailableError)."""
        stream = self._stream_name(0)
        async with self._leader(0) as connection:
            while True:
                with suppress(ServerError):  # none yet
                    return f"{await connection.query_offset(stream, _LOG_ID):x}"
                await connection.store_offset(stream, _LOG_ID, random.randrange(_LEAST_ID, 2 * _LEAST_ID))  # noqa: S311
                await asyncio.sleep(_SETTLE_S)

    async def close(self) -> None:
        """Disconnect. Readers end."""
        self._is_open = False
        for appender in self._appenders.values():
            await appender.disconnect()
        for reader in list(self._readers):
            await reader.close()
